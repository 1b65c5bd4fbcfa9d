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

from nncift.data.arrays import read_npz
from nncift.data.rows import ids_of
from nncift.errors import ConfigError, DataError, RunError
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
        try:
            arrays = read_npz(path)
        except RunError as error:
            raise DataError(f"{path} cannot be read as an .npz: it is damaged, or of another kind. {_MEND}") from error
        pool_ids = _ids(arrays, "pool_ids", path)
        target_ids = _ids(arrays, "target_ids", path) if self.each == "pair" else [""]
        mend = "For influences of pairs leave out --option each=row." if self.each == "row" else _MEND
        found = _matrix(arrays, (len(target_ids), len(pool_ids)), path, mend)
        asked = f"pool rows, and `pool_ids` of {path}"
        columns = _places(ids_of(context.pool), pool_ids, context.asked_pool, asked)
        if self.each == "row":
            return _chosen(found, np.zeros(1, dtype=np.int64), columns)
        asked = f"targets, and `target_ids` of {path}"
        return _chosen(found, _places(ids_of(context.targets), target_ids, context.asked_targets, asked), columns)

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


def _ids(arrays: dict[str, ndarray], name: str, path: Path) -> list[str]:
    found = arrays.get(name)
    if found is None or found.ndim != 1 or found.dtype.kind not in "Uiu":
        kind = "no array" if found is None else f"{found.dtype} {found.shape}, not one text per row in"
        raise DataError(f"{path} has {kind} `{name}`. {_MEND}")
    ids = list(map(str, found.tolist()))
    if len(set(ids)) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise DataError(f"{path} has the id {twice!r} twice in `{name}`. Ids must differ.")
    return ids


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


def _matrix(arrays: dict[str, ndarray], shape: tuple[int, int], path: Path, mend: str) -> Float32[ndarray, "m n"]:
    if (values := arrays.get("values")) is not None:
        if values.shape != shape or values.dtype.kind not in "fiu":
            raise DataError(
                f"{path}: `values` is {values.dtype} {values.shape}; numbers of shape {shape} are needed. {mend}"
            )
        return values.astype(np.float32)
    i, j, y = (arrays.get(name) for name in "ijy")
    if i is None or j is None or y is None:
        raise DataError(f"{path} has neither `values` nor `i`, `j` and `y`. {_MEND}")
    if not (i.ndim == 1 and i.shape == j.shape == y.shape and i.dtype.kind in "iu" and j.dtype.kind in "iu"):
        raise DataError(f"{path}: `i`, `j` and `y` must be lists of one length, positions as whole numbers. {_MEND}")
    if len(i) and (min(i.min(), j.min()) < 0 or i.max() >= shape[0] or j.max() >= shape[1]):
        raise DataError(f"{path}: a position lies outside its {shape[0]:,} × {shape[1]:,} pairs. {mend}")
    found = np.full(shape, np.nan, dtype=np.float32)
    found[i, j] = y
    return found


def _chosen(values: ndarray, rows: ndarray, columns: ndarray) -> Float32[ndarray, "m n"]:
    """The part of a matrix that the run is about."""
    if not values.size:
        return np.full((len(rows), len(columns)), np.nan, dtype=np.float32)
    found = values[np.ix_(rows, columns)]
    found[rows < 0] = np.nan
    found[:, columns < 0] = np.nan
    return found
