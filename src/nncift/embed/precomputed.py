"""Embeddings that the user already has: `.npy` files with one row per row of the data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.data.given import given_npy
from nncift.data.rows import Pool, numbers_of
from nncift.embed.base import BLOCK, first_bad_row, unit_rows
from nncift.errors import ConfigError, DataError

Role = Literal["pool", "target", "existing"]
_ROLES: tuple[Role, ...] = ("pool", "target", "existing")


def embedding_paths(names: str) -> tuple[Path, ...]:
    """The files of `pool.npy`, `pool.npy,target.npy` or `pool.npy,target.npy,existing.npy`.

    Raises:
        ConfigError: there are more than three, one is empty, or one is not a `.npy` file.
    """
    whole = Path(names).expanduser()
    parts = [whole] if whole.is_file() else [Path(part.strip()).expanduser() for part in names.split(",")]
    if len(parts) > len(_ROLES):
        raise ConfigError(f"--embedder {names!r} names {len(parts)} files; it takes {', '.join(_ROLES)} at most.")
    for path in parts:
        if path.suffix.lower() != ".npy":
            raise ConfigError(f"--embedder {names!r}: {str(path)!r} is not a .npy file. Write: pool.npy,target.npy")
    return tuple(parts)


class Precomputed:
    """Vectors from `.npy` files, the pool's first, then the target's, then those of the rows chosen before.

    Use it when the vectors come from a model that cannot run here. Row `k` of a file belongs to row `k` of the data as
    it lies in its file: either every row has one, or every usable row (rejected rows left out).

    Args:
        names: one to three paths, separated by commas.

    Raises:
        ConfigError: a file is missing, is not a two-dimensional array of numbers, or the files differ in width.
    """

    def __init__(self, names: str) -> None:
        self.name = names
        self._paths = embedding_paths(names)
        shapes = [_open(path).shape for path in self._paths]
        self._lengths = tuple(length for length, _ in shapes)
        widths = {width for _, width in shapes}
        if len(widths) > 1:
            found = ", ".join(f"{path}: {width}" for path, (_, width) in zip(self._paths, shapes, strict=True))
            raise ConfigError(
                f"embeddings of different widths cannot be compared ({found}). Use one model for all files."
            )
        self.dimension: int = widths.pop()

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the bytes of all files, in their order."""
        digest = sha256(b"precomputed")
        for path in self._paths:
            with path.open("rb") as file:
                digest.update(file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def rows(self, pool: Pool, *, role: Role = "pool") -> Float[ndarray, "n d"]:
        """The vectors of the usable rows in the order of `pool`, float32, scaled to length 1 (zeros stay zero).

        Raises:
            ConfigError: no file was given for this role, its length fits neither the rows nor the usable rows, or a
                vector that is used holds NaN or infinity.
        """
        found = self.vectors(pool, role=role)
        made = np.empty((len(pool), self.dimension), dtype=np.float32)
        for start in range(0, len(pool), BLOCK):
            made[start : start + BLOCK] = found.take(np.arange(start, min(start + BLOCK, len(pool))))
        return made

    def vectors(self, pool: Pool, *, role: Role = "pool") -> FileVectors:
        """What `rows` gives, block by block, so that a file that does not fit into memory can be used.

        Raises:
            ConfigError: no file was given for this role, or its length fits neither the rows nor the usable rows.
        """
        place = _ROLES.index(role)
        if place >= len(self._paths):
            wanted = ",".join(f"{one}.npy" for one in _ROLES[: place + 1])
            raise ConfigError(f"--embedder {self.name!r} has no file for the {role}. Write: --embedder {wanted}")
        path = self._paths[place]
        return FileVectors(path, _positions(pool, self._lengths[place], path), pool)


@dataclass(frozen=True, slots=True)
class FileVectors:
    """The vectors of a pool, in a file.

    Attributes:
        path: of the file.
        positions: [n], where in the file the vector of each row is.
        pool: the rows.
    """

    path: Path
    positions: Int[ndarray, " n"]
    pool: Pool

    def take(self, at: Int[ndarray, " k"]) -> Float[ndarray, "k d"]:
        """The vectors of some rows, float32, scaled to length 1 (zeros stay zero).

        Raises:
            ConfigError: a vector holds NaN or infinity.
        """
        where = self.positions[at]
        vectors = np.asarray(_open(self.path)[where])  # opened each time: what was read of it is let go with it
        bad = first_bad_row(vectors)
        if bad is not None:
            raise ConfigError(
                f"{self.path}, row {int(where[bad])} (0-based) holds NaN or infinity; it belongs to the row "
                f"{self.pool[int(at[bad])].id!r} of {self.pool.source}. Compute that vector again, or remove the row."
            )
        return unit_rows(vectors)


def _positions(pool: Pool, length: int, path: Path) -> np.ndarray:
    """Where in the file the vector of each usable row is."""
    numbers = numbers_of(pool.examples)
    everything = len(pool) + len(pool.rejected)
    if length == len(pool):
        return np.argsort(np.argsort(numbers))  # the rank of a row among the usable ones: `pool` may be in any order
    if length == everything and numbers.max(initial=-1) < length:
        return numbers
    raise ConfigError(
        f"{path} has {length} rows, but {pool.source} has {len(pool)} usable rows ({everything} with the rejected "
        f"ones). Give one vector per usable row or one per row of the file."
    )


def _open(path: Path) -> np.ndarray:
    try:
        array = given_npy(path)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file of embeddings {path}. Check --embedder.") from error
    except DataError as error:
        raise ConfigError(f"{error}. Write it again with numpy.save.") from error
    if array.ndim != 2 or array.dtype.kind not in "fiu" or array.shape[1] == 0:
        raise ConfigError(
            f"{path} holds {array.dtype} of shape {array.shape}; embeddings are numbers of shape (rows, width)."
        )
    return array
