"""The flow of documents, bytes and tokens through a build as Sankey diagrams, with a reason for every loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any, Literal

from mixproof.ledger.manifest import SourceRecord

from .account import losses
from .evidence import BuildEvidence, RunEvidence
from .figure import Figure, Plot, label
from .palette import FAINT, MUTED, Look, faded
from .table import amount

Unit = Literal["bytes", "documents", "tokens"]
NOUNS: dict[Unit, str] = {"bytes": "bytes of text", "documents": "documents", "tokens": "tokens"}
SIGNS: dict[Unit, str] = {"bytes": "B", "documents": "", "tokens": ""}
CAPTIONS: dict[Unit, str] = {
    "bytes": "UTF-8 bytes of text, from extraction to tokenization",
    "documents": "Records and documents, from reading to the training and held-out sets",
    "tokens": "Tokens, from tokenization to the draws of these runs",
}
HELD_OUT, TRAINING = "held out", "training"
LOST = faded("#808080", 0.4)
"""Colour of losses; transparent, so that the label of an earlier loss stays readable under it."""
MAX_HEIGHT = 620
"""Pixels."""


def flow_plot(build: BuildEvidence, runs: list[RunEvidence], of_source: dict[str, Look], number: int) -> Plot:
    """The flow in bytes, in documents and in tokens."""
    units: tuple[Unit, ...] = ("bytes", "documents", "tokens")
    return Plot(tuple(_figure(build, runs, of_source, number, unit) for unit in units))


@dataclass
class _Graph:
    """Nodes and links of a Sankey diagram."""

    names: dict[str, int] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    colors: list[str] = field(default_factory=list)
    through: list[int] = field(default_factory=list)
    links: list[tuple[int, int, int, str, str]] = field(default_factory=list)

    def node(self, name: str, text: str, color: str) -> int:
        """The index of a node by name; the first call creates it."""
        if name not in self.names:
            self.names[name] = len(self.labels)
            self.labels.append(text)
            self.colors.append(color)
            self.through.append(0)
        return self.names[name]

    def link(self, start: int, end: int, value: int, color: str, text: str) -> None:
        """Add a link, unless its value is 0."""
        if value > 0:
            self.links.append((start, end, value, color, text))
            self.through[end] += value

    @property
    def linked(self) -> list[int]:
        """Nodes with at least one link."""
        return sorted({end for link in self.links for end in link[:2]})

    def light(self) -> list[str]:
        """Node colours that stay readable under labels inside the nodes (narrow screens)."""
        return [FAINT if self.colors[node].startswith("@") else self.colors[node] for node in self.linked]

    def short(self, unit: Unit, counted: set[int]) -> list[str]:
        """Labels for narrow screens: losses show only their amount; the table has the reasons."""
        return [
            f"− {amount(self.through[node])}{SIGNS[unit]}"
            if node in counted and self.labels[node].startswith("−")
            else self.labels[node]
            for node in self.linked
        ]

    def trace(self, unit: Unit, counted: set[int]) -> dict[str, Any]:
        """The plotly.js trace; labels of nodes in `counted` include the amount."""
        texts = [
            f"{text} {amount(self.through[node])}{SIGNS[unit]}" if node in counted else text
            for node, text in enumerate(self.labels)
        ]
        linked = self.linked
        index_of = {node: index for index, node in enumerate(linked)}
        return {
            "type": "sankey",
            "valueformat": ",d",
            "valuesuffix": f" {NOUNS[unit]}",
            "arrangement": "snap",
            "node": {
                "label": [texts[node] for node in linked],
                "color": [self.colors[node] for node in linked],
                "pad": 16,
                "thickness": 12,
                "align": "left",
                "line": {"width": 0},
                "hovertemplate": "%{label}: %{value}<extra></extra>",
            },
            "link": {
                "source": [index_of[link[0]] for link in self.links],
                "target": [index_of[link[1]] for link in self.links],
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
    nodes = len(graph.labels)
    return Figure(
        f"flow-{number}",
        f"Flow of {NOUNS[unit]} through the stages of build {build.id[:12]}; the tables below have the numbers",
        f"{CAPTIONS[unit]}. Widths are to scale; losses are labelled with their reason.",
        [graph.trace(unit, counted)],
        {"height": min(MAX_HEIGHT, 320 + 12 * nodes), "margin": {"t": 12, "b": 18, "l": 4, "r": 4}},
        {"height": min(MAX_HEIGHT, 460 + 10 * nodes), "margin": {"t": 8, "b": 8, "l": 2, "r": 48}, "font.size": 10},
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
    color, loss_color = faded(look.color, 0.45), faded(look.color, 0.7)
    previous = graph.node(f"source {name}", label(name, 16), look.color)
    arriving = getattr(source.ledger[0], f"{unit}_in") if source.ledger else 0
    for row in source.ledger:
        owner = name if row.stage in own else ""
        stage = graph.node(f"stage {row.stage} {owner}", label(row.stage, 16), MUTED)
        if unit == "bytes" and row.bytes_added:
            added = graph.node(f"added {row.stage}", f"added by {label(row.stage, 16)}", FAINT)
            graph.link(added, stage, row.bytes_added, color, f"{label(name)}, added by {label(row.stage)}")
        graph.link(previous, stage, arriving, color, f"{label(name)} into {label(row.stage)}")
        for loss in losses(name, source):
            if loss.stage == row.stage:
                lost = graph.node(
                    f"lost {loss.stage} {loss.reason}", "− " + label(loss.reason.replace("_", " "), 24), LOST
                )
                counted.add(lost)
                graph.link(stage, lost, getattr(loss, unit), loss_color, f"{label(name)}, {label(loss.reason)}")
        previous, arriving = stage, getattr(row, f"{unit}_out")
    kept, held = graph.node(TRAINING, TRAINING, MUTED), graph.node(HELD_OUT, HELD_OUT, MUTED)
    imported = source.heldout.imported_from is not None
    graph.link(previous, kept, getattr(source.train, unit), color, f"{label(name)}, training")
    graph.link(previous, held, 0 if imported else getattr(source.heldout, unit), color, f"{label(name)}, held out")


def _tokens(
    graph: _Graph, counted: set[int], build: BuildEvidence, runs: list[RunEvidence], of_source: dict[str, Look]
) -> None:
    for name, source in sorted(build.manifest.sources.items()):
        look = of_source[name]
        color = faded(look.color, 0.45)
        start = graph.node(f"source {name}", label(name, 16), look.color)
        kept, held = graph.node(TRAINING, TRAINING, MUTED), graph.node(HELD_OUT, HELD_OUT, MUTED)
        drawn = graph.node("drawn", "drawn for these runs", MUTED)
        undrawn = graph.node("not drawn", "not drawn", FAINT)
        counted |= {start, kept, held, drawn, undrawn}
        graph.through[start] += source.train.tokens + source.heldout.tokens
        tokens = max((run.record.draws[name].tokens for run in runs if name in run.record.draws), default=0)
        tokens = min(tokens, source.train.tokens)
        graph.link(start, kept, source.train.tokens, color, f"{label(name)}, training")
        graph.link(start, held, source.heldout.tokens, color, f"{label(name)}, held out")
        graph.link(kept, drawn, tokens, color, f"{label(name)}, in the draw of these runs")
        graph.link(kept, undrawn, source.train.tokens - tokens, color, f"{label(name)}, not drawn")


def own_stages(build: BuildEvidence) -> set[str]:
    """Stages that sources pass in different orders, so that each source needs its own node for them."""
    before: dict[str, set[str]] = {}
    for source in build.manifest.sources.values():
        for one, other in pairwise(row.stage for row in source.ledger):
            before.setdefault(other, set()).add(one)
    try:
        TopologicalSorter(before).prepare()
    except CycleError as error:
        return set(error.args[1])
    return set()
