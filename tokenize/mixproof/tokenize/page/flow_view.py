"""The flow of a build as the page shows it: a legend of the sources, and a drawing per unit and screen width."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mixproof.ledger.manifest import Manifest

from .build_evidence import SHORT, BuildEvidence
from .flow import Flow, Unit, flow_of_texts, flow_of_tokens, merged
from .flow_layout import NARROW, WIDE, Drawing, draw
from .palette import NEUTRAL, OF_SOURCES, Look

CAPTIONS: dict[Unit, str] = {
    "bytes": "UTF-8 bytes of text, from extraction to tokenization.",
    "documents": "Records and documents, from reading to the training and held-out sets.",
    "tokens": "Tokens, from tokenization to the training data.",
}


@dataclass(frozen=True)
class FlowFigure:
    """The flow in one unit, drawn for wide and for narrow screens."""

    unit: Unit
    caption: str
    label: str
    """Description for screen readers."""
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class FlowView:
    """The flow of one build."""

    id: str
    figures: tuple[FlowFigure, ...]
    colors: Mapping[str, str]
    """Colour of each source that has a band, in the order of the bands; the legend."""


def flow_view(
    build: BuildEvidence, of_source: Mapping[str, Look], number: int, drawn: Mapping[str, int] | None = None
) -> FlowView:
    """Draw the flow in bytes, documents and tokens; `drawn` has the tokens that runs drew, by source."""
    flows = [flow_of_texts(build.manifest, "bytes"), flow_of_texts(build.manifest, "documents")]
    of_source = {**of_source, **_looks_of_divided(build.manifest, of_source)}
    shown = bands({name for flow in flows for name in flow.sources}, of_source)
    flows = [merged(flow, shown) for flow in (*flows, flow_of_tokens(build.manifest, drawn))]
    names = (*shown, *(name for name in flows[0].sources if name not in shown))
    colors = {name: of_source[name].color if name in of_source else NEUTRAL for name in names}
    return FlowView(f"flow-{number}", tuple(_figure(build, flow) for flow in flows), colors)


def _figure(build: BuildEvidence, flow: Flow) -> FlowFigure:
    losses = ", ".join(f"{one.label} {one.total:,}" for stage in flow.stages for one in stage.exits)
    return FlowFigure(
        flow.unit,
        f"{CAPTIONS[flow.unit]} Bands are to scale. At each stage, what is lost or set aside leaves to the right; "
        "percentages are of what entered the stage.",
        f"Flow of {flow.unit} through the stages of build {build.id[:SHORT]}: {losses or 'nothing lost'}; "
        f"{flow.end} {sum(flow.remaining.values()):,}. The tables below have all numbers.",
        (draw(flow, WIDE), draw(flow, NARROW)),
    )


def _looks_of_divided(manifest: Manifest, of_source: Mapping[str, Look]) -> dict[str, Look]:
    """A divided source has the look of its first part."""
    return {name: of_source[next(iter(cells.parts))] for name, cells in manifest.cells.items()}


def bands(sources: Collection[str], of_source: Mapping[str, Look]) -> list[str]:
    """The sources with a band of their own, in the order of their looks: all, or the first with different colours."""
    names = [name for name in of_source if name in sources]
    if len(names) <= len(OF_SOURCES):
        return names
    first_of_color: dict[str, str] = {}
    for name in names:
        first_of_color.setdefault(of_source[name].color, name)
    return list(first_of_color.values())[: len(OF_SOURCES) - 1]
