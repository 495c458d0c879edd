"""The flow of a build: what enters a stage leaves it, in numbers and in pixels, and no label overlaps another."""

from __future__ import annotations

import re
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixproof.ledger.account import Count, StageRow
from mixproof.tokenize.page.build_evidence import BuildEvidence, Statement
from mixproof.tokenize.page.flow import (
    MOST_EXITS,
    Exit,
    Flow,
    Stage,
    flow_of_texts,
    flow_of_tokens,
    merged,
    own_stages,
    undivided,
)
from mixproof.tokenize.page.flow_layout import NARROW, WIDE, Geometry, Text, draw, fitting, text_width
from mixproof.tokenize.page.flow_view import flow_view
from mixproof.tokenize.page.palette import OF_SOURCES, looks
from small_manifest import SOURCES, divided_manifest, manifest


def closes(flow: Flow) -> bool:
    """Whether what enters each stage, plus what it adds, equals what leaves there plus what enters the next."""
    ends = [stage.entering for stage in flow.stages[1:]] + [flow.remaining]
    return all(
        sum(stage.entering.values()) + stage.added == sum(one.total for one in stage.exits) + sum(after.values())
        for stage, after in zip(flow.stages, ends, strict=True)
    )


def test_documents_leave_at_their_stages_and_the_rest_is_training() -> None:
    flow = flow_of_texts(manifest(), "documents")
    assert [(stage.label, [(one.label, one.total) for one in stage.exits]) for stage in flow.stages] == [
        ("read", [("invalid json", 10)]),
        ("length", [("too short", 30)]),
        ("dedup", [("exact duplicate", 25)]),
        ("decontaminate", [("heldout overlap", 3)]),
        ("hold out", [("held out", 150)]),
    ]
    assert flow.stages[1].takes_part == {"code"}
    assert sum(flow.remaining.values()) == 2_782
    assert closes(flow)


def test_bytes_that_a_step_cuts_out_leave_like_dropped_documents() -> None:
    flow = flow_of_texts(manifest(), "bytes")
    length = next(stage for stage in flow.stages if stage.label == "length")
    assert [(one.label, one.total) for one in length.exits] == [("cut from kept documents", 500), ("too short", 3_000)]
    assert closes(flow)
    assert sum(flow.remaining.values()) + 3 * 50_000 == manifest().totals.bytes


def test_bytes_that_a_step_adds_are_stated() -> None:
    made = manifest()
    sources = dict(made.sources)
    ledger = list(sources["letters"].ledger)
    row = StageRow(
        stage="ftfy", documents_in=1_000, documents_out=1_000, bytes_in=1_000_000, bytes_out=1_000_900, bytes_added=900
    )
    sources["letters"] = sources["letters"].model_copy(update={"ledger": (ledger[0], row)})
    flow = flow_of_texts(made.model_copy(update={"sources": sources}), "bytes")
    assert [stage.added for stage in flow.stages if stage.label == "ftfy"] == [900]
    assert closes(flow)


def test_tokens_go_to_held_out_sets_and_draws() -> None:
    flow = flow_of_tokens(manifest(), {"code": 65_536, "english": 10**9})
    train = {name: source.train.tokens for name, source in manifest().sources.items()}
    (not_drawn,) = flow.stages[1].exits
    assert not_drawn.amounts == {"code": train["code"] - 65_536, "english": 0, "letters": train["letters"]}
    assert flow.remaining == {"code": 65_536, "english": train["english"], "letters": 0}
    assert closes(flow)
    assert flow_of_tokens(manifest()).remaining == train


def test_records_of_other_parts_of_a_split_source_are_not_its_losses() -> None:
    made = manifest()
    sources = dict(made.sources)
    first, *others = sources["english"].ledger
    other_parts = Count(documents=700, bytes=0)
    row = first.model_copy(update={"documents_in": 1_700, "dropped": {"of_another_part": other_parts}})
    sources["english"] = sources["english"].model_copy(update={"ledger": (row, *others)})
    flow = flow_of_texts(made.model_copy(update={"sources": sources}), "documents")
    assert flow.stages[0].entering["english"] == 1_000
    assert closes(flow)


def test_a_source_that_was_divided_into_cells_is_followed_as_a_whole() -> None:
    made, divided = manifest(), divided_manifest()
    flow = flow_of_texts(divided, "documents")
    assert flow.stages[0].entering == {"code": 1_000, "english": 1_000, "letters": 1_000}
    assert sum(source.inputs.records for source in undivided(divided).values()) == sum(
        source.inputs.records for source in made.sources.values()
    )
    assert flow.remaining["code"] == 915
    assert closes(flow)
    assert flow_of_tokens(divided, {"code/a": 90, "code/b": 10}).remaining["code"] == 100
    build = BuildEvidence(divided, Statement("manifest.json", divided.to_bytes().decode()), {})
    view = flow_view(build, looks(divided.sources, OF_SOURCES), 0)
    assert {shape.source for figure in view.figures for one in figure.drawings for shape in one.shapes} == set(
        view.colors
    )


def test_sources_that_take_steps_in_different_orders_get_stages_of_their_own() -> None:
    assert own_stages([["read", "a", "b", "encode"], ["read", "b", "a", "encode"]]) == {"a", "b"}
    assert own_stages([["read", "a", "encode"], ["read", "b", "encode"]]) == set()
    two_cycles = [["a", "b", "c", "d"], ["b", "a", "d", "c"]]
    assert own_stages(two_cycles) == {"a", "b", "c", "d"}


def test_small_sources_and_rare_reasons_are_added_up() -> None:
    names = [f"s{number:02}" for number in range(20)]
    entering = {name: 100 - number for number, name in enumerate(names)}
    exits = tuple(Exit(f"reason {number}", {names[number]: number + 1}) for number in range(15))
    remaining = {name: entering[name] - sum(one.amounts.get(name, 0) for one in exits) for name in names}
    whole = Flow("documents", (Stage("read", entering, frozenset(names), exits),), "training", remaining)
    flow = merged(whole, names[:6])
    assert flow.sources[0] == "14 other sources" and len(flow.sources) == 7
    (stage,) = flow.stages
    assert len(stage.exits) == MOST_EXITS
    assert (stage.exits[-1].label, stage.exits[-1].total) == ("6 rarer reasons", 1 + 2 + 3 + 4 + 5 + 6)
    assert closes(whole) and closes(flow)


def every_filter(sources: int, stages: int, reasons: int) -> Flow:
    """A flow in which every stage drops documents of every source for many reasons with long names."""
    names = [f"source_number_{number}" for number in range(sources)]
    level, made = {name: 10_000 // (number + 1) for number, name in enumerate(names)}, []
    for stage in range(stages):
        exits = tuple(
            Exit(f"gopher below non alphabetic threshold {stage} {reason}", dict.fromkeys(names, reason))
            for reason in range(1, reasons + 1)
        )
        made.append(Stage(f"gopher_repetition_{stage}", level, frozenset(names), exits))
        level = {name: left - reasons * (reasons + 1) // 2 for name, left in level.items()}
    return Flow("documents", tuple(made), "training", level)


def box(text: Text, geometry: Geometry) -> tuple[float, float, float, float]:
    font = geometry.font
    return text.x, text.y - 0.8 * font, text.x + text_width(text.text, font), text.y + 0.25 * font


@pytest.mark.parametrize("geometry", [WIDE, NARROW], ids=lambda geometry: geometry.name)
@given(sources=st.integers(1, 9), stages=st.integers(1, 8), reasons=st.integers(0, 14))
def test_labels_never_overlap_and_stay_inside(geometry: Geometry, sources: int, stages: int, reasons: int) -> None:
    flow = every_filter(sources, stages, reasons)
    drawing = draw(merged(flow, flow.sources[:6]), geometry)
    boxes = [box(text, geometry) for text in drawing.texts]
    for left, top, right, bottom in boxes:
        assert left >= 0 and top >= 0 and right <= geometry.width and bottom <= drawing.height
    for one, other in combinations(boxes, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one, other)


def test_widths_are_to_scale() -> None:
    drawing = draw(merged(flow_of_texts(manifest(), "documents"), SOURCES), WIDE)
    # 3,000 records over the room for bands: 960 - 170 - 360 - 36 - 2 gaps of 8
    scale = 378 / 3_000
    nodes = [shape for shape in drawing.shapes if shape.kind == "node" and "into read" in shape.title]
    widths = [float(re.findall(r"h([\d.]+)", shape.path)[0]) for shape in nodes]
    assert widths == [pytest.approx(1_000 * scale, abs=0.01)] * 3
    starts = [float(re.findall(r"^M([\d.]+)", shape.path)[0]) for shape in nodes]
    assert [one + 126 for one, _ in pairwise(starts)] == pytest.approx(starts[1:], abs=0.2)
    assert {shape.title for shape in drawing.shapes if shape.kind == "exit"} == {
        "code, invalid json: 10 documents",
        "code, too short: 30 documents",
        "code, exact duplicate: 25 documents",
        "code, heldout overlap: 3 documents",
        "code, held out: 50 documents",
        "english, held out: 50 documents",
        "letters, held out: 50 documents",
    }


def test_an_empty_build_is_drawn() -> None:
    names = ("code", "web")
    flow = Flow(
        "bytes", (Stage("read", dict.fromkeys(names, 0), frozenset(names)),), "training", dict.fromkeys(names, 0)
    )
    assert [text.text for text in draw(flow, NARROW).texts] == ["read", "0B", "training", "0B"]


def test_a_label_is_cut_to_its_column() -> None:
    assert fitting("too short", 100, 10) == "too short"
    assert fitting("duplicated 10 n grams", 63, 10) == "duplicate…"
    assert text_width("ab", 10) == pytest.approx(12.6)
    assert text_width("日本", 10) == 20
