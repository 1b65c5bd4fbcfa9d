"""What a run would cost, before anything is spent: rows, language-model calls, bytes, and seconds from a timed probe."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nncift.cachedir import cache_folder
from nncift.config import SelectConfig
from nncift.embed.cache import missing_texts
from nncift.embed.precomputed import Precomputed
from nncift.ledger import Ledger
from nncift.pipeline.filling import kernel_bytes, refuse_if_too_large
from nncift.pipeline.inputs import describe_rejected
from nncift.pipeline.labelling import Pairs
from nncift.pipeline.models import Models
from nncift.pipeline.receipt import exact_calls
from nncift.pipeline.setup import Setup, prepare
from nncift.progress import Reporter
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
        lm_calls: language-model calls for them.
        exact_lm_calls: calls that labelling every pair would take.
        encoder_calls: texts to embed that the cache does not hold.
        kernel_bytes: memory of the kernels.
        seconds: by stage, scaled up from timed probes (`embed`, `label`); stages without an entry take seconds at most.
    """

    rows: dict[str, int]
    rejected: str | None
    budget: int
    objective: str
    labels: int | None
    lm_calls: int
    exact_lm_calls: int
    encoder_calls: int
    kernel_bytes: int
    seconds: dict[str, float]

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
        if self.exact_lm_calls:
            share = self.lm_calls / self.exact_lm_calls
            lines.append(
                f"Language-model calls: {self.lm_calls:,} of {self.exact_lm_calls:,} for every pair ({share:.2%})."
            )
        lines.append(f"Texts to embed: {self.encoder_calls:,}. Kernels in memory: {self.kernel_bytes / 1e6:,.1f} MB.")
        parts = ", ".join(f"{stage} {_time(seconds)}" for stage, seconds in self.seconds.items())
        lines.append(f"Time: about {_time(sum(self.seconds.values()))}" + (f" ({parts})." if parts else "."))
        return lines


def plan(config: SelectConfig, reporter: Reporter) -> Plan:
    """Loads rows and models, times a few calls, and scales them up; writes nothing but what loading a model caches.

    Raises:
        NnciftError: whatever the run itself would be refused for.
    """
    setup = prepare(config)
    refuse_if_too_large(setup.axes)
    models = Models(setup, reporter)
    pairs = setup.pairs
    needs_embeddings = setup.influence.traits.needs_embeddings or not setup.exact
    seconds: dict[str, float] = {}
    encoder_calls = 0
    if needs_embeddings:
        encoder_calls, seconds["embed"] = _probe_embedder(setup, models)
    calls = exact = 0
    if pairs is not None:
        targets = len(np.unique(pairs[0])) if setup.influence.traits.pairwise else 0
        if setup.influence.traits.needs_model:
            calls, exact = len(pairs[0]) + targets, exact_calls(setup.axes)
        seconds["label"] = _probe_teacher(setup, models, pairs)
    objective = setup.objective
    return Plan(
        {role: len(pool) for role, pool in setup.pools()},
        describe_rejected(setup.pools()),
        setup.budget,
        objective.name if objective else "",
        None if pairs is None else len(pairs[0]),
        calls,
        exact,
        encoder_calls,
        kernel_bytes(setup.axes),
        {stage: round(value, 1) for stage, value in seconds.items()},
    )


def _probe_embedder(setup: Setup, models: Models) -> tuple[int, float]:
    """Texts to encode, and seconds for them."""
    embedder = models.embedder
    if isinstance(embedder, Precomputed):
        return 0, 0.0
    texts = [example.text for _, pool in setup.pools() for example in pool]
    missing = missing_texts(embedder, texts, folder=cache_folder() / "embeddings")
    if not missing:
        return 0, 0.0
    some = missing[:: max(1, len(missing) // _PROBE_TEXTS)]
    embedder.encode(some[:2])
    started = time.perf_counter()
    embedder.encode(some)
    return len(missing), (time.perf_counter() - started) * len(missing) / len(some)


def _probe_teacher(setup: Setup, models: Models, pairs: Pairs) -> float:
    """Seconds to label the pairs: a random sample of whole candidates is labelled after a warm-up, and its rate scaled up.

    The sample grows until it has taken long enough to be told from noise.
    """
    i, j = pairs
    embeddings = models.embed(Work()) if setup.influence.traits.needs_embeddings else None
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
