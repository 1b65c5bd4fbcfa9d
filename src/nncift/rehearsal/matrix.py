"""The full matrix of exact influences: from the file that holds it, laid out as everything is computed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int
from numpy import ndarray

from nncift.data.given import given_arrays, row_ids
from nncift.data.rows import Example, Pool
from nncift.data.views import take
from nncift.errors import DataError

log = logging.getLogger(__name__)

_NAMED = 5  # ids that a message names
_MEND = "Write it with `nncift label POOL --labels all -o LABELS.npz`."


@dataclass(frozen=True, slots=True)
class Matrix:
    """Influences of every pair, rows and columns in the order of their ids.

    Attributes:
        values: float32 [m, n], 0 where the influence is not known.
        known: bool [m, n], where it is: a finite number in the file. The others are masked pairs.
        target_ids: of the rows; none where the influence is pointwise.
        pool_ids: of the columns.
        rows, columns: where each row and column stands in the file.
    """

    values: Float32[ndarray, "m n"]
    known: Bool[ndarray, "m n"]
    target_ids: tuple[str, ...]
    pool_ids: tuple[str, ...]
    rows: Int[ndarray, " m"]
    columns: Int[ndarray, " n"]

    @property
    def pointwise(self) -> bool:
        """Whether it has one row, so that each candidate has one score."""
        return len(self.values) == 1

    @property
    def masked(self) -> Int[ndarray, "p 2"]:
        """The pairs (i, j) whose influence is not known."""
        return np.argwhere(~self.known)

    @property
    def candidates(self) -> Int[ndarray, " c"]:
        """Positions of the candidates of which anything is known."""
        return np.flatnonzero(self.known.any(axis=0))

    def as_filed(self, values: ndarray) -> ndarray:
        """An array over all pairs, over targets and candidates in the order of the file."""
        filed = np.empty_like(values)
        filed[np.ix_(self.rows, self.columns)] = values
        return filed


def read_matrix(path: Path) -> Matrix:
    """Reads `values` [m, n], or `i`, `j`, `y` of every pair, with `target_ids` and `pool_ids`.

    Use it for what `nncift label --labels all` wrote. A pointwise influence has one row, and may do without target ids.

    Raises:
        DataError: the file cannot be read, lacks an array, or its arrays do not fit each other.
    """
    if not path.is_file():
        raise DataError(f"no influences at {str(path)!r}. {_MEND}")
    arrays = given_arrays(path, ("target_ids", "pool_ids", "values", "i", "j", "y"), mend=_MEND)
    target_ids, pool_ids = (tuple(row_ids(arrays, name, path, mend=_MEND)) for name in ("target_ids", "pool_ids"))
    shape = (max(1, len(target_ids)), len(pool_ids))
    values = _values(arrays, shape, path)
    known = np.isfinite(values)
    if not known.any():
        raise DataError(f"{path} holds no finite influence. {_MEND}")
    if not known.all():
        log.warning(
            "%s of %s pairs have no finite influence: they are neither labelled nor scored",
            f"{(~known).sum():,}", f"{known.size:,}",
        )  # fmt: skip
    rows, columns = (np.array(sorted(range(len(ids)), key=ids.__getitem__)) for ids in (target_ids or ("",), pool_ids))
    ordered = np.ix_(rows, columns)
    return Matrix(
        np.where(known, values, np.float32(0))[ordered],
        known[ordered],
        tuple(sorted(target_ids)),
        tuple(sorted(pool_ids)),
        rows,
        columns,
    )


def named_rows(ids: Sequence[str], pool: Pool, what: str) -> Sequence[Example]:
    """The rows with the given ids, in that order.

    Args:
        ids: of the matrix.
        pool: the rows of the file that the user named.
        what: `pool` or `target`.

    Raises:
        DataError: an id is of no usable row.
    """
    place = {name: position for position, name in enumerate(pool.ids)}
    missing = [name for name in ids if name not in place]
    if missing:
        shown = ", ".join(map(repr, missing[:_NAMED])) + (", …" if len(missing) > _NAMED else "")
        raise DataError(
            f"{len(missing):,} of the {len(ids):,} `{what}_ids` of the matrix are of no usable row of {pool.source}: "
            f"{shown}. Name the file that was labelled: --{what} FILE."
        )
    return take(pool.examples, [place[name] for name in ids])


def _values(arrays: dict[str, ndarray], shape: tuple[int, int], path: Path) -> Float32[ndarray, "m n"]:
    m, n = shape
    values = arrays["values"] if "values" in arrays else _from_pairs(arrays, shape, path)
    if values.shape != shape or values.dtype.kind not in "fiu":
        raise DataError(
            f"{path}: `values` is {values.dtype} {values.shape}; with {m:,} targets and {n:,} candidates numbers of shape "
            f"({m}, {n}) are needed, targets first. {_MEND}"
        )
    with np.errstate(over="ignore"):  # what no float32 can hold is infinite, and masked
        return values.astype(np.float32)


def _from_pairs(arrays: dict[str, ndarray], shape: tuple[int, int], path: Path) -> ndarray:
    """The matrix from its pairs, each of which must be there."""
    m, n = shape
    lists = [arrays.get(name) for name in ("i", "j", "y")]
    i, j, y = lists
    if i is None or j is None or y is None:
        raise DataError(f"{path} has neither `values` nor `i`, `j` and `y`. {_MEND}")
    if not (i.ndim == 1 and i.shape == j.shape == y.shape and i.dtype.kind in "iu" and j.dtype.kind in "iu"):
        raise DataError(f"{path}: `i`, `j` and `y` must be lists of one length, positions as whole numbers. {_MEND}")
    if len(i) and (i.min() < 0 or i.max() >= m or j.min() < 0 or j.max() >= n):
        raise DataError(f"{path}: a position lies outside its {m:,} targets and {n:,} candidates. {_MEND}")
    pairs = len(np.unique(i.astype(np.int64) * n + j.astype(np.int64)))
    if pairs < m * n:
        raise DataError(f"{path} holds {pairs:,} of {m * n:,} pairs, and every one is needed to judge by. {_MEND}")
    values = np.empty(shape, dtype=y.dtype)
    values[i, j] = y
    return values
