"""The table of results: every row says how and when it was measured, and README states nothing else."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = (ROOT / "benchmarks" / "RESULTS.md").read_text()
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def rows(text: str) -> list[list[str]]:
    """The cells of every row of a page's tables, heads and rules left out."""
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    rules = [number for number, row in enumerate(found) if set("".join(row)) <= set("-:| ")]
    heads = {number - 1 for number in rules}
    return [row for number, row in enumerate(found) if number not in heads and number not in rules]


def rounds_to(stated: str, measured: float) -> bool:
    """Whether a number in a text is a measured one, rounded to the text's digits."""
    digits = len(stated.partition(".")[2])
    return abs(round(measured, digits) - float(stated)) < 1e-9


def test_every_row_has_a_date_and_a_command_that_exists_or_is_above() -> None:
    found = rows(RESULTS)
    assert len(found) > 25
    for row in found:
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", row[-1].strip("| ")), row
        for script in re.findall(r"`(\w+\.py)", row[1]):
            assert (ROOT / "benchmarks" / script).is_file(), row
    above = [row for row in found if not row[1]]
    assert all(row[0].startswith(("the same", "removed documents", "precision")) for row in above), above


def test_the_figures_of_the_readme_are_those_of_the_results() -> None:
    readme = (ROOT / "README.md").read_text()
    table = readme.partition("## How fast")[2].partition("\n## ")[0]
    measured = [float(number.replace(",", "")) for number in NUMBER.findall(RESULTS)]
    figures = [number for row in rows(table) for cell in row[1:] for number in NUMBER.findall(cell.replace("`", ""))]
    assert len(figures) > 12
    for figure in figures:
        assert any(rounds_to(figure, value) for value in measured), figure


def test_the_history_is_in_the_archive() -> None:
    archive = (ROOT / "benchmarks" / "RESULTS-archive.md").read_text()
    assert "(RESULTS-archive.md)" in RESULTS and "(RESULTS.md)" in archive
    assert len(archive) > len(RESULTS)
