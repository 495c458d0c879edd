"""The flow of documents, bytes and tokens through a build, with a reason for everything that went."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any, Literal

from mixproof.ledger.manifest import SourceRecord

from .evidence import BuildEvidence, RunEvidence
from .figure import Figure, Plot, label
from .palette import FAINT, MUTED, Look, faded
from .table import Cell, Table, amount, columns, count, percent

Unit = Literal["bytes", "documents", "tokens"]
NOUNS: dict[Unit, str] = {"bytes": "bytes of text", "documents": "documents", "tokens": "tokens"}
SIGNS: dict[Unit, str] = {"bytes": "B", "documents": "", "tokens": ""}
HELD, KEPT = "held out", "training"
GONE = faded("#808080", 0.4)
"""Of what left the flow: the label of an earlier loss is read through it."""
TALLEST = 620


@dataclass(frozen=True)
class Loss:
    """What one stage took out of one source for one reason."""

    source: str
    stage: str
    reason: str
    documents: int
    bytes: int
    into_stage: int
    """Documents that went into the stage."""
    path: tuple[str | int, ...]
    """Place in the manifest that states it."""


def losses(source_name: str, source: SourceRecord) -> Iterator[Loss]:
    """Everything that a source lost, in the order of its stages."""
    for place, row in enumerate(source.ledger):
        at = ("sources", source_name, "ledger", place)
        for reason, gone in row.dropped.items():
            yield Loss(
                source_name,
                row.stage,
                reason,
                gone.documents,
                gone.bytes,
                row.documents_in,
                (*at, "dropped", reason, "documents"),
            )
        if row.bytes_removed:
            yield Loss(
                source_name,
                row.stage,
                "removed from documents that stay",
                0,
                row.bytes_removed,
                row.documents_in,
                (*at, "bytes_removed"),
            )


def loss_table(build: BuildEvidence, of_source: dict[str, Look], number: int) -> Table:
    """Every loss with its reason."""
    rows = [
        (
            Cell(loss.source, color=of_source[loss.source].color),
            Cell(loss.stage),
            Cell(loss.reason.replace("_", " ")),
            count(loss.documents, build.anchor if loss.documents else None, *loss.path),
            Cell(percent(loss.documents / loss.into_stage), loss.documents / loss.into_stage),
            count(loss.bytes, build.anchor, *loss.path[:-1], "bytes" if "dropped" in loss.path else loss.path[-1]),
        )
        for name, source in sorted(build.manifest.sources.items())
        for loss in losses(name, source)
    ]
    heads = columns("source", "stage", "reason", "documents", "of those that came in", "bytes", text=3)
    return Table(f"loss-table-{number}", "Every loss and its reason", heads, tuple(rows))


def account_table(build: BuildEvidence, of_source: dict[str, Look], number: int) -> Table:
    """What came in and what is there, by source."""
    rows = []
    for name, source in sorted(build.manifest.sources.items()):
        at = (build.anchor, "sources", name)
        rows.append(
            (
                Cell(name, color=of_source[name].color),
                count(source.inputs.files, *at, "inputs", "files"),
                count(source.inputs.records, *at, "inputs", "records"),
                count(source.train.documents, *at, "train", "documents"),
                count(source.train.bytes, *at, "train", "bytes"),
                count(source.train.tokens, *at, "train", "tokens"),
                count(source.heldout.documents, *at, "heldout", "documents"),
                count(source.heldout.tokens, *at, "heldout", "tokens"),
            )
        )
    heads = columns(
        "source",
        "files",
        "records read",
        "training documents",
        "training bytes",
        "training tokens",
        "held-out documents",
        "held-out tokens",
    )
    return Table(f"account-table-{number}", "Account of the build, by source", heads, tuple(rows))


def flow_plot(build: BuildEvidence, runs: list[RunEvidence], of_source: dict[str, Look], number: int) -> Plot:
    """The flow in bytes, in documents and in tokens."""
    units: tuple[Unit, ...] = ("bytes", "documents", "tokens")
    return Plot(tuple(_figure(build, runs, of_source, number, unit) for unit in units))


@dataclass
class _Graph:
    """Nodes and links of a flow as plotly.js takes them."""

    names: dict[str, int] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    colors: list[str] = field(default_factory=list)
    through: list[int] = field(default_factory=list)
    links: list[tuple[int, int, int, str, str]] = field(default_factory=list)

    def node(self, name: str, text: str, color: str) -> int:
        """A node by its name; made when it is first asked for."""
        if name not in self.names:
            self.names[name] = len(self.labels)
            self.labels.append(text)
            self.colors.append(color)
            self.through.append(0)
        return self.names[name]

    def link(self, start: int, end: int, value: int, color: str, text: str) -> None:
        """A link; nothing where nothing flows."""
        if value > 0:
            self.links.append((start, end, value, color, text))
            self.through[end] += value

    @property
    def kept(self) -> list[int]:
        """Nodes that something flows through."""
        return sorted({end for link in self.links for end in link[:2]})

    def light(self) -> list[str]:
        """Colours of nodes that carry their names inside, as on a phone."""
        return [FAINT if self.colors[old].startswith("@") else self.colors[old] for old in self.kept]

    def short(self, unit: Unit, counted: set[int]) -> list[str]:
        """Labels for little room: of what left the flow only how much it is; the table says why."""
        return [
            f"− {amount(self.through[old])}{SIGNS[unit]}"
            if old in counted and self.labels[old].startswith("−")
            else self.labels[old]
            for old in self.kept
        ]

    def trace(self, unit: Unit, counted: set[int]) -> dict[str, Any]:
        """The trace; nodes in `counted` say how much arrives."""
        texts = [
            f"{text} {amount(self.through[place])}{SIGNS[unit]}" if place in counted else text
            for place, text in enumerate(self.labels)
        ]
        keep = self.kept
        place_of = {old: new for new, old in enumerate(keep)}
        return {
            "type": "sankey",
            "valueformat": ",d",
            "valuesuffix": f" {NOUNS[unit]}",
            "arrangement": "snap",
            "node": {
                "label": [texts[old] for old in keep],
                "color": [self.colors[old] for old in keep],
                "pad": 16,
                "thickness": 12,
                "align": "left",
                "line": {"width": 0},
                "hovertemplate": "%{label}: %{value}<extra></extra>",
            },
            "link": {
                "source": [place_of[link[0]] for link in self.links],
                "target": [place_of[link[1]] for link in self.links],
                "value": [link[2] for link in self.links],
                "color": [link[3] for link in self.links],
                "label": [link[4] for link in self.links],
                "hovertemplate": "%{label}: %{value}<extra></extra>",
            },
        }


def _figure(
    build: BuildEvidence, runs: list[RunEvidence], of_source: dict[str, Look], number: int, unit: Unit
) -> Figure:
    graph, counted = _Graph(), set[int]()
    if unit == "tokens":
        _tokens(graph, counted, build, runs, of_source)
    else:
        own = own_stages(build)
        for name, source in sorted(build.manifest.sources.items()):
            _stages(graph, counted, name, source, of_source[name], unit, own)
    says = {
        "bytes": "UTF-8 bytes of text, from extraction to the tokenizer",
        "documents": "Records and documents",
        "tokens": "Tokens, from the tokenizer to what these runs could touch",
    }[unit]
    sinks = len(graph.labels)
    return Figure(
        f"flow-{number}",
        f"Flow of {NOUNS[unit]} through the stages of build {build.id[:12]}; the tables below hold the numbers",
        f"{says}. Widths are to scale; what leaves the flow carries its reason.",
        [graph.trace(unit, counted)],
        {"height": min(TALLEST, 320 + 12 * sinks), "margin": {"t": 12, "b": 18, "l": 4, "r": 4}},
        {"height": min(TALLEST, 460 + 10 * sinks), "margin": {"t": 8, "b": 8, "l": 2, "r": 48}, "font.size": 10},
        {
            "orientation": "v",
            "node.pad": 22,
            "node.thickness": 17,
            "node.color": graph.light(),
            "node.label": graph.short(unit, counted),
        },
        unit,
    )


def _stages(
    graph: _Graph, counted: set[int], name: str, source: SourceRecord, look: Look, unit: Unit, own: set[str]
) -> None:
    color, gone = faded(look.color, 0.45), faded(look.color, 0.7)
    at = graph.node(f"source {name}", label(name, 16), look.color)
    arriving = getattr(source.ledger[0], f"{unit}_in") if source.ledger else 0
    for row in source.ledger:
        whose = name if row.stage in own else ""
        stage = graph.node(f"stage {row.stage} {whose}", label(row.stage, 16), MUTED)
        if unit == "bytes" and row.bytes_added:
            added = graph.node(f"added {row.stage}", f"added by {label(row.stage, 16)}", FAINT)
            graph.link(added, stage, row.bytes_added, color, f"{label(name)}, added by {label(row.stage)}")
        graph.link(at, stage, arriving, color, f"{label(name)} into {label(row.stage)}")
        for loss in losses(name, source):
            if loss.stage == row.stage:
                lost = graph.node(
                    f"lost {loss.stage} {loss.reason}", "− " + label(loss.reason.replace("_", " "), 24), GONE
                )
                counted.add(lost)
                graph.link(stage, lost, getattr(loss, unit), gone, f"{label(name)}, {label(loss.reason)}")
        at, arriving = stage, getattr(row, f"{unit}_out")
    kept, held = graph.node(KEPT, KEPT, MUTED), graph.node(HELD, HELD, MUTED)
    imported = source.heldout.imported_from is not None
    graph.link(at, kept, getattr(source.train, unit), color, f"{label(name)}, training")
    graph.link(at, held, 0 if imported else getattr(source.heldout, unit), color, f"{label(name)}, held out")


def _tokens(
    graph: _Graph, counted: set[int], build: BuildEvidence, runs: list[RunEvidence], of_source: dict[str, Look]
) -> None:
    for name, source in sorted(build.manifest.sources.items()):
        look = of_source[name]
        color = faded(look.color, 0.45)
        start = graph.node(f"source {name}", label(name, 16), look.color)
        kept, held = graph.node(KEPT, KEPT, MUTED), graph.node(HELD, HELD, MUTED)
        drawn = graph.node("drawn", "within reach of these runs", MUTED)
        rest = graph.node("rest", "beyond their reach", FAINT)
        counted |= {start, kept, held, drawn, rest}
        graph.through[start] += source.train.tokens + source.heldout.tokens
        reach = max((run.record.draws[name].tokens for run in runs if name in run.record.draws), default=0)
        reach = min(reach, source.train.tokens)
        graph.link(start, kept, source.train.tokens, color, f"{label(name)}, training")
        graph.link(start, held, source.heldout.tokens, color, f"{label(name)}, held out")
        graph.link(kept, drawn, reach, color, f"{label(name)}, in the draw that runs open")
        graph.link(kept, rest, source.train.tokens - reach, color, f"{label(name)}, not drawn")


def own_stages(build: BuildEvidence) -> set[str]:
    """Steps that each source needs a node of its own for, because sources take them in different orders."""
    before: dict[str, set[str]] = {}
    for source in build.manifest.sources.values():
        for one, other in pairwise(row.stage for row in source.ledger):
            before.setdefault(other, set()).add(one)
    try:
        TopologicalSorter(before).prepare()
    except CycleError as error:
        return set(error.args[1])
    return set()
