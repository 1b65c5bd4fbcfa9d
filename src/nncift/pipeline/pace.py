"""How fast this machine labels, from a timed probe of a few rows or pairs: for plans, and for a budget in seconds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy import ndarray

from nncift.data.views import take
from nncift.embed.base import unit_rows
from nncift.errors import ConfigError
from nncift.influence.base import Asked, work
from nncift.ledger import Ledger
from nncift.pipeline.affording import affordable
from nncift.pipeline.models import Models
from nncift.pipeline.setup import Setup
from nncift.pipeline.vectors import Embeddings
from nncift.progress import Reporter, Silent
from nncift.run import Work
from nncift.seeds import generator

_PROBE_SECONDS = 8.0
_PROBE_PAIRS = 96
_PROBE_SHARE = 0.05  # of a budget in seconds
_SAFE = 0.9  # of the time: a probe is some per cent off


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds that labelling takes.

    Attributes:
        probe: that measuring took.
        target: for each target that is asked about, before any pair.
        pair: for each pair.
        call: for each call of the language model, where rows are what costs; a backward pass is two.
    """

    probe: float
    target: float = 0.0
    pair: float = 0.0
    call: float = 0.0

    def seconds(self, setup: Setup, asked: Asked) -> float:
        """For a question."""
        return self.target * asked.targets + self.pair * asked.pairs + self.call * work(setup.calls(asked))

    def record(self) -> dict[str, float]:
        """Plain values for JSON."""
        return asdict(self)


def measure_pace(
    setup: Setup, models: Models, embeddings: Embeddings | None, ledger: Ledger, *, at_most: float = _PROBE_SECONDS
) -> Pace:
    """Times a few labels; they are thrown away.

    Args:
        setup: with pairs to draw the probe from.
        models: of the run.
        embeddings: where the influence reads them.
        ledger: where the calls are counted.
        at_most: seconds after which no further pairs are timed.
    """
    traits = setup.influence.traits
    started = time.perf_counter()
    if traits.needs_model and traits.priced == "row":
        found = _of_rows(setup, models, ledger)
    else:
        found = _of_pairs(setup, models, embeddings, ledger, at_most)
    return replace(found, probe=time.perf_counter() - started)


def pairs_in(setup: Setup, pace: Pace, seconds: float) -> int:
    """How many pairs can be labelled in so much time, the probe's taken off.

    Raises:
        ConfigError: not one.
    """
    left = _SAFE * (seconds - pace.probe)
    most = setup.open_pairs
    count = affordable(setup.draw, lambda pairs: pace.seconds(setup, setup.asked_of(pairs)), left, most)
    if count == 0:
        raise ConfigError(
            f"labels: {seconds:,.0f} s are too few: timing a few took {pace.probe:.1f} s, and one more exact influence takes "
            f"{pace.seconds(setup, setup.asked_of(setup.draw(1))):.1f} s. Raise them."
        )
    return count


def pace_stage(setup: Setup, models: Models, seen: Embeddings | None, reporter: Reporter) -> Callable[[Work], None]:
    """The work of deciding how many pairs a budget in seconds buys, for `RunFolder.stage`: it is kept, so that a run that is
    taken up again labels the same ones."""

    def work(done: Work) -> None:
        reporter.begin("pace", 0, "")
        seconds = setup.labels.amount
        pace = measure_pace(setup, models, seen, done.ledger, at_most=probe_seconds(seconds))
        count = pairs_in(setup, pace, seconds)
        done.facts |= {"pairs": count, "pace": pace.record()}
        sentence = f"{seconds:,.0f} s are enough for {count:,} exact influences at the pace that was measured"
        done.note("labels", sentence)
        reporter.end(f"{count:,} exact influences")

    return work


def probe_seconds(budget: float) -> float:
    """How long a probe for a budget in seconds may take."""
    return min(_PROBE_SECONDS, _PROBE_SHARE * budget)


def _of_rows(setup: Setup, models: Models, ledger: Ledger) -> Pace:
    """An influence that pays by the row: the whole of it, training included, on a few rows."""
    whole = models.context(None, ledger)
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
    return Pace(0.0, call=seconds / work(setup.calls(Asked(len(rows), len(columns), len(i), len(columns)))))


def _some(positions: ndarray, count: int, rng: np.random.Generator) -> ndarray:
    """At most so many of the positions, sorted."""
    return np.sort(rng.permutation(positions)[:count])


def _of_pairs(setup: Setup, models: Models, embeddings: Embeddings | None, ledger: Ledger, at_most: float) -> Pace:
    """A random sample of whole candidates after a warm-up; it grows until it has taken long enough to be told from noise."""
    assert setup.pairs is not None
    i, j = setup.pairs
    session = setup.influence.start(models.context(embeddings, ledger))
    order = generator(setup.config.seed, "plan").permutation(np.unique(j))
    targets = np.unique(i)
    probe = targets[:: max(1, len(targets) // 24)]
    session.prepare(probe[:2], on_progress=_ignore)
    started = time.perf_counter()
    session.prepare(probe, on_progress=_ignore)
    per_target = (time.perf_counter() - started) / len(probe)
    spent, labelled, at, step = 0.0, 0, 0, 1
    while at < len(order) and (labelled < _PROBE_PAIRS or spent < 1.0) and spent < at_most:
        chosen = np.isin(j, order[at : at + step])
        prepared = session.prepare(np.unique(i[chosen]), on_progress=_ignore)
        started = time.perf_counter()
        session.label(i[chosen], j[chosen], prepared, on_progress=_ignore)
        spent += time.perf_counter() - started
        labelled += int(chosen.sum())
        at, step = at + step, min(2 * step, 8)
    return Pace(0.0, target=per_target, pair=spent / labelled)


def _ignore(count: int) -> None:
    """A probe shows no progress."""
