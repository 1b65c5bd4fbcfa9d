"""From a record of a source to a row of instruction data, or to the reason why there is none."""

from __future__ import annotations

from nncift.data.ids import own_id
from nncift.data.layouts import Layout, RowProblem, parse
from nncift.data.records import Record
from nncift.data.rows import Example


def draft(record: Record, layout: Layout) -> Example | str:
    """The example with its own id, empty where that is good for nothing, or the reason why there is no example."""
    if record.row is None:
        return record.problem
    try:
        turns = parse(layout, record.row)
    except RowProblem as problem:
        return problem.reason
    return Example(own_id(record.row.get("id")), turns, record.number, record.line, record.raw)
