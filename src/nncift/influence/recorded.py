"""Influences that were computed before, or elsewhere: read from a file instead of a language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float32, Int
from numpy import ndarray

from nncift.data.given import given_arrays, row_ids
from nncift.data.rows import ids_of
from nncift.errors import ConfigError, DataError
from nncift.influence.base import Context, Direct, Progress, Traits

_MEND = "Write it with `nncift label POOL --labels all -o LABELS.npz`."


@dataclass(frozen=True, slots=True)
class Recorded:
    """Influences of your own, or of an earlier `nncift label`, from a file.

    Use it to bring influences that nothing here computes, or to try budgets, objectives and estimators on the same labels
    without computing them again. Rows are matched by their ids, so the file may hold more rows than the run, in any order.

    Args:
        matrix: an `.npz` with `pool_ids` [n], for pairs also `target_ids` [m], and `values` [m, n] (NaN where a pair has no
            value), or `i`, `j`, `y` of any pairs. Higher is better; minus infinity all over a pool row: never pick it.
        each: `pair`, or `row` for one score per pool row, where there is one row of values.

    *Cost*: reading the file; where only a share of the labels is asked for, the others are not looked at.
    """

    pairs: ClassVar[Traits] = Traits(name="recorded", pairwise=True, objective="facility-location", uses_target=True)
    scores: ClassVar[Traits] = Traits(name="recorded", pairwise=False, objective="top-mean")

    matrix: str = ""
    each: Literal["pair", "row"] = "pair"

    @property
    def traits(self) -> Traits:
        """Those of a pairwise or a pointwise influence, as the file is."""
        return self.pairs if self.each == "pair" else self.scores

    def contents(self) -> dict[str, str]:
        """See `nncift.influence.base.ReadsFiles`."""
        return {"matrix": sha256(self._path.read_bytes()).hexdigest()}

    def start(self, context: Context) -> Direct:
        """Reads the file.

        Raises:
            ConfigError: no file is named.
            DataError: it cannot be read, or lacks a row that is asked about.
        """
        values = self._values(context)
        self._refuse_partly_barred(values, context)

        def look_up(i: ndarray, j: ndarray, on_progress: Progress) -> Float32[ndarray, " L"]:
            found = values[i if self.each == "pair" else np.zeros_like(i), j]
            self._refuse_missing(found, i, j, context)
            on_progress(len(j))
            return found

        return Direct(look_up)

    def unscorable(self, context: Context) -> list[int]:
        """Pool rows of which nothing but minus infinity is recorded."""
        values = self._values(context)
        barred = (np.isneginf(values) | np.isnan(values)).all(axis=0) & np.isneginf(values).any(axis=0)
        return np.flatnonzero(barred).tolist()

    @property
    def _path(self) -> Path:
        if not self.matrix:
            raise ConfigError(f"the influence `recorded` needs its file: --option matrix=LABELS.npz. {_MEND}")
        path = Path(self.matrix)
        if not path.is_file():
            raise DataError(f"no influences at {self.matrix!r} (--option matrix). {_MEND}")
        return path

    def _values(self, context: Context) -> Float32[ndarray, "m n"]:
        """The recorded influences of the rows of a run, NaN where there is none."""
        path = self._path
        arrays = given_arrays(path, ("pool_ids", "target_ids", "values", "i", "j", "y"), mend=_MEND)
        pool_ids = row_ids(arrays, "pool_ids", path, mend=_MEND)
        target_ids = row_ids(arrays, "target_ids", path, mend=_MEND) if self.each == "pair" else [""]
        mend = "For influences of pairs leave out --option each=row." if self.each == "row" else _MEND
        asked = f"pool rows, and `pool_ids` of {path}"
        columns = _places(ids_of(context.pool), pool_ids, context.asked_pool, asked)
        rows = np.zeros(1, dtype=np.int64)
        if self.each == "pair":
            asked = f"targets, and `target_ids` of {path}"
            rows = _places(ids_of(context.targets), target_ids, context.asked_targets, asked)
        return _matrix(arrays, _Part((len(target_ids), len(pool_ids)), rows, columns), path, mend)

    def _refuse_partly_barred(self, values: ndarray, context: Context) -> None:
        minus = np.isneginf(values)
        partly = np.flatnonzero(minus.any(axis=0) & ~(minus | np.isnan(values)).all(axis=0))
        if len(partly):
            raise DataError(
                f"{self.matrix} has minus infinity for some targets of pool row {context.pool[int(partly[0])].id!r} and "
                f"numbers for others, and so has it of {len(partly) - 1:,} more rows. Minus infinity all over means that a row "
                "is never picked; where a pair counts for little, record a low number."
            )

    def _refuse_missing(self, found: ndarray, i: ndarray, j: ndarray, context: Context) -> None:
        missing = np.flatnonzero(np.isnan(found) | np.isposinf(found))
        if not len(missing):
            return
        first = int(missing[0])
        of = f" on target {context.targets[int(i[first])].id!r}" if self.each == "pair" else ""
        raise DataError(
            f"{self.matrix} has no finite influence of pool row {context.pool[int(j[first])].id!r}{of}, and of "
            f"{len(missing) - 1:,} more of {len(found):,} that are asked for. Record them, or leave these rows out."
        )


def _places(wanted: Sequence[str], known: Sequence[str], asked: ndarray, what: str) -> Int[ndarray, " k"]:
    """Where the rows of the run stand in the file, -1 for those that are not there and not asked about."""
    place = {name: k for k, name in enumerate(known)}
    found = np.array([place.get(name, -1) for name in wanted], dtype=np.int64)
    if len(lost := asked[found[asked] < 0]):
        shown = ", ".join(repr(wanted[k]) for k in lost[:5].tolist()) + (", …" if len(lost) > 5 else "")
        raise DataError(
            f"{len(lost):,} of {len(asked):,} {what} do not go together: {shown}. Ids are the column `id`, and where there is "
            "none a hash of the text: name the files that were labelled."
        )
    return found


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of a file's matrix that a run is about.

    Attributes:
        shape: of the whole.
        rows, columns: where those of the run stand in the whole, -1 for those that do not.
    """

    shape: tuple[int, int]
    rows: Int[ndarray, " m"]
    columns: Int[ndarray, " n"]

    def of(self, values: ndarray) -> Float32[ndarray, "m n"]:
        """The part of a whole matrix, NaN where there is none."""
        found = np.full((len(self.rows), len(self.columns)), np.nan, dtype=np.float32)
        here = np.ix_(np.flatnonzero(self.rows >= 0), np.flatnonzero(self.columns >= 0))
        with np.errstate(over="ignore"):  # what no float32 can hold is infinite, and refused where it is asked about
            found[here] = values[np.ix_(self.rows[self.rows >= 0], self.columns[self.columns >= 0])]
        return found

    def of_pairs(self, i: ndarray, j: ndarray, y: ndarray) -> Float32[ndarray, "m n"]:
        """The same of pairs; the whole matrix, which may be far larger, is never made."""
        found = np.full((len(self.rows), len(self.columns)), np.nan, dtype=np.float32)
        row, column = (_inverse(*pair) for pair in zip((self.rows, self.columns), self.shape, strict=True))
        own = (row[i] >= 0) & (column[j] >= 0)
        with np.errstate(over="ignore"):
            found[row[i[own]], column[j[own]]] = y[own]
        return found


def _inverse(places: ndarray, size: int) -> Int[ndarray, " size"]:
    """Which row of the run stands at each place of the file, -1 for none."""
    found = np.full(size, -1, dtype=np.int64)
    found[places[places >= 0]] = np.flatnonzero(places >= 0)
    return found


def _matrix(arrays: dict[str, ndarray], part: _Part, path: Path, mend: str) -> Float32[ndarray, "m n"]:
    shape = part.shape
    if (values := arrays.get("values")) is not None:
        if values.shape != shape or values.dtype.kind not in "fiu":
            raise DataError(
                f"{path}: `values` is {values.dtype} {values.shape}; numbers of shape {shape} are needed. {mend}"
            )
        return part.of(values)
    i, j, y = (arrays.get(name) for name in "ijy")
    if i is None or j is None or y is None:
        raise DataError(f"{path} has neither `values` nor `i`, `j` and `y`. {_MEND}")
    if not (i.ndim == 1 and i.shape == j.shape == y.shape and i.dtype.kind in "iu" and j.dtype.kind in "iu"):
        raise DataError(f"{path}: `i`, `j` and `y` must be lists of one length, positions as whole numbers. {_MEND}")
    if y.dtype.kind not in "fiu":
        raise DataError(f"{path}: `y` is {y.dtype}; numbers are needed. {_MEND}")
    if len(i) and (min(i.min(), j.min()) < 0 or i.max() >= shape[0] or j.max() >= shape[1]):
        raise DataError(f"{path}: a position lies outside its {shape[0]:,} × {shape[1]:,} pairs. {mend}")
    return part.of_pairs(i, j, y)
