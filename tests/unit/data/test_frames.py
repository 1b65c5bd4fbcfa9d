"""Tables of other libraries: their rows are read as any, and the chosen ones come back in the same type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import nncift
from nncift.data.frames import rows_of, some_rows
from nncift.errors import DataError

pd = pytest.importorskip("pandas", reason="pandas is not installed")

ROWS: list[dict[str, Any]] = [
    {
        "prompt": None if k % 3 == 0 else f"ask {k}",
        "completion": f"say {k}",
        "k": k,
        "turns": [{"role": "user", "content": str(k)}],
    }
    for k in range(11)
]


def polars() -> Any:
    return pytest.importorskip("polars", reason="polars is not installed").DataFrame(ROWS)


def dataset() -> Any:
    return pytest.importorskip("datasets", reason="datasets is not installed").Dataset.from_list(ROWS)


TABLES = {
    "list": lambda: ROWS,
    "tuple": lambda: tuple(ROWS),
    "pandas": lambda: pd.DataFrame(ROWS, index=list("kjihgfedcba")),
    "arrow": lambda: pa.Table.from_pylist(ROWS),
    "batch": lambda: pa.RecordBatch.from_pylist(ROWS),
    "polars": polars,
    "dataset": dataset,
}

quiet = pytest.mark.filterwarnings("default")  # libraries of others warn of their own


@quiet
@pytest.mark.parametrize("kind", TABLES)
def test_the_rows_are_those_of_the_list(kind: str) -> None:
    assert list(rows_of(TABLES[kind]())) == ROWS


@quiet
@pytest.mark.parametrize("kind", TABLES)
def test_the_same_rows_are_chosen_and_come_back_in_the_same_type(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = TABLES[kind]()
    picked = nncift.select(table, budget=4, influence="length")
    assert picked.indices == nncift.select(ROWS, budget=4, influence="length").indices
    back = picked.as_input()
    assert type(back) is (list if kind == "tuple" else type(table))
    assert list(rows_of(back)) == [ROWS[k] for k in picked.indices] == picked.rows
    assert len(picked.resize(2).as_input()) == 2
    if kind == "pandas":
        assert back.index.tolist() == [table.index[k] for k in picked.indices] and back["k"].dtype == table["k"].dtype


def test_rejected_rows_do_not_shift_the_others() -> None:
    table = pd.DataFrame({"text": ["a", " ", "bb", None, "ccc"], "n": range(5)})
    picked = nncift.select(table, budget=2, influence="length")
    assert picked.as_input()["text"].tolist() == ["ccc", "bb"] and len(picked.pool.rejected) == 2


def test_missing_values_of_pandas_are_none_and_lists_stay() -> None:
    table = pd.DataFrame({"text": ["a", np.nan], "x": [1.5, np.nan], "turns": [["u", None], []]})
    assert list(rows_of(table)) == [
        {"text": "a", "x": 1.5, "turns": ["u", None]},
        {"text": None, "x": None, "turns": []},
    ]


def test_what_can_be_read_once_and_a_file_come_back_as_rows(tmp_path: Path) -> None:
    picked = nncift.select(iter(ROWS), budget=4, influence="length")
    assert picked.as_input() == picked.rows == [ROWS[k] for k in picked.indices]
    again = nncift.select(str(picked.pool.source), budget=4, influence="length")
    assert again.as_input() == picked.rows and again.given is None
    assert some_rows(iter(ROWS), [1]) is None


def test_what_is_no_table_is_told() -> None:
    with pytest.raises(DataError, match="mapping of 'train' is not rows"):
        nncift.select({"train": ROWS}, budget=1, influence="length")
    with pytest.raises(DataError, match=r"a builtins\.int is not rows"):
        nncift.select(3, budget=1, influence="length")


def test_no_library_of_tables_is_imported_for_it() -> None:
    code = (
        "import sys; import nncift.data.frames as f; list(f.rows_of([{}])); "
        "print({'pandas', 'polars', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "set()"), done.stderr
