"""What a run would cost, before anything is spent: rows, language-model calls, bytes, and seconds from a timed probe."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nncift.cachedir import cache_folder
from nncift.config import SelectConfig
from nncift.data.rows import ids_of, keys_of
from nncift.data.views import join, take
from nncift.embed.cache import missing_texts
from nncift.embed.choose import Texts
from nncift.embed.precomputed import Precomputed
from nncift.embed.states import row_states
from nncift.estimator.budget import LabelBudget
from nncift.estimator.schedule import Schedule
from nncift.influence.base import Asked, Calls, calls_of, work
from nncift.ledger import Ledger
from nncift.pipeline.donor import donor_of, inherit
from nncift.pipeline.footprint import Footprint, footprint
from nncift.pipeline.inputs import describe_rejected
from nncift.pipeline.models import Models
from nncift.pipeline.pace import measure_pace, pairs_in
from nncift.pipeline.preparing import prepare, with_labels
from nncift.pipeline.receipt import anew_text, calls_text
from nncift.pipeline.refusing import refuse_before_dedup, refuse_too_large
from nncift.pipeline.reuse import trained_anew
from nncift.pipeline.route import Route
from nncift.pipeline.setup import Setup
from nncift.progress import Reporter, Silent
from nncift.run import Work

_PROBE_TEXTS = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do and take.

    Attributes:
        rows: usable rows by role.
        rejected: how many rows cannot be used, in words, or None.
        budget: rows to choose.
        labels: exact influences to compute, the most where they are drawn until it is enough; None where they are free.
        lm_forwards: sequences that go forward through the language model for them.
        lm_backwards: sequences that go backward.
        least: the same three where the first look finds that it is enough; None where the number is fixed.
        exact_lm_forwards: forward passes that labelling every pair would take.
        exact_lm_backwards: backward passes that it would take.
        state_lm_forwards: forwards to read each row for the estimator, kept ones included.
        phase_lm_forwards: forward passes over the chosen rows, to tell phases by.
        encoder_calls: texts to embed that the cache does not hold.
        route: whether the kernels are stored (`dense`) or computed line by line (`tiled`), why, and what that takes.
        training_anew: what an estimator of these rows would take, where that of another run is reused.
        dedup: the cosine from which near-copies are left out, which the numbers here are before; 0 where they stay.
        memory: the most that the run holds at once, and what that is made of.
        seconds: by stage, scaled up from timed probes; stages without an entry take seconds at most.
    """

    rows: dict[str, int]
    rejected: str | None
    budget: int
    objective: str
    labels: int | None
    lm_forwards: int
    lm_backwards: int
    least: dict[str, int] | None
    exact_lm_forwards: int
    exact_lm_backwards: int
    state_lm_forwards: int
    phase_lm_forwards: int
    encoder_calls: int
    route: Route
    memory: Footprint
    seconds: dict[str, float]
    training_anew: dict[str, Any] | None = None
    dedup: float = 0.0

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"memory": self.memory.record()}

    def lines(self) -> list[str]:
        """The plan in words, the total last."""
        rows = ", ".join(f"{count:,} {role}" for role, count in self.rows.items())
        lines = [f"Rows: {rows}; {self.budget:,} to choose by {self.objective}."]
        if self.rejected:
            lines.append(f"{self.rejected}.")
        if self.dedup:
            lines.append(f"All numbers are before --dedup {self.dedup:g} leaves near-copies out.")
        if self.labels is not None:
            fewest = f" at most, in rounds; {self.least['labels']:,} where these are found enough" if self.least else ""
            lines.append(f"Exact influences: {self.labels:,}{fewest}.")
        if self.training_anew is not None:
            lines.append(anew_text(self.training_anew, self.labels or 0))
        if self.exact_lm_forwards:
            now = Calls(self.lm_forwards, self.lm_backwards)
            exact = Calls(self.exact_lm_forwards, self.exact_lm_backwards)
            least = "" if self.least is None else f" at most, {calls_text(_calls(self.least))} at least"
            lines.append(
                f"Language-model calls: {calls_text(now)}{least}; every pair would take {calls_text(exact)} "
                f"({work(now) / work(exact):.2%})."
            )
        if self.state_lm_forwards:
            lines.append(f"Features: {self.state_lm_forwards:,} more calls, one for each row that the estimator reads.")
        if self.phase_lm_forwards:
            lines.append(f"Phases: {self.phase_lm_forwards:,} more calls, on the chosen rows.")
        lines.append(f"Texts to embed: {self.encoder_calls:,}.")
        lines += [self.route.text(), self.memory.text()]
        parts = ", ".join(f"{stage} {_time(seconds)}" for stage, seconds in self.seconds.items())
        lines.append(f"Time: about {_time(sum(self.seconds.values()))}" + (f" ({parts})." if parts else "."))
        return lines


def plan(config: SelectConfig, reporter: Reporter) -> Plan:
    """Loads rows and models, times a few calls, and scales them up; writes nothing but what loading a model caches.

    Raises:
        NnciftError: whatever the run itself would be refused for.
    """
    config = inherit(config)
    setup = prepare(config)  # of all rows: near-copies are told by embeddings, which a plan makes none of
    if config.dedup:
        refuse_before_dedup(setup, Models(setup, Silent()))
    else:
        refuse_too_large(setup)
    route, models = setup.route, Models(setup, reporter)
    donor = donor_of(config)
    needs_embeddings = setup.influence.traits.needs_embeddings or not setup.exact
    seconds: dict[str, float] = {}
    encoder_calls = 0
    if needs_embeddings:
        encoder_calls, seconds["embed"] = _probe_embedder(setup, models)
    calls = exact = Calls()
    labels: int | None = None
    least: dict[str, int] | None = None
    if setup.pairs is not None:
        seen = models.embed(Work()).whole() if setup.influence.traits.needs_embeddings else None
        pace = measure_pace(setup, models, seen, Ledger())
        if setup.labels.kind == "seconds":
            setup = with_labels(setup, LabelBudget("count", pairs_in(setup, pace, setup.labels.amount)))
        asked = setup.asked
        if setup.rounds is not None:
            asked = setup.asked_of(setup.draw(setup.rounds.most))
            least = _least(setup, setup.rounds)
        seconds["label"] = pace.seconds(setup, asked)
        labels = asked.pairs
        if setup.influence.traits.needs_model:
            calls, exact = setup.calls(asked), setup.calls(setup.all_asked)
    if setup.reads_states:
        seconds["states"] = _probe_states(setup, models)
    objective = setup.objective
    seconds["select"] = route.seconds(setup.budget, factors=setup.factors, threads=config.threads)
    return Plan(
        {role: len(pool) for role, pool in setup.pools()},
        describe_rejected(setup.pools()),
        setup.budget,
        objective.name if objective else "",
        labels,
        calls.forwards,
        calls.backwards,
        least,
        exact.forwards,
        exact.backwards,
        setup.readable if setup.reads_states else 0,
        _phase_forwards(setup),
        encoder_calls,
        route,
        footprint(setup, models),
        {stage: round(value, 1) for stage, value in seconds.items()},
        None if donor is None else trained_anew(donor, setup),
        config.dedup,
    )


def _least(setup: Setup, rounds: Schedule) -> dict[str, int] | None:
    """What it takes where the rounds end as soon as they may."""
    if not rounds.stops:
        return None
    asked = setup.asked_of(setup.draw(rounds.least))
    calls = setup.calls(asked)
    return {"labels": asked.pairs, "lm_forwards": calls.forwards, "lm_backwards": calls.backwards}


def _calls(least: dict[str, int]) -> Calls:
    return Calls(least["lm_forwards"], least["lm_backwards"])


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


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"
