"""Tables of other libraries as rows, and some of their rows as a table again; none of the libraries is imported here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from nncift.errors import DataError

_BLOCK = 4096  # rows that are Python objects at once


def rows_of(table: Any) -> Iterable[Mapping[str, Any]]:
    """The rows of a table in memory, as mappings from column to value.

    Args:
        table: a pandas or polars data frame, an Arrow table or record batch, a `datasets.Dataset`, or any iterable of
            mappings. Missing values of pandas become None.

    Raises:
        DataError: it is a mapping of several tables, or no rows at all.
    """
    if isinstance(table, Mapping):
        raise DataError(
            f"a mapping of {', '.join(map(repr, list(table)[:5]))} is not rows. Name one split, or pass a list of rows."
        )
    match _kind(table):
        case "pandas":
            return _of_pandas(table)
        case "polars":
            return table.iter_rows(named=True)
        case "arrow":
            return _of_arrow(table)
    if not isinstance(table, Iterable):
        name = f"{type(table).__module__.partition('.')[0]}.{type(table).__name__}"
        hint = " Call its collect() first." if name == "polars.LazyFrame" else ""
        raise DataError(f"a {name} is not rows. Pass a list of mappings, a data frame or an Arrow table.{hint}")
    return table


def some_rows(table: Any, numbers: Sequence[int]) -> Any:
    """Some rows of a table, in the given order and in the table's own type; of an iterable that can be read once, None.

    Args:
        table: as in `rows_of`.
        numbers: 0-based row numbers.
    """
    match _kind(table):
        case "pandas":
            return table.iloc[list(numbers)]
        case "polars":
            return table[list(numbers)]
        case "arrow":
            return table.take(list(numbers))
        case "dataset":
            return table.select(numbers)
    if not isinstance(table, Sequence):
        return None
    return [table[number] for number in numbers]


def _kind(table: Any) -> str | None:
    """The library and type of a table, told by name: it is imported already where one of its tables exists."""
    for one in type(table).__mro__:
        match one.__module__.partition(".")[0], one.__name__:
            case "pandas", "DataFrame":
                return "pandas"
            case "polars", "DataFrame":
                return "polars"
            case "pyarrow", "Table" | "RecordBatch":
                return "arrow"
            case "datasets", "Dataset":
                return "dataset"
    return None


def _of_pandas(frame: Any) -> Iterator[dict[str, Any]]:
    for start in range(0, len(frame), _BLOCK):
        block = frame.iloc[start : start + _BLOCK].astype(object)
        yield from block.where(block.notna(), None).to_dict("records")


def _of_arrow(table: Any) -> Iterator[dict[str, Any]]:
    for start in range(0, table.num_rows, _BLOCK):
        yield from table.slice(start, _BLOCK).to_pylist()
