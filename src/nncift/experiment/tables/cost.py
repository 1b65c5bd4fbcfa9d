"""The table of costs: what choosing took as it was measured, and beside it how the paper reckons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nncift.experiment.tables.cells import Experiment, Fact, Page, combinations, narrowed, paged
from nncift.experiment.tables.ledgers import STAGES, ledger_facts, mean_of
from nncift.experiment.tables.published import Figure, find
from nncift.experiment.tables.specs import Spec
from nncift.experiment.tables.wording import quantity, seconds, share
from nncift.experiment.tables.writing import Block, Table, Value

PAPER_SHARE = 0.0025
"""u² at u = 5 %: the share of the exact cost that the published costs are made of, whatever the influence."""

_COUNTERS = ("labels", "lm_forwards", "lm_backwards", "encoder_forwards", "flops", "seconds", "peak_memory")
_MEASURED = (
    "Measured in each run, mean over runs; embeddings, labels and warm-up training are in it. FLOPs are estimated from weights "
    "and tokens. Saved: against the exact row of the same influence, measured as well; seconds are not compared where "
    "embeddings were found computed."
)
_PAPER = (
    "The published costs of NN-CIFT all equal 0.0025 times the exact cost plus one constant of 47 s. That is not how we count: "
    "0.25 % of the pairs cost that share only where every pair costs the same (DELIFT), not where rows do (LESS, SelectIT), "
    "nor for embeddings, which the network needs as well."
)


@dataclass(frozen=True, slots=True)
class _Row:
    """What one row of a page took.

    Attributes:
        names: its values on the row axes.
        facts: its runs.
        exact: the runs of the exact row; none where it is that row.
        published, published_exact: seconds.
    """

    names: tuple[str, ...]
    facts: list[Fact]
    exact: list[Fact]
    published: Figure | None
    published_exact: Figure | None

    def value(self, counter: str) -> float | None:
        """A counter's mean over runs."""
        if counter == "labels":
            known = [fact.value.labels for fact in self.facts if fact.value.labels is not None]
            return float(np.mean(known)) if known else None
        return mean_of(self.facts, counter)

    def saved(self, counter: str) -> float | None:
        """The share of the exact row's cost that is saved."""
        if counter == "seconds" and not all(one.value.embedded for one in (*self.facts, *self.exact)):
            return None  # one side would have its embeddings for nothing
        mine, all_of_it = mean_of(self.facts, counter), mean_of(self.exact, counter)
        return 1 - mine / all_of_it if self.exact and mine is not None and all_of_it else None

    @property
    def published_saving(self) -> float | None:
        """As the published seconds have it."""
        if self.published is None or self.published_exact is None:
            return None
        return 1 - self.published.value / self.published_exact.value


def cost_table(experiment: Experiment, spec: Spec) -> Table:
    """What choosing took, a page for each combination of the other axes."""
    facts = narrowed(ledger_facts(experiment), spec.where)
    blocks: list[Block] = []
    lines: list[dict[str, Value]] = []
    for page in paged(facts, experiment, spec, {*spec.fields["rows"], *spec.fields["over"]}):
        rows = _rows(page, experiment, spec)
        where = ", ".join(f"{axis} {spec.word(axis, value)}" for axis, value in page.axes.items())
        for block in (_measured(rows, spec), _stages(rows, spec), _paper(rows, spec), _published(rows, spec)):
            if block.rows:
                heading = f"{block.heading} ({where})" if where else block.heading
                blocks.append(Block(heading, block.columns, block.names, block.rows, block.notes))
        lines += [line for row in rows for line in _lines(page, row, spec)]
    return Table(tuple(blocks), tuple(lines))


def _rows(page: Page, experiment: Experiment, spec: Spec) -> list[_Row]:
    axes, rows = spec.fields["rows"], []
    for names in combinations(page.facts, axes, experiment):
        place = dict(zip(axes, names, strict=True))
        beside = place | {axis: value for axis, value in spec.fields["exact"].items() if axis in place}
        own, exact = (
            [fact for fact in page.facts if all(fact.axes.get(axis, "") == value for axis, value in one.items())]
            for one in (place, beside)
        )
        there = own[0].axes
        figures = [find("seconds", spec.fields["published"], one) for one in (there, there | spec.fields["exact"])]
        is_exact = place == beside
        rows.append(_Row(names, own, [] if is_exact else exact, figures[0], None if is_exact else figures[1]))
    return rows


def _names(row: _Row, spec: Spec) -> tuple[str, ...]:
    return tuple(spec.word(axis, value) for axis, value in zip(spec.fields["rows"], row.names, strict=True))


def _measured(rows: Sequence[_Row], spec: Spec) -> Block:
    heads = ("labels", "LM forwards", "LM backwards", "texts embedded", "FLOPs", "seconds", "peak memory")
    more = ("FLOPs saved", "seconds saved", "runs")
    body = tuple(
        (
            *_names(row, spec),
            *(quantity(row.value(name)) for name in _COUNTERS[:4]),
            quantity(row.value("flops"), "FLOP"),
            seconds(row.value("seconds")),
            quantity(row.value("peak_memory"), "B"),
            share(row.saved("flops")),
            share(row.saved("seconds")),
            str(len(row.facts)),
        )
        for row in rows
    )
    runs = [fact for row in rows for fact in row.facts]
    told = {
        "All labels were found computed, so what they take is not known and left out": [
            not one.value.known for one in runs
        ],
        "Some labels were found computed; the others' cost is scaled up": [
            0.02 <= one.value.reused < 1 for one in runs
        ],
        "Embeddings were found computed or given; what they take is not in these numbers": [
            not one.value.embedded for one in runs
        ],
    }
    named = {words: [one.cell for one, here in zip(runs, which, strict=True) if here] for words, which in told.items()}
    notes = [_MEASURED, *(f"{words}: {', '.join(cells)}." for words, cells in named.items() if cells)]
    return Block("Measured", (*spec.fields["rows"], *heads, *more), len(spec.fields["rows"]), body, tuple(notes))


def _stages(rows: Sequence[_Row], spec: Spec) -> Block:
    there = [stage for stage in STAGES if any(stage in fact.value.stages for row in rows for fact in row.facts)]
    body = tuple(
        (*_names(row, spec), *(seconds(mean_of(row.facts, "seconds", stage)) for stage in there)) for row in rows
    )
    return Block("Seconds by stage", (*spec.fields["rows"], *there), len(spec.fields["rows"]), body)


def paper_arithmetic(
    row_seconds_after_labels: float, exact_seconds: float, constant: float | str
) -> tuple[float, float]:
    """The constant, and what the paper's arithmetic makes of the exact seconds.

    Args:
        row_seconds_after_labels: of the estimated run, for training, predicting and choosing.
        exact_seconds: measured of the exact run.
        constant: seconds, or `measured` for the first argument.
    """
    added = row_seconds_after_labels if isinstance(constant, str) else float(constant)
    return added, PAPER_SHARE * exact_seconds + added


def _paper(rows: Sequence[_Row], spec: Spec) -> Block:
    heads = (
        "seconds measured",
        "exact seconds",
        "constant",
        "0.0025 × exact + constant",
        "saved so",
        "saved as measured",
    )
    body = []
    for row in rows:
        reckoned = _reckoned(row, spec)
        if reckoned is not None:
            exact, added, told = reckoned
            texts = (seconds(row.value("seconds")), seconds(exact), seconds(added), seconds(told))
            body.append((*_names(row, spec), *texts, share(1 - told / exact), share(row.saved("seconds"))))
    heading = "The paper's own arithmetic, which is not how we count"
    return Block(heading, (*spec.fields["rows"], *heads), len(spec.fields["rows"]), tuple(body), (_PAPER,))


def _reckoned(row: _Row, spec: Spec) -> tuple[float, float, float] | None:
    """Exact seconds, the constant, and the paper's seconds; None for a row that is not one of the estimated."""
    axes, wanted = dict(zip(spec.fields["rows"], row.names, strict=True)), spec.fields["estimated"]
    exact = mean_of(row.exact, "seconds")
    if not wanted or any(axes.get(axis) != value for axis, value in wanted.items()) or not exact:
        return None
    known = [fact.value.after_labels() for fact in row.facts if fact.value.known]
    if not known:
        return None
    after = float(np.mean(known))
    return (exact, *paper_arithmetic(after, exact, spec.fields["constant"]))


def _published(rows: Sequence[_Row], spec: Spec) -> Block:
    body = tuple(
        (*_names(row, spec), seconds(row.published.value), share(row.published_saving), share(row.saved("seconds")))
        for row in rows
        if row.published is not None
    )
    sources = tuple(dict.fromkeys(row.published.source for row in rows if row.published is not None))
    heads = ("seconds", "saved", "saved here, as measured")
    return Block("As published", (*spec.fields["rows"], *heads), len(spec.fields["rows"]), body, sources)


def _lines(page: Page, row: _Row, spec: Spec) -> list[dict[str, Value]]:
    """The CSV lines of a row: its total, and one for each stage."""
    place: dict[str, Value] = {**page.axes, **dict(zip(spec.fields["rows"], row.names, strict=True))}
    lines = []
    for stage in (None, *STAGES):
        if stage is not None and mean_of(row.facts, "seconds", stage) is None:
            continue
        values = {name: mean_of(row.facts, name, stage) for name in _COUNTERS[1:]}
        lines.append(place | {"stage": stage or "total", "runs": len(row.facts)} | values)
    reckoned = _reckoned(row, spec)
    lines[0] |= {
        "labels": row.value("labels"),
        "flops_saved": row.saved("flops"),
        "seconds_saved": row.saved("seconds"),
    }
    lines[0] |= {"paper_arithmetic_seconds": None if reckoned is None else reckoned[2]}
    lines[0] |= {"published_seconds": None if row.published is None else row.published.value}
    lines[0] |= {"published_source": None if row.published is None else row.published.source}
    return lines
