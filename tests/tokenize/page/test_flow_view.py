"""What the page shows of a flow: one band per colour, the same bands in all units."""

from __future__ import annotations

from mixproof.tokenize.page.build_evidence import BuildEvidence, Statement
from mixproof.tokenize.page.flow_view import bands, flow_view
from mixproof.tokenize.page.palette import OF_SOURCES, looks
from small_manifest import SOURCES, manifest


def test_every_source_has_a_band_while_there_are_colours() -> None:
    names = [f"s{number}" for number in range(9)]
    of = looks(names, OF_SOURCES)
    assert bands(names[:7], looks(names[:7], OF_SOURCES)) == names[:7]
    assert bands(names, of) == names[:6]
    # s0, s1 belong to another build; s7 and s8 have the colours of s0 and s1
    assert bands(names[2:], of) == names[2:]
    assert len({of[name].color for name in bands([*names[1:], "s9"], looks([*names, "s9"], OF_SOURCES))}) == 6


def test_a_view_has_three_units_in_two_sizes_with_one_legend() -> None:
    made = manifest()
    build = BuildEvidence(made, Statement("/store/manifest.json", made.to_bytes().decode()), {})
    view = flow_view(build, looks(SOURCES, OF_SOURCES), 0, {"code": 65_536})
    assert [figure.unit for figure in view.figures] == ["bytes", "documents", "tokens"]
    assert [drawing.geometry.name for figure in view.figures for drawing in figure.drawings] == ["wide", "narrow"] * 3
    assert list(view.colors) == list(SOURCES)
    drawn = {shape.source for figure in view.figures for one in figure.drawings for shape in one.shapes}
    assert drawn == set(SOURCES)
    assert "exact duplicate 25, heldout overlap 3, held out 150; training 2,782" in view.figures[1].label
