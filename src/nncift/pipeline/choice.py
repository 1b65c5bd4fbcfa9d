"""The last stage: the subset, what is written of it, and what is to be said about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np

from nncift.config import SelectConfig
from nncift.data.labels import Labels
from nncift.data.views import take
from nncift.pipeline import receipt
from nncift.pipeline.inputs import kernel_shape
from nncift.pipeline.models import Models
from nncift.pipeline.phases import phases_of
from nncift.pipeline.picked import write_picks
from nncift.pipeline.ranking import Ranked
from nncift.progress import Reporter
from nncift.run import RunFolder, Work


def choice_stage(
    config: SelectConfig,
    models: Models,
    folder: RunFolder,
    rank: Callable[[int], Ranked],
    labels: Labels | None,
    reporter: Reporter,
) -> Callable[[Work], None]:
    """The work of the stage, for `RunFolder.stage`; `rank` gives the ranking of a number of rows."""

    def work(done: Work) -> None:
        setup, difficulty, count = models.setup, models.setup.difficulty, config.phases
        reporter.begin("select", 0, "")
        ranked = rank(setup.budget)
        picks = ranked.picks
        if difficulty is not None:
            rows = take(setup.axes.columns, picks.order)
            context = models.rows_context(difficulty.traits, rows, done.ledger)
            picks = replace(picks, phases=phases_of(difficulty, context, rows, count))
        write_picks(folder, picks, done)
        done.facts["objective"] = setup.why
        if not setup.exact:
            done.ledger.pair_predictions = int(np.prod(kernel_shape(setup.axes)))
            done.ledger.flops += ranked.flops
        if not setup.exact and labels is not None:
            had = np.isin(np.arange(setup.axes.n), labels.j)
            done.facts |= {"picks_with_labels": float(had[picks.order].mean()), "rows_with_labels": float(had.mean())}
        if sentence := receipt.short_of(setup, len(picks.order)):
            done.note("budget", sentence)
        if ranked.bound is not None:
            done.facts["entries"] = asdict(ranked.bound)
        if ranked.sampling_error is not None:
            done.facts["sampling_error"] = ranked.sampling_error
        for kind, sentence in receipt.choice_notes(ranked, picks).items():
            done.note(kind, sentence)
        if models.sender is not None:
            models.sender.tell(done)
        gains = f", {picks.positive:,} with positive gain" if ranked.covers else ""
        reporter.end(f"{len(picks.order):,} picks{gains}")

    return work
