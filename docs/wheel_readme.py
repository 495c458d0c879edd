"""README.md as it is in a wheel: relative links become links into the repository, because an index shows it alone.

A metadata hook of hatchling; `pyproject.toml` names it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

IMAGE = re.compile(r"(?<=!\[)([^\]]*)\]\(([^)\s]+)\)")
LINK = re.compile(r"\]\((?!\w+:)(?!#)([^)\s]+)\)")
BRANCH = "main"


def absolute_links(text: str, repository: str) -> str:
    """The text with relative links made absolute; images lead to the raw file."""

    def image(found: re.Match[str]) -> str:
        if "://" in found[2]:
            return found[0]
        return f"{found[1]}]({repository}/raw/{BRANCH}/{found[2]})"

    return LINK.sub(rf"]({repository}/blob/{BRANCH}/\1)", IMAGE.sub(image, text))


class WheelReadme(MetadataHookInterface):
    """Sets `readme`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the text of the README in the metadata."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        repository = metadata["urls"]["Repository"]
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute_links(text, repository)}
