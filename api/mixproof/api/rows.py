"""Rows: records in order, which are a table as well.

A record is a small frozen object with documented fields. The table of the same rows is an Arrow table; pandas and
Polars are imported only when one of their tables is requested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar, overload

import pyarrow as pa

if TYPE_CHECKING:
    import pandas
    import polars

Record = TypeVar("Record")


class Rows(Sequence[Record], Generic[Record]):
    """Records of one kind, in order."""

    def __init__(
        self, records: Iterable[Record], schema: pa.Schema, row_of: Callable[[Record], Mapping[str, object]]
    ) -> None:
        """Keep records, and how each is a row.

        Args:
            records: in the order of the rows.
            schema: columns of the table.
            row_of: gives the value of every column; one that it leaves out is null.
        """
        self._records = tuple(records)
        self._schema, self._row_of = schema, row_of

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Rows[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Rows[Record]:
        if isinstance(index, slice):
            return Rows(self._records[index], self._schema, self._row_of)
        return self._records[index]

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {', '.join(self._schema.names)}>"

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table."""
        return pa.Table.from_pylist([dict(self._row_of(record)) for record in self], schema=self._schema)

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a pandas table.

        Raises:
            ImportError: when pandas is not installed.
        """
        return self.to_arrow().to_pandas()

    def to_polars(self) -> polars.DataFrame:
        """The rows as a Polars table.

        Raises:
            ImportError: when Polars is not installed.
        """
        import polars

        table = polars.from_arrow(self.to_arrow())
        assert isinstance(table, polars.DataFrame)
        return table
