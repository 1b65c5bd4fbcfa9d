"""What is dear and may be needed by the next run: arrays in the teacher's folder, made again where they are missing."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from numpy import ndarray

from nncift.data.arrays import read_npz, write_npz
from nncift.errors import RunError
from nncift.lm.atomic import write_whole

log = logging.getLogger(__name__)


def kept(folder: Path, depends: Any, compute: Callable[[], dict[str, ndarray]]) -> dict[str, ndarray]:
    """The arrays of an earlier call with the same `depends`, or those that `compute` gives now, written for the next one.

    Args:
        folder: where they are kept; made where it is missing.
        depends: JSON-able; all that the arrays depend on.
        compute: called where nothing is kept or the file is damaged.
    """
    path = folder / f"{sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:32]}.npz"
    if path.is_file():
        try:
            return read_npz(path)
        except RunError:
            log.warning("%s is damaged; it is computed again", path)
    arrays = compute()
    whole = BytesIO()
    write_npz(whole, arrays)
    try:
        write_whole(path, whole.getvalue())
    except OSError as error:
        log.warning("what was computed is not kept for the next run: %s", error)
    return arrays
