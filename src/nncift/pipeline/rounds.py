"""Labelling a run in rounds: each fits the estimator to what there is, and says which pairs are labelled next, if any."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nncift.config import SelectConfig
from nncift.data.labels import Labels
from nncift.estimator.adaptive import adaptive_pairs
from nncift.estimator.base import Estimator, Fitted, Unsure
from nncift.estimator.budget import LabelBudget
from nncift.estimator.rounds import Learnt, Round, View, learn_in_rounds
from nncift.objective.base import Objective, Rule
from nncift.pipeline.desk import Hired
from nncift.pipeline.drawing import draw_pairs, plain_design
from nncift.pipeline.features import Readable
from nncift.pipeline.inputs import kernel_shape
from nncift.pipeline.journal import Filed, Journal, Labelling, Pairs
from nncift.pipeline.labelling import Teacher, tell, write_labels
from nncift.pipeline.models import Models
from nncift.pipeline.ranking import make_ranker
from nncift.pipeline.receipt import CURVE
from nncift.pipeline.setup import Setup
from nncift.progress import Reporter
from nncift.run import RunFolder, Work
from nncift.seeds import generator

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Rounds:
    """The rounds of one run on their way.

    Attributes:
        setup: of the run; its schedule says how many labels there are after each round.
        models: of the run.
        estimator: what is fitted.
        seen: features of both axes.
        reporter: told of each round.
        notes: where something was not as asked for.
        spent: seconds of fitting and choosing, by round.
        last: what was fitted to all labels, once there are all.
    """

    setup: Setup
    models: Models
    estimator: Estimator
    seen: Readable
    reporter: Reporter
    notes: dict[str, str] = field(default_factory=dict)
    spent: list[float] = field(default_factory=list)
    flops: int = 0
    last: Fitted | None = None

    def stage(self, folder: RunFolder, labelling: Labelling, hired: Hired) -> Callable[[Work], None]:
        """The work of the labelling stage, for `RunFolder.stage`. A kill loses a block at most: what is drawn follows from the
        options and from earlier labels, so that a second call finds every round that was done and fits it again."""

        def work(done: Work) -> None:
            teacher = Teacher(hired, self.reporter)
            journals: list[Journal] = []

            def label(pairs: Pairs) -> Float[ndarray, " L"]:
                part = replace(labelling, pairs=pairs, round=len(journals))
                journals.append(Journal(folder, part, journals[-1] if journals else None))
                return teacher.label(journals[-1]).y

            with closing(teacher):
                learnt = self._learn(label, lambda: journals[0].silent())
            filed = [journal.collect() for journal in journals]
            tell(done, filed, labelling.axes)
            write_labels(folder, "labels.npz", replace(labelling, pairs=learnt.pairs), learnt.y)
            folder.write_json(CURVE, self._curve(learnt, journals))
            done.files += ["labels.npz", CURVE]
            done.facts |= {"labels": len(learnt.y), "rounds": self._costs(learnt, filed)}
            done.facts |= teacher.spread(journals)
            done.ledger.flops += self.flops
            done.times["seconds"] += sum(self.spent)
            for kind, sentence in self.notes.items():
                done.note(kind, sentence)
            self.last = learnt.fitted

        return work

    def _learn(self, label: Callable[[Pairs], ndarray], barred: Callable[[], list[int]]) -> Learnt:
        assert self.setup.rounds is not None
        return learn_in_rounds(
            self.setup.rounds,
            kernel_shape(self.setup.axes),
            draw=self._draw,
            label=label,
            fit=self._fit,
            predict=lambda fitted, pairs: fitted.kernel(self.seen.rows, self.seen.columns).at(*pairs),
            view=lambda fitted, labels: self._view(fitted, labels, barred()),
            tell=self._tell,
        )

    def _draw(self, number: int, count: int, taken: Pairs | None, fitted: Fitted | None) -> Pairs:
        setup = self.setup
        axes, traits, config = setup.axes, setup.influence.traits, setup.config
        if fitted is not None and taken is not None and config.design == "adaptive":
            if isinstance(fitted, Unsure) and len(axes.rows) <= axes.m:
                rng = generator(config.seed, f"labels/round {number}")
                rows = np.bincount(taken[0], minlength=max(1, len(axes.rows)))
                sd = fitted.candidate_sd(self.seen.columns)
                return adaptive_pairs(count, sd, row_count=rows, taken=taken, rng=rng, masked=axes.masked)
            why = (
                "the objective covers the pool too" if isinstance(fitted, Unsure) else "it does not say how sure it is"
            )
            self.notes["design"] = (
                f"--design adaptive goes on where `{getattr(config, 'estimator', '')}` is least sure, but {why}: stripes went "
                "on instead"
            )
        return draw_pairs(
            LabelBudget("count", count),
            axes,
            config.seed,
            priced=traits.priced,
            design=plain_design(config.design),
            taken=taken,
            number=number,
        )

    def _fit(self, labels: Labels) -> Fitted:
        started = time.perf_counter()
        fitted = self.estimator.fit(labels, self.seen.rows, self.seen.columns, seed=self.setup.config.seed)
        self.spent.append(time.perf_counter() - started)
        self.flops += fitted.flops
        return fitted

    def _view(self, fitted: Fitted, labels: Labels, barred: list[int]) -> View:
        """The candidates' means, and the subset that the run would end with now."""
        started = time.perf_counter()
        setup, config = self.setup, self.setup.config
        assert isinstance(config, SelectConfig) and setup.objective is not None
        objective: Objective | Rule = setup.objective
        closed = np.array(barred, dtype=np.int64)
        ranker = make_ranker(config, self.models, objective, _none, lambda: self.seen, labels, fitted, closed)
        picks = ranker.rank(setup.budget).picks
        rows, axes = self.seen.rows, setup.axes
        target = None if rows is None else rows.take(np.arange(axes.m))
        means = fitted.kernel(target, self.seen.columns.take(np.arange(axes.n))).candidate_means()
        self.spent[-1] += time.perf_counter() - started
        return View(means, picks.order, float(picks.gains.sum()))

    def _tell(self, found: Round) -> None:
        self.reporter.begin(f"round {len(self.spent)}", 0, "")
        self.reporter.end(found.words())

    def _curve(self, learnt: Learnt, journals: list[Journal]) -> dict[str, Any]:
        """The learning curve, for `learning.json`; no times, so that it is the same bytes whenever it is made."""
        setup, config = self.setup, self.setup.config
        assert setup.rounds is not None and setup.objective is not None
        points = []
        for k, point in enumerate(learnt.rounds):
            i, j = (np.concatenate([one.labelling.pairs[axis] for one in journals[: k + 1]]) for axis in (0, 1))
            calls = setup.calls(setup.asked_of((i, j)))
            points.append(point.record() | {"lm_forwards": calls.forwards, "lm_backwards": calls.backwards})
        return {
            "design": setup.design,
            "estimator": getattr(config, "estimator", None),
            "schedule": setup.rounds.record(),
            "subset": {"rows": setup.budget, "objective": setup.objective.name},
            "why": learnt.why,
            "rounds": points,
        }

    def _costs(self, learnt: Learnt, filed: list[Filed]) -> list[dict[str, float]]:
        """What each round really took, calls that were found done left out."""
        return [
            {
                "labels": point.labels,
                "lm_forwards": one.ledger.lm_forwards,
                "lm_backwards": one.ledger.lm_backwards,
                "seconds": round(one.times["seconds"], 3),
                "fit_seconds": round(fit, 3),
            }
            for point, one, fit in zip(learnt.rounds, filed, self.spent, strict=True)
        ]


def _none() -> Any:
    raise AssertionError("an estimator is there, so that nothing is asked of a teacher's embeddings")
