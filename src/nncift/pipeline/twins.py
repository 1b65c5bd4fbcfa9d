"""Near-copies: rows whose embedding is almost that of an earlier row, found exactly block by block, and left out if asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.config import SelectConfig
from nncift.errors import RunError
from nncift.ledger import Ledger
from nncift.pipeline.vectors import Take, read_embeddings
from nncift.plain import DAMAGE
from nncift.progress import Reporter
from nncift.run import RunFolder, Work

FILE = "twins.json"
"""Where a run folder keeps which rows were left out, and for which."""

BLOCK = 2048
"""Rows that are compared with as many others at once: 16 MB of cosines."""

_SLACK = 1e-6  # rounding of float32 vectors: equal ones are told at a threshold of 1 too
_COUNTED = 20_000  # rows of a pool whose copies are counted unasked: seconds
_USUAL = 0.95
_WORTH_SAYING = 0.01  # of a pool


@dataclass(frozen=True, slots=True)
class Twin:
    """The row that stays in place of another, and the cosine of the two."""

    id: str
    cosine: float


@dataclass(frozen=True, slots=True)
class Twins:
    """The near-copies of a pool.

    Attributes:
        threshold: the least cosine.
        of: usable rows before any was left out.
        dropped: id of a row that is left out -> the row that stays.
        depends: what this depends on.
        ledger, times: what finding them took.
    """

    threshold: float
    of: int
    dropped: Mapping[str, Twin]
    depends: dict[str, Any]
    ledger: Ledger
    times: dict[str, float]

    def stage(self, folder: RunFolder) -> tuple[dict[str, Any], Callable[[Work], None]]:
        """The stage `dedup` of a run, which writes down what was found before."""

        def work(done: Work) -> None:
            pairs = [{"id": own, "twin": twin.id, "cosine": twin.cosine} for own, twin in self.dropped.items()]
            folder.write_json(FILE, {"threshold": self.threshold, "of": self.of, "dropped": pairs})
            done.files.append(FILE)
            done.ledger, done.times = self.ledger, self.times
            done.facts |= {"threshold": self.threshold, "of": self.of, "dropped": len(pairs)}

        return self.depends, work


def find_twins(
    vectors: Take, n: int, threshold: float, *, block: int = BLOCK, reporter: Reporter | None = None
) -> tuple[Int[ndarray, " n"], Float[ndarray, " n"]]:
    """The earlier row that each row is a near-copy of.

    The first row is kept; each further one is kept unless its cosine with a row kept before it reaches the threshold, of
    which the first is its twin. So no two kept rows are near-copies, and what is dropped is one of a kept row. A product in
    float32 finds who may be near, one in float64 decides: the answer is the same for every size of the blocks.

    Args:
        vectors: gives the vectors of some rows, float32 [k, d], of length 1 (zeros are near nothing).
        n: rows.
        threshold: above 0, at most 1.
        block: rows that are compared with as many others at once.
        reporter: told how many rows are done.

    Returns:
        for each row its twin, -1 where it is kept, and the cosine of the two, 0 there.

    Cost: at most n² · d multiply-adds; memory of two blocks of vectors and their cosines.
    """
    twin, cosine = np.full(n, -1, dtype=np.int64), np.zeros(n)
    kept, least = np.empty(0, dtype=np.int64), threshold - _SLACK
    for start in range(0, n, block):
        at = np.arange(start, min(n, start + block))
        mine = np.ascontiguousarray(vectors(at))
        floor = least - mine.shape[1] * float(np.finfo(np.float32).eps)
        for low in range(0, len(kept), block):
            names = kept[low : low + block]
            theirs = np.ascontiguousarray(vectors(names))
            near = mine @ theirs.T >= floor
            for k in np.flatnonzero(near.any(axis=1) & (twin[at] < 0)).tolist():
                if (hit := _first(mine[k], theirs, np.flatnonzero(near[k]), least)) is not None:
                    twin[at[k]], cosine[at[k]] = names[hit[0]], hit[1]
        near = mine @ mine.T >= floor
        stays = twin[at] < 0
        for k in np.flatnonzero(stays).tolist():
            if (hit := _first(mine[k], mine, np.flatnonzero(near[k, :k] & stays[:k]), least)) is not None:
                twin[at[k]], cosine[at[k]] = at[hit[0]], hit[1]
                stays[k] = False
        kept = np.concatenate([kept, at[stays]])
        if reporter is not None:
            reporter.advance(len(at))
    return twin, cosine


def _first(
    one: Float[ndarray, " d"], others: Float[ndarray, "k d"], near: Int[ndarray, " c"], least: float
) -> tuple[int, float] | None:
    """The first of some rows whose cosine with another one is high enough, and that cosine; the sum of each pair is alone, so
    that it is the same whoever stands beside it."""
    exact = (others[near].astype(np.float64) * one.astype(np.float64)).sum(axis=1)
    hits = np.flatnonzero(exact >= least)
    return (int(near[hits[0]]), min(1.0, float(exact[hits[0]]))) if len(hits) else None


def stored_twins(place: Path, config: SelectConfig) -> Twins | None:
    """What a finished run left out as near-copies; None where that was not asked for.

    Raises:
        RunError: the file is missing or damaged.
    """
    if not config.dedup:
        return None
    try:
        told = json.loads((place / FILE).read_text(encoding="utf-8"))
        dropped = {str(one["id"]): Twin(str(one["twin"]), float(one["cosine"])) for one in told["dropped"]}
        return Twins(float(told["threshold"]), int(told["of"]), dropped, {}, Ledger(), {})
    except (OSError, *DAMAGE) as error:
        raise RunError(
            f"{place / FILE} is missing or damaged. Make it again with `nncift run {place / 'recipe.yaml'}`."
        ) from error


def tell_twins(done: Work, place: Path, n: int, *, dropped: bool) -> None:
    """Counts the near-copies of a pool that keeps them, from the vectors that a run has made anyway."""
    if dropped or not 1 < n <= _COUNTED:
        return
    twin, _ = find_twins(read_embeddings(place).columns.__getitem__, n, _USUAL)
    count = int((twin >= 0).sum())
    done.facts["near_copies"] = {"threshold": _USUAL, "rows": count, "of": n}
    if count > _WORTH_SAYING * n:
        done.note(
            "near_copies",
            f"{count:,} of {n:,} pool rows ({count / n:.0%}) are near-copies of another one (cosine {_USUAL} or more of their "
            f"embeddings); --dedup {_USUAL} leaves them out",
        )
