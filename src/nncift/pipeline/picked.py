"""The ranking as the run keeps it: arrays, of which everything that people read is written."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy import ndarray

from nncift.data.arrays import read_npz, write_npz
from nncift.run import RunFolder, StageRecord, Work
from nncift.selection import Picks

PICKS = "picks.npz"
"""`position` (among the usable rows sorted by id), `gain`, `phase` where there are phases, and the reasons: the bytes of all
behind one another (`reason`) and where each ends (`reason_end`)."""


def write_picks(folder: RunFolder, picks: Picks, done: Work) -> None:
    """Writes the ranking."""
    arrays = {"position": picks.order.astype(np.int64), "gain": picks.gains.astype(np.float64)}
    if picks.phases is not None:
        arrays["phase"] = picks.phases.astype(np.int64)
    with folder.atomic(PICKS) as part:
        write_npz(part, arrays | _packed(picks.reasons))
    done.files.append(PICKS)
    done.facts |= {"positive": picks.positive, "merit": picks.merit, "kept": picks.kept}


def read_picks(folder: RunFolder, record: StageRecord) -> Picks:
    """The ranking that `write_picks` wrote.

    Raises:
        RunError: the file is missing or damaged.
    """
    stored = read_npz(folder.path / PICKS)
    facts = record.facts
    return Picks(
        stored["position"],
        stored["gain"],
        _unpacked(stored["reason"], stored["reason_end"]),
        facts["positive"],
        facts["merit"],
        facts["kept"],
        stored.get("phase"),
    )


def _packed(texts: Sequence[str]) -> dict[str, ndarray]:
    """An array of text would take four bytes a character, and as many for each text as for the longest."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum([len(one) for one in encoded], dtype=np.int64)
    return {"reason": np.frombuffer(b"".join(encoded), dtype=np.uint8), "reason_end": ends}


def _unpacked(packed: ndarray, ends: ndarray) -> tuple[str, ...]:
    whole = packed.tobytes()
    return tuple(whole[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise([0, *ends.tolist()]))
