"""The documentation as a site: every page is in its table, links lead somewhere, messages are those of the code."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from site_hooks import INCLUDED, guides, on_page_markdown, repository_path, site_link, site_path
from wheel_readme import absolute_links

ROOT = Path(__file__).resolve().parents[2]
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
URL = "https://host/repository"


def pages_of(nav: object) -> list[str]:
    """Paths in a table of contents."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    assert isinstance(parts, list | type({}.values()))
    return [page for part in parts for page in pages_of(part)]


def test_every_page_is_in_the_table_of_contents_once() -> None:
    written = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    listed = [*pages_of(SITE["nav"]), *guides()]
    assert sorted(listed) == sorted(written | {f"project/{path}" for path in INCLUDED})


def test_guides_are_in_the_order_of_the_index() -> None:
    assert guides()[:2] == ["guides/tokenize-a-corpus.md", "guides/ablate-mixtures.md"]


def test_the_site_and_the_package_name_the_same_places() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    assert (SITE["site_url"], SITE["repo_url"]) == (urls["Documentation"], urls["Repository"])


@pytest.mark.parametrize(
    ("page", "target", "link"),
    [
        ("guides/search.md", "../glossary.md", "../glossary.md"),
        ("guides/search.md", "deduplicate.md", "deduplicate.md"),
        ("tutorial.md", "../CONTRIBUTING.md", "project/CONTRIBUTING.md"),
        ("guides/deduplicate.md", "../../benchmarks/RESULTS.md", "../project/benchmarks/RESULTS.md"),
        ("project/CONTRIBUTING.md", "docs/glossary.md", "../glossary.md"),
        ("project/benchmarks/RESULTS.md", "dedup.py", f"{URL}/blob/main/benchmarks/dedup.py"),
        ("tutorial.md", "../pipeline/README.md", f"{URL}/blob/main/pipeline/README.md"),
        ("tutorial.md", "../examples", f"{URL}/tree/main/examples"),
        ("tutorial.md", "https://elsewhere", "https://elsewhere"),
    ],
)
def test_a_link_leads_to_a_page_of_the_site_or_to_a_file_of_the_repository(page: str, target: str, link: str) -> None:
    assert site_link(page, target, URL) == link


def test_paths_of_pages_are_found_again() -> None:
    for page in [*pages_of(SITE["nav"]), *guides()]:
        assert site_path(repository_path(page)) == page
    assert site_path("docs/site_hooks.py") is None and site_path("ledger/README.md") is None


def test_anchors_and_code_stay_as_they_are() -> None:
    class Page:
        class file:  # noqa: N801  as mkdocs names it
            src_uri = "faq.md"

    class Config:
        repo_url = f"{URL}/"

    text = "[a](#here) [b](glossary.md#word) ![c](images/report.png) [d](../CONTRIBUTING.md#how)"
    changed = "[a](#here) [b](glossary.md#word) ![c](images/report.png) [d](project/CONTRIBUTING.md#how)"
    assert on_page_markdown(text, Page, Config) == changed


def test_the_readme_of_a_wheel_has_no_relative_link() -> None:
    text = "![p](docs/p.png) [a](docs/README.md) [b](https://x/y) [c](#part) [d](DECISIONS.md#one)"
    assert absolute_links(text, URL) == (
        f"![p]({URL}/raw/main/docs/p.png) [a]({URL}/blob/main/docs/README.md) [b](https://x/y) [c](#part) "
        f"[d]({URL}/blob/main/DECISIONS.md#one)"
    )


def messages() -> list[str]:
    """Every string in the code, with … for what is filled in."""
    found = []
    for path in ROOT.glob("*/mixproof/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_every_message_in_a_heading_of_the_troubleshooting_page_is_one_that_the_code_prints() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    headings = re.findall(r"^### (`.*`)$", page, re.MULTILINE)
    assert len(headings) >= 20
    known = messages()
    for heading in headings:
        for message in re.findall(r"`((?:[^`]|`on_bad_record: …`)+)`", heading):
            pieces = [piece.strip(" :;,()") for piece in re.split(r"…", message)]
            pieces = [piece for piece in pieces if len(piece) > 3]
            assert pieces, message
            for piece in pieces:
                assert any(piece in text for text in known), f"{message}: no such message: {piece!r}"
