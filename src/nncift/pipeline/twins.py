"""Near-copies: rows whose embedding is almost that of an earlier row, found exactly block by block, and left out if asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.cachedir import cache_folder
from nncift.config import LabelConfig, SelectConfig
from nncift.data.records import shown
from nncift.data.rows import IndexedRejects, Pool, Rejected, ids_of, lines_of, numbers_of, raw_of, reasons_of
from nncift.data.views import take
from nncift.embed.choose import default_embedder, embed_rows, load_embedder
from nncift.embed.precomputed import Precomputed
from nncift.embed.sentence import SentenceEmbedder
from nncift.errors import ConfigError, RunError
from nncift.ledger import Ledger
from nncift.lm.device import devices, place
from nncift.pipeline.encoding import spread_encoder
from nncift.pipeline.vectors import Take, read_embeddings
from nncift.plain import DAMAGE
from nncift.progress import Reporter, Silent
from nncift.run import Clock, RunFolder, Work, content_key, file_hash, lists_key, read_records
from nncift.scale.executor import open_executor

FILE = "twins.json"
"""Where a run folder keeps which rows were left out, and for which."""

_CODE = 1  # raised where another choice of copies would come out
_BLOCK = 2048  # rows that are compared with as many others at once: 16 MB of cosines
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
    vectors: Take, n: int, threshold: float, *, block: int = _BLOCK, reporter: Reporter | None = None
) -> tuple[Int[ndarray, " n"], Float[ndarray, " n"]]:
    """The earlier row that each row is a near-copy of.

    The first row is kept; each further one is kept unless its cosine with a row kept before it reaches the threshold, of
    which the first is its twin. So no two kept rows are near-copies, and what is dropped is one of a kept row. A product in
    float32 finds who may be near, one in float64 decides: the answer is the same for every size of the blocks.

    Arguments:
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


def without_twins(
    pool: Pool, config: LabelConfig | SelectConfig, known: Twins | None, reporter: Reporter | None
) -> tuple[Pool, Twins | None]:
    """The pool without near-copies of its own rows, where that is asked for; rows are compared in the order of their ids.

    Arguments:
        pool: as loaded.
        config: the options.
        known: what an earlier run found; None where it is to be found now.
        reporter: told how far it is.

    Raises:
        ConfigError: files of vectors have none for rows that cannot be used.
        RunError: what an earlier run left out is not in the pool.
    """
    if not isinstance(config, SelectConfig) or not config.dedup:
        return pool, None
    if known is not None:
        return _smaller(pool, known), known
    reporter, clock, ledger = reporter or Silent(), Clock(), Ledger()
    device = place(config.device, config.dtype).device
    embedder = load_embedder(config.embedder or default_embedder(device)[0], device=device)
    ids, order = ids_of(pool.examples), pool.order
    depends: dict[str, Any] = {"code": _CODE, "threshold": config.dedup, "embedder": embedder.fingerprint}
    depends["rows"] = pool.fingerprint
    if isinstance(embedder, Precomputed):
        depends["order"] = lists_key({"pool": zip(ids, numbers_of(pool.examples).tolist(), strict=True)})
    if config.output and (known := _found_before(Path(config.output), config, depends)) is not None:
        return _smaller(pool, known), known
    if isinstance(embedder, Precomputed):
        from_file = embedder.vectors(pool, role="pool").take
    else:
        if isinstance(embedder, SentenceEmbedder):
            embedder.ledger = ledger
        reporter.begin("embed", len(pool), "rows")
        with closing(
            open_executor(config.executor, workers=config.workers, devices=devices(config.device, device))
        ) as own:
            found = embed_rows(
                embedder,
                pool,
                folder=cache_folder() / "embeddings",
                on_progress=reporter.advance,
                encode=spread_encoder(own, embedder, device, ledger),
            )
        reporter.end(f"{len(pool):,} rows, {found.computed:,} newly encoded")
        from_file = found.vectors.__getitem__
    reporter.begin("dedup", len(pool), "rows")
    twin, cosine = find_twins(lambda at: from_file(order[at]), len(pool), config.dedup, reporter=reporter)
    pairs = {
        ids[order[k]]: Twin(ids[order[twin[k]]], round(float(cosine[k]), 6)) for k in np.flatnonzero(twin >= 0).tolist()
    }
    reporter.end(f"{len(pairs):,} of {len(pool):,} rows are near-copies (cosine {config.dedup:g} or more)")
    twins = Twins(config.dedup, len(pool), pairs, depends, ledger, clock.spent())
    smaller = _smaller(pool, twins)
    if isinstance(embedder, Precomputed):
        try:
            embedder.vectors(smaller, role="pool")
        except ConfigError as error:
            raise ConfigError(
                f"--dedup leaves rows out, and {config.embedder} has no vectors of the rejected rows to count by. Give one "
                f"vector per row of {pool.source}, or mend its rejected rows."
            ) from error
    return smaller, twins


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


def _found_before(place: Path, config: SelectConfig, depends: dict[str, Any]) -> Twins | None:
    """What this run left out when it was begun; None where it is another question now, or its file is not whole."""
    record, path = read_records(place).get("dedup"), place / FILE
    if record is None or record.key != content_key(depends) or not path.is_file():
        return None
    if record.files.get(FILE) != file_hash(path) or (found := stored_twins(place, config)) is None:
        return None
    return replace(found, depends=depends)


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


def _smaller(pool: Pool, twins: Twins) -> Pool:
    """The pool without the dropped rows, which are rejected ones from now on."""
    ids = ids_of(pool.examples)
    gone = np.array([name in twins.dropped for name in ids], dtype=bool)
    if int(gone.sum()) != len(twins.dropped) or len(pool) != twins.of:
        raise RunError(f"the rows of {pool.source} are not what they were when near-copies were left out.")
    left = take(pool.examples, np.flatnonzero(~gone))
    copies = _Copies(pool, np.flatnonzero(gone), [twins.dropped[name].id for name in ids if name in twins.dropped])
    return Pool(left, _Both(pool.rejected, copies), pool.source, pool.layout, pool.file_type)


class _Copies(IndexedRejects):
    """Rows of a pool that are left out as near-copies."""

    __slots__ = ("_at", "_lines", "_pool", "_twins")

    def __init__(self, pool: Pool, at: Int[ndarray, " k"], twins: Sequence[str]) -> None:
        self._pool, self._at, self._twins = pool, at, twins
        self._lines = lines_of(pool.examples)[at]

    def __len__(self) -> int:
        return len(self._at)

    @overload
    def __getitem__(self, at: int) -> Rejected: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Rejected]: ...
    def __getitem__(self, at: int | slice) -> Rejected | Sequence[Rejected]:
        if isinstance(at, slice):
            return tuple(self[k] for k in range(len(self))[at])
        row = shown(raw_of(self._pool.examples, int(self._at[at])))
        return Rejected(self._pool.source, int(self._lines[at]), _REASON, row, self._twins[at])

    @property
    def reasons(self) -> list[str]:
        return [_REASON] * len(self)


_REASON = "a near-copy of another row (--dedup)"


class _Both(IndexedRejects):
    """Rejected rows behind one another."""

    __slots__ = ("_first", "_then")

    def __init__(self, first: Sequence[Rejected], then: Sequence[Rejected]) -> None:
        self._first, self._then = first, then

    def __len__(self) -> int:
        return len(self._first) + len(self._then)

    @overload
    def __getitem__(self, at: int) -> Rejected: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Rejected]: ...
    def __getitem__(self, at: int | slice) -> Rejected | Sequence[Rejected]:
        if isinstance(at, slice):
            return tuple(self[k] for k in range(len(self))[at])
        position = range(len(self))[at] - len(self._first)
        return self._then[position] if position >= 0 else self._first[position + len(self._first)]

    @property
    def reasons(self) -> list[str]:
        return [*reasons_of(self._first), *reasons_of(self._then)]
