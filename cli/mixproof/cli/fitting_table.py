"""Tables on narrow terminals."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Column, Table
from rich.text import Text

ANY_WIDTH = 10_000
_PIECE = re.compile(r"[^/_.:=-]*[/_.:=-]+|[^/_.:=-]+")
"""A part of a word, with the separators that end it."""


class FittingTable(Table):
    """A table that continues below itself where its columns do not fit side by side, instead of losing some."""

    text_columns = 1
    """Columns at the left that every piece repeats: the names of the rows."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the table, in as many pieces as it needs."""
        width = options.max_width
        names, numbers = self.columns[: self.text_columns], self.columns[self.text_columns :]
        if self.minimum_width(console, options) <= width or len(numbers) < 2:
            yield from self._titled(console, options)
            return
        title, left = self.title, list(numbers)
        while left:
            count = len(left)
            while count > 1 and self._with([*names, *left[:count]]).minimum_width(console, options) > width:
                count -= 1
            piece = self._with([*names, *left[:count]])
            piece.title, title = title, None
            yield from piece._titled(console, options)
            left = left[count:]

    def _titled(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The title, which may be wider than the table, and the table below it."""
        shrunk = self._shrunk(console, options)
        if isinstance(self.title, str):
            yield console.render_str(self.title, style="table.title")
            shrunk.title = None
        yield from Table.__rich_console__(shrunk, console, options)

    def minimum_width(self, console: Console, options: ConsoleOptions) -> int:
        """Width below which names or numbers would be cut."""
        return self.__rich_measure__(console, options.update(max_width=ANY_WIDTH)).minimum

    def _shrunk(self, console: Console, options: ConsoleOptions) -> FittingTable:
        """The table with its widest columns narrowed until it fits, none below its minimum width.

        Rich narrows columns below their minimum, widens them again, and cuts what is then too wide.
        """
        least = [column.min_width or 0 for column in self.columns]
        widths = [column.max_width or 0 for column in self.columns]
        padding = self.minimum_width(console, options) - sum(least)
        if sum(widths) + padding <= options.max_width:
            return copy.copy(self)
        while sum(widths) + padding > options.max_width and widths != least:
            widest = max((index for index, width in enumerate(widths) if width > least[index]), key=widths.__getitem__)
            widths[widest] -= 1
        columns = []
        for index, (column, width) in enumerate(zip(self.columns, widths, strict=True)):
            cells = _folded(column._cells, width) if index < self.text_columns else column._cells
            columns.append(replace(column, width=width, _cells=cells))
        return self._with(columns)

    def _with(self, columns: Sequence[Column]) -> FittingTable:
        """A table of some of the columns, with the same rows."""
        chosen = copy.copy(self)
        chosen.columns = [replace(column, _index=index) for index, column in enumerate(columns)]
        return chosen


def _folded(cells: Sequence[RenderableType], width: int) -> list[RenderableType]:
    """The names of a column at a width; see `fold_name`."""
    return [fold_name(cell, width) if isinstance(cell, Text) else cell for cell in cells]


def fold_name(name: Text, width: int) -> Text:
    """Break a name that is longer than `width` between words, or after a separator if a word is too long.

    Further lines are indented by two more than the first.
    """
    plain = name.plain
    if cell_len(plain) <= width:
        return name
    indent = len(plain) - len(plain.lstrip()) + 2
    lines = name.divide(list(_breaks(plain, width, indent)))
    for line in lines:
        line.rstrip()
    return Text("\n" + " " * indent).join(lines)


def _breaks(plain: str, width: int, indent: int) -> Iterator[int]:
    """Offsets at which a name is broken. A piece that is wider than a line is left to rich, which cuts it anywhere."""
    used = len(plain) - len(plain.lstrip())
    for word in re.finditer(r"\S+", plain):
        size, is_first = cell_len(word[0]), not plain[: word.start()].strip()
        if not is_first and used + 1 + size > width:
            yield word.start()
            used = indent
        elif not is_first:
            used += 1
        if used + size <= width:
            used += size
            continue
        for piece in _PIECE.finditer(word[0]):
            size = cell_len(piece[0])
            if piece.start() and used + size > width:
                yield word.start() + piece.start()
                used = indent
            used += size
