"""Hooks of MkDocs: pages that are outside of docs/, and links that lead out of it.

In the repository, relative links work as they are. On the site, a link to a Markdown file that the site includes leads
to that page, and a link to any other file leads to the file in the repository.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
INCLUDED = ("CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/RESULTS.md")
"""Files of the repository that are pages of the site, below `project/`."""
LINK = re.compile(r"(?<=\]\()([^)#\s]+)(?=[#)])")
BRANCH = "main"


def site_path(path: str) -> str | None:
    """The path on the site of a file of the repository; None if it is not on the site."""
    if path in INCLUDED:
        return f"project/{path}"
    inside = path.removeprefix("docs/")
    return inside if inside != path and not inside.endswith(".py") else None


def repository_path(page: str) -> str:
    """The path in the repository of a page of the site."""
    inside = page.removeprefix("project/")
    return inside if inside in INCLUDED else f"docs/{page}"


def site_link(page: str, target: str, repository_url: str) -> str:
    """A link on a page of the site, from a relative link in the page's file.

    Args:
        page: path of the page on the site, such as `guides/search.md`.
        target: the link, without its anchor.
        repository_url: where the repository is.
    """
    if "://" in target or target.startswith("mailto:"):
        return target
    path = posixpath.normpath(posixpath.join(posixpath.dirname(repository_path(page)), target))
    on_site = site_path(path)
    if on_site is not None and (ROOT / path).is_file():
        return posixpath.relpath(on_site, posixpath.dirname(page) or ".")
    kind = "tree" if (ROOT / path).is_dir() else "blob"
    return f"{repository_url}/{kind}/{BRANCH}/{path}"


def guides() -> list[str]:
    """The guides, in the order in which docs/README.md names them; those that it does not name come last."""
    index = (ROOT / "docs" / "README.md").read_text()
    found = [f"guides/{path.name}" for path in (ROOT / "docs" / "guides").glob("*.md")]
    return sorted(found, key=lambda path: (index.find(path) % (len(index) + 1), path))


def on_config(config: Any) -> Any:  # noqa: ANN401
    """List the guides in the table of contents."""
    for entry in config.nav:
        if "Guides" in entry and isinstance(entry, dict):
            entry["Guides"] = guides()
    return config


def on_files(files: Any, config: Any) -> Any:  # noqa: ANN401  mkdocs is not installed where types are checked
    """Add the pages that are outside of docs/."""
    from mkdocs.structure.files import File

    for path in INCLUDED:
        files.append(File.generated(config, f"project/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:  # noqa: ANN401
    """Turn links to files of the repository into links of the site."""
    return LINK.sub(lambda found: site_link(page.file.src_uri, found[1], config.repo_url.rstrip("/")), markdown)
