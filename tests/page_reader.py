"""What a reader finds on an HTML page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote


@dataclass
class Shown:
    """One cell of a table as it stands on the page."""

    text: str = ""
    href: str | None = None


class Page(HTMLParser):
    """What a reader finds on a page: tables by id, statements by id, text by element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[Shown]]] = {}
        self.statements: dict[str, str] = {}
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.texts: dict[str, str] = {}
        """All text inside elements of a name: h1, li, strong, p."""
        self.json: dict[str, Any] = {}
        self._stack: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of ids, links, tables and rows."""
        given = dict(attrs)
        if tag not in ("meta", "link", "input", "br", "img"):
            self._stack.append((tag, given))
        if given.get("id"):
            self.ids.append(str(given["id"]))
        self.links += [str(given["href"])] if given.get("href") else []
        self.sources += [str(given["src"])] if given.get("src") else []
        if tag == "table":
            self.tables[str(given["id"])] = []
        if tag == "tr":
            self._rows().append([])
        if tag == "td":
            self._rows()[-1].append(Shown())
        if tag == "a" and self._inside("td"):
            self._rows()[-1][-1].href = given.get("href")

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        while self._stack and self._stack.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        """Take note of text."""
        for tag in dict.fromkeys(tag for tag, _ in self._stack):
            self.texts[tag] = self.texts.get(tag, "") + data
        if self._inside("td"):
            self._rows()[-1][-1].text += data.strip()
        name = next((str(given["id"]) for tag, given in self._stack if tag == "details" and "id" in given), "")
        if self._inside("pre") and name:
            self.statements[name] = self.statements.get(name, "") + data
        if self._stack and self._stack[-1][1].get("id") == "figures":
            self.json = json.loads(data)

    def rows(self, table: str) -> list[list[str]]:
        """Texts of a table's rows, without its head."""
        return [[cell.text for cell in row] for row in self.tables[table] if row]

    def value(self, href: str) -> object:
        """What the statement that a link leads to says there."""
        anchor, _, pointer = unquote(href.removeprefix("#")).partition(":/")
        found = json.loads(self.statements[anchor])
        for name in pointer.split("/"):
            name = name.replace("~1", "/").replace("~0", "~")
            found = found[int(name)] if isinstance(found, list) else found[name]
        return found

    def _inside(self, tag: str) -> bool:
        return any(name == tag for name, _ in self._stack)

    def _rows(self) -> list[list[Shown]]:
        return list(self.tables.values())[-1]
