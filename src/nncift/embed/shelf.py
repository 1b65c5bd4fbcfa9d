"""Arrays kept between runs, row by row, so that a row is computed once whatever it stands beside.

A shard is an `.npz` file named by the SHA-256 of its own bytes, so that it needs no index and tells of its own damage.
It is written aside and moved into place: no process sees half a shard, and two at once write the same rows at worst.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from nncift.data.arrays import write_npz
from nncift.lm.atomic import write_whole

log = logging.getLogger(__name__)

_KEYS = "keys"


@dataclass(frozen=True, slots=True)
class Shelf:
    """The rows of one kind.

    Attributes:
        folder: holds the shards and nothing else; its name tells all that the rows depend on beside their keys.
        holding: what it keeps, for warnings.
    """

    folder: Path
    holding: str

    def find(self, wanted: Collection[bytes]) -> dict[bytes, dict[str, Any]]:
        """What is kept of the wanted rows: by key, from each array its row."""
        return {key: {name: value.copy() for name, value in row.items()} for key, row in self.rows(wanted)}

    def rows(self, wanted: Collection[bytes]) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """What is kept of the wanted rows, one by one, each once: its key, and from each array its row."""
        found: set[bytes] = set()
        for keys, arrays in self._shards():
            for row, key in enumerate(keys):
                if key in wanted and key not in found:
                    found.add(key)
                    yield key, {name: array[row] for name, array in arrays.items()}

    def held(self) -> set[bytes]:
        """The keys of all rows that are kept."""
        return {key for keys, _ in self._shards() for key in keys}

    def put(self, keys: Sequence[bytes], arrays: Mapping[str, ndarray]) -> bool:
        """Keeps a shard; False, after a warning, where that cannot be done.

        Args:
            keys: [R], hashes of equal length.
            arrays: each of R rows.
        """
        buffer = io.BytesIO()
        packed = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), -1)
        write_npz(buffer, {_KEYS: packed, **arrays})
        data = buffer.getvalue()
        try:
            write_whole(self.folder / f"{sha256(data).hexdigest()}.npz", data)
        except OSError as error:
            log.warning("%s are not kept for the next run: %s", self.holding, error)
            return False
        return True

    def _shards(self) -> Iterator[tuple[list[bytes], dict[str, ndarray]]]:
        """Keys and arrays of every sound shard, in the order of their names; a damaged one is removed with a warning."""
        for path in sorted(self.folder.glob("*.npz")):
            try:
                data = path.read_bytes()
            except OSError as error:
                log.warning("the cached %s %s cannot be read and are left out: %s", self.holding, path, error)
                continue
            if sha256(data).hexdigest() != path.stem:
                log.warning("the cached %s %s are damaged; they are removed and computed again", self.holding, path)
                with suppress(OSError):
                    path.unlink()
                continue
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            yield [key.tobytes() for key in arrays.pop(_KEYS)], arrays
