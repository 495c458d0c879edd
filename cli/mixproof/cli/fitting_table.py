"""Tables on narrow terminals."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Column, Table

ANY_WIDTH = 10_000


class FittingTable(Table):
    """A table that continues below itself where its columns do not fit side by side, instead of losing some."""

    text_columns = 1
    """Columns at the left that every piece repeats: the names of the rows."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the table, in as many pieces as it needs."""
        width = options.max_width
        names, numbers = self.columns[: self.text_columns], self.columns[self.text_columns :]
        if self.minimum_width(console, options) <= width or len(numbers) < 2:
            yield from Table.__rich_console__(self._shrunk(console, options), console, options)
            return
        title, left = self.title, list(numbers)
        while left:
            count = len(left)
            while count > 1 and self._with([*names, *left[:count]]).minimum_width(console, options) > width:
                count -= 1
            piece = self._with([*names, *left[:count]])
            piece.title, title = title, None
            yield from Table.__rich_console__(piece._shrunk(console, options), console, options)
            left = left[count:]

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
            return self
        while sum(widths) + padding > options.max_width and widths != least:
            widest = max((index for index, width in enumerate(widths) if width > least[index]), key=widths.__getitem__)
            widths[widest] -= 1
        return self._with([replace(column, width=width) for column, width in zip(self.columns, widths, strict=True)])

    def _with(self, columns: Sequence[Column]) -> FittingTable:
        """A table of some of the columns, with the same rows."""
        chosen = copy.copy(self)
        chosen.columns = [replace(column, _index=index) for index, column in enumerate(columns)]
        return chosen
