"""What a run would cost, before anything is spent: rows, language-model calls, bytes, and seconds from a timed probe."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from nncift.cachedir import cache_folder
from nncift.config import SelectConfig
from nncift.data.rows import ids_of, keys_of
from nncift.data.views import join, take
from nncift.embed.base import unit_rows
from nncift.embed.cache import missing_texts
from nncift.embed.choose import Texts
from nncift.embed.precomputed import Precomputed
from nncift.embed.states import row_states
from nncift.influence.base import Asked, Calls, calls_of, work
from nncift.ledger import Ledger
from nncift.pipeline.blocks import kernel_bytes
from nncift.pipeline.donor import donor_of, inherit
from nncift.pipeline.inputs import describe_rejected
from nncift.pipeline.journal import Pairs
from nncift.pipeline.models import Models
from nncift.pipeline.receipt import anew_text, calls_text
from nncift.pipeline.reuse import trained_anew
from nncift.pipeline.setup import Setup, prepare
from nncift.progress import Reporter, Silent
from nncift.run import Work
from nncift.seeds import generator

_PROBE_SECONDS = 8.0
_PROBE_PAIRS = 96
_PROBE_TEXTS = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do and take.

    Attributes:
        rows: usable rows by role.
        rejected: how many rows cannot be used, in words, or None.
        budget: rows to choose.
        labels: exact influences to compute; None where they are free.
        lm_forwards: sequences that go forward through the language model for them.
        lm_backwards: sequences that go backward.
        exact_lm_forwards: forward passes that labelling every pair would take.
        exact_lm_backwards: backward passes that it would take.
        state_lm_forwards: forwards to read each row for the estimator, kept ones included.
        phase_lm_forwards: forward passes over the chosen rows, to tell phases by.
        encoder_calls: texts to embed that the cache does not hold.
        kernel_bytes: memory of the kernels.
        training_anew: what an estimator of these rows would take, where that of another run is reused.
        seconds: by stage, scaled up from timed probes (`embed`, `label`); stages without an entry take seconds at most.
    """

    rows: dict[str, int]
    rejected: str | None
    budget: int
    objective: str
    labels: int | None
    lm_forwards: int
    lm_backwards: int
    exact_lm_forwards: int
    exact_lm_backwards: int
    state_lm_forwards: int
    phase_lm_forwards: int
    encoder_calls: int
    kernel_bytes: int
    seconds: dict[str, float]
    training_anew: dict[str, Any] | None = None

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The plan in words, the total last."""
        rows = ", ".join(f"{count:,} {role}" for role, count in self.rows.items())
        lines = [f"Rows: {rows}; {self.budget:,} to choose by {self.objective}."]
        if self.rejected:
            lines.append(f"{self.rejected}.")
        if self.labels is not None:
            lines.append(f"Exact influences: {self.labels:,}.")
        if self.training_anew is not None:
            lines.append(anew_text(self.training_anew, self.labels or 0))
        if self.exact_lm_forwards:
            now = Calls(self.lm_forwards, self.lm_backwards)
            exact = Calls(self.exact_lm_forwards, self.exact_lm_backwards)
            lines.append(
                f"Language-model calls: {calls_text(now)}; every pair would take {calls_text(exact)} "
                f"({work(now) / work(exact):.2%})."
            )
        if self.state_lm_forwards:
            lines.append(f"Features: {self.state_lm_forwards:,} more calls, one for each row that the estimator reads.")
        if self.phase_lm_forwards:
            lines.append(f"Phases: {self.phase_lm_forwards:,} more calls, on the chosen rows.")
        lines.append(f"Texts to embed: {self.encoder_calls:,}. Kernels in memory: {self.kernel_bytes / 1e6:,.1f} MB.")
        parts = ", ".join(f"{stage} {_time(seconds)}" for stage, seconds in self.seconds.items())
        lines.append(f"Time: about {_time(sum(self.seconds.values()))}" + (f" ({parts})." if parts else "."))
        return lines


def plan(config: SelectConfig, reporter: Reporter) -> Plan:
    """Loads rows and models, times a few calls, and scales them up; writes nothing but what loading a model caches.

    Raises:
        NnciftError: whatever the run itself would be refused for.
    """
    config = inherit(config)
    setup = prepare(config)
    models = Models(setup, reporter)
    donor = donor_of(config)
    pairs = setup.pairs
    needs_embeddings = setup.influence.traits.needs_embeddings or not setup.exact
    seconds: dict[str, float] = {}
    encoder_calls = 0
    if needs_embeddings:
        encoder_calls, seconds["embed"] = _probe_embedder(setup, models)
    calls = exact = Calls()
    if pairs is not None:
        traits = setup.influence.traits
        if traits.needs_model:
            calls, exact = setup.calls(setup.asked), setup.calls(setup.all_asked)
        probe = _probe_rows if traits.needs_model and traits.priced == "row" else _probe_pairs
        seconds["label"] = probe(setup, models, pairs)
    if setup.reads_states:
        seconds["states"] = _probe_states(setup, models)
    objective = setup.objective
    return Plan(
        {role: len(pool) for role, pool in setup.pools()},
        describe_rejected(setup.pools()),
        setup.budget,
        objective.name if objective else "",
        None if pairs is None else len(pairs[0]),
        calls.forwards,
        calls.backwards,
        exact.forwards,
        exact.backwards,
        setup.readable if setup.reads_states else 0,
        _phase_forwards(setup),
        encoder_calls,
        kernel_bytes(setup.axes),
        {stage: round(value, 1) for stage, value in seconds.items()},
        None if donor is None else trained_anew(donor, setup),
    )


def _phase_forwards(setup: Setup) -> int:
    """Forward passes over the chosen rows, to tell phases by."""
    k = setup.budget
    return 0 if setup.difficulty is None else calls_of(setup.difficulty, Asked(0, k, k, k)).forwards


def _probe_embedder(setup: Setup, models: Models) -> tuple[int, float]:
    """Texts to encode, and seconds for them."""
    embedder = models.embedder
    if isinstance(embedder, Precomputed):
        return 0, 0.0
    texts = Texts(join(*(pool.examples for _, pool in setup.pools())))
    missing = missing_texts(embedder, texts, folder=cache_folder() / "embeddings")
    if not missing:
        return 0, 0.0
    some = [texts[k] for k in missing[:: max(1, len(missing) // _PROBE_TEXTS)]]
    embedder.encode(some[:2])
    started = time.perf_counter()
    embedder.encode(some)
    return len(missing), (time.perf_counter() - started) * len(missing) / len(some)


def _probe_states(setup: Setup, models: Models) -> float:
    """Seconds to read every row with the language model, from a few of different lengths."""
    rows = join(setup.axes.rows, setup.axes.columns)
    keys, ids = keys_of(rows), ids_of(rows)
    distinct = sorted(np.flatnonzero(keys.first == np.arange(len(keys))).tolist(), key=ids.__getitem__)
    some = take(rows, distinct[:: max(1, len(distinct) // _PROBE_TEXTS)])
    with tempfile.TemporaryDirectory() as folder:
        row_states(models.lms[0], some[:2], folder=Path(folder) / "warm")
        started = time.perf_counter()
        row_states(models.lms[0], some, folder=Path(folder) / "timed")
        return (time.perf_counter() - started) * len(distinct) / len(some)


def _probe_rows(setup: Setup, models: Models, pairs: Pairs) -> float:
    """Seconds for an influence that pays by the row: the whole of it, training included, on a few rows, scaled up by calls."""
    whole = models.context(None, Ledger())
    rng = generator(setup.config.seed, "plan")
    rows, columns = (_some(asked, count, rng) for asked, count in ((whole.asked_targets, 8), (whole.asked_pool, 24)))
    with tempfile.TemporaryDirectory() as folder:
        few = replace(
            whole,
            targets=take(whole.targets, rows),
            pool=take(whole.pool, columns),
            own_targets=None if whole.own_targets is None else int((rows < whole.own_targets).sum()),
            asked_targets=np.arange(len(rows)),
            asked_pool=np.arange(len(columns)),
            folder=Path(folder),
            reporter=Silent(),
            target_embeddings=unit_rows(rng.standard_normal((len(rows), 384))),  # none is read for its meaning here
            pool_embeddings=unit_rows(rng.standard_normal((len(columns), 384))),
        )
        m = len(rows) if setup.influence.traits.pairwise else 1
        i, j = np.tile(np.arange(m), len(columns)), np.repeat(np.arange(len(columns)), m)
        started = time.perf_counter()
        session = setup.influence.start(few)
        session.label(i, j, session.prepare(np.arange(m), on_progress=_ignore), on_progress=_ignore)
        seconds = time.perf_counter() - started
    few_asked = Asked(len(rows), len(columns), len(i), len(columns))
    return seconds * work(setup.calls(setup.asked)) / work(setup.calls(few_asked))


def _some(positions: ndarray, count: int, rng: np.random.Generator) -> ndarray:
    """At most so many of the positions, sorted."""
    return np.sort(rng.permutation(positions)[:count])


def _probe_pairs(setup: Setup, models: Models, pairs: Pairs) -> float:
    """Seconds to label the pairs: a random sample of whole candidates is labelled after a warm-up, and its rate scaled up.

    The sample grows until it has taken long enough to be told from noise.
    """
    i, j = pairs
    embeddings = models.embed(Work()).whole() if setup.influence.traits.needs_embeddings else None
    session = setup.influence.start(models.context(embeddings, Ledger()))
    order = generator(setup.config.seed, "plan").permutation(np.unique(j))
    targets = np.unique(i)
    probe = targets[:: max(1, len(targets) // 24)]
    session.prepare(probe[:2], on_progress=_ignore)
    started = time.perf_counter()
    session.prepare(probe, on_progress=_ignore)
    seconds = (time.perf_counter() - started) * len(targets) / len(probe)
    spent, labelled, at = 0.0, 0, 0
    while at < len(order) and (labelled < _PROBE_PAIRS or spent < 1.0) and spent < _PROBE_SECONDS:
        chosen = np.isin(j, order[at : at + 8])
        prepared = session.prepare(np.unique(i[chosen]), on_progress=_ignore)
        started = time.perf_counter()
        session.label(i[chosen], j[chosen], prepared, on_progress=_ignore)
        spent += time.perf_counter() - started
        labelled += int(chosen.sum())
        at += 8
    return seconds + spent * len(i) / labelled


def _ignore(count: int) -> None:
    """A probe shows no progress."""


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"
