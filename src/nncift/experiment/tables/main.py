"""The table of what subsets taught: scores, beside random rows, beside the exact function, beside what was published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nncift.experiment.tables.cells import Experiment, Page, combinations, narrowed, paged
from nncift.experiment.tables.pooling import End, Number
from nncift.experiment.tables.published import Figure, find, mean_relative_difference, model_of
from nncift.experiment.tables.scores import CONTROL, Against, Runs, at, score_facts
from nncift.experiment.tables.specs import Spec
from nncift.experiment.tables.wording import metric_words, score, share, with_ends
from nncift.experiment.tables.writing import DASH, Block, Table, Value

_MEANS = (
    "Mean over select seeds [95 % interval]: the records' own ends on average (bootstrap over trainings and test rows) and, "
    "where there are several seeds, Student's t over them, added in squares."
)
_RANDOM = (
    "Subset minus as many random rows, scored on the same test rows [95 % interval of what one more draw would leave]; the "
    "verdicts are those of the evaluation, adjusted for all of its comparisons. Controls get no verdict."
)
_EXACT = (
    "Row minus the exact row. Seeds are paired. Through random: both were compared with the same random draws on the same "
    "test rows, and the two intervals are added in squares, as if independent; unpaired: the intervals of the two means "
    "are, which is wider. Scores row by row are not kept in the records, so nothing is paired by test row directly."
)


@dataclass(frozen=True, slots=True)
class _Place:
    """One row in one column; `control` says which control it is, None for a subset."""

    control: str | None
    row: tuple[str, ...]
    column: tuple[str, ...]
    runs: Runs
    mean: Number
    random: Number | None
    exact: Against | None
    published: Figure | None
    published_exact: Figure | None


def main_table(experiment: Experiment, spec: Spec) -> Table:
    """The scores of subsets and controls, a page for each combination of the other axes."""
    facts = narrowed(score_facts(experiment), spec.where)
    fields = spec.fields
    used = {*fields["rows"], *fields["columns"], *fields["over"], CONTROL}
    blocks: list[Block] = []
    lines: list[dict[str, Value]] = []
    for page in paged([fact for fact in facts if CONTROL not in fact.axes], experiment, spec, used):
        whole = Page(page.axes, tuple(narrowed(facts, {axis: (value,) for axis, value in page.axes.items()})))
        places = _places(whole, experiment, spec)
        blocks += _blocks(whole, places, experiment, spec)
        lines += [_line(page, one, spec) for one in places]
    return Table(tuple(blocks), tuple(lines))


def _places(page: Page, experiment: Experiment, spec: Spec) -> list[_Place]:
    """Every row in every column in which it has a score."""
    fields, facts = spec.fields, page.facts
    subsets = [fact for fact in facts if CONTROL not in fact.axes]
    sizes = {fact.value["size"] for fact in subsets} | {0}
    controls = [fact for fact in facts if CONTROL in fact.axes and fact.value["size"] in sizes]
    found = []
    for column in combinations(facts, fields["columns"], experiment):
        at_column = dict(zip(fields["columns"], column, strict=True))
        for name in fields["controls"]:
            row = (name, *[""] * (len(fields["rows"]) - 1))
            runs = at(controls, at_column | {CONTROL: name}, fields["over"])
            found.append(_place(name, row, column, runs, None, spec))
        for row in combinations(subsets, fields["rows"], experiment):
            at_row = dict(zip(fields["rows"], row, strict=True))
            beside = at_row | {axis: value for axis, value in fields["exact"].items() if axis in at_row}
            exact = None if not fields["exact"] or beside == at_row else at(subsets, at_column | beside, fields["over"])
            found.append(_place(None, row, column, at(subsets, at_column | at_row, fields["over"]), exact, spec))
    return [one for one in found if one is not None]


def _place(
    control: str | None, row: tuple[str, ...], column: tuple[str, ...], runs: Runs, exact: Runs | None, spec: Spec
) -> _Place | None:
    mean = runs.mean
    if mean is None:
        return None
    axes = runs.facts[0].axes
    axes = axes | ({"how": axes[CONTROL]} if CONTROL in axes else {})
    wanted = spec.fields["published"]
    beside = None if exact is None else find("scores", wanted, axes | spec.fields["exact"])
    return _Place(
        control,
        row,
        column,
        runs,
        mean,
        runs.random,
        None if exact is None else runs.against(exact),
        find("scores", wanted, axes),
        beside,
    )


def _blocks(page: Page, places: Sequence[_Place], experiment: Experiment, spec: Spec) -> list[Block]:
    columns = combinations(page.facts, spec.fields["columns"], experiment)
    rows = sorted(dict.fromkeys((one.control, one.row) for one in places), key=lambda row: row[0] is None)
    by_place = {((one.control, one.row), one.column): one for one in places}
    metrics = [dict(zip(spec.fields["columns"], column, strict=True)).get("metric") for column in columns]
    heads = (*spec.fields["rows"], *(_head(column, spec) for column in columns))
    where = ", ".join(f"{axis} {spec.word(axis, value)}" for axis, value in page.axes.items())

    def block(what: str, cell: str, notes: tuple[str, ...]) -> Block | None:
        body = []
        for row in rows:
            found = [by_place.get((row, column)) for column in columns]
            texts = [
                DASH if one is None else _TEXTS[cell](one, _metric(one, m))
                for one, m in zip(found, metrics, strict=True)
            ]
            if any(text != DASH for text in texts):
                names = [spec.word(axis, value) for axis, value in zip(spec.fields["rows"], row[1], strict=True)]
                body.append((*names, *texts))
        heading = f"{what} ({where})" if where else what
        return Block(heading, heads, len(spec.fields["rows"]), tuple(body), notes) if body else None

    sources = tuple(dict.fromkeys(one.published.source for one in places if one.published))
    found = [
        block("Scores", "mean", (_MEANS,)),
        block("Difference to random", "random", (_RANDOM,)),
        block("Difference to the exact function", "exact", (_EXACT, *_relative(places, spec))),
        block("As published, with other models and rows (difference to its exact row)", "published", sources),
    ]
    return [one for one in found if one is not None]


def _head(column: tuple[str, ...], spec: Spec) -> str:
    words = zip(spec.fields["columns"], column, strict=True)
    return ", ".join(metric_words(value) if axis == "metric" else spec.word(axis, value) for axis, value in words)


def _metric(one: _Place, of_column: str | None) -> str:
    return of_column or str(one.runs.facts[0].value["metric"])


def _random_text(one: _Place, metric: str) -> str:
    if one.random is None:
        return DASH
    text = with_ends(one.random.mean, one.random.ends, metric, signed=True)
    return f"{text} {one.runs.verdict}".strip()


def _exact_text(one: _Place, metric: str) -> str:
    if one.exact is None:
        return DASH
    number = one.exact.number
    return f"{with_ends(number.mean, number.ends, metric, signed=True)} {one.exact.how}"


def _published_text(one: _Place, metric: str) -> str:
    if one.published is None:
        return DASH
    text = score(one.published.value, metric)
    if one.published_exact is None:
        return text
    return f"{text} ({score(one.published.value - one.published_exact.value, metric, signed=True)})"


_TEXTS = {
    "mean": lambda one, metric: with_ends(one.mean.mean, one.mean.ends, metric),
    "random": _random_text,
    "exact": _exact_text,
    "published": _published_text,
}


def _relative(places: Sequence[_Place], spec: Spec) -> tuple[str, ...]:
    """The paper's own summary, mean |row - exact| / |exact|, and the same of random rows: what it would be without any method.

    A small one says that two rows score alike, which random rows do too where a metric hardly tells subsets apart.
    """
    fields = spec.fields
    axes = [axis for axis in fields["exact"] if axis in fields["rows"]]
    kinds: dict[str, list[float]] = {}
    random = {one.column: one.mean.mean for one in places if one.control == "random"}
    for one in places:
        if one.exact is not None:
            at_row = dict(zip(fields["rows"], one.row, strict=True))
            name = " · ".join(spec.word(axis, at_row[axis]) for axis in axes)
            exact = one.mean.mean - one.exact.number.mean
            kinds.setdefault(name, []).append(_off(one.mean.mean, exact))
    exact_rows = [one for one in places if fields["exact"] and axes and _is_exact(one, spec)]
    if kinds:
        kinds["random rows"] = [_off(random[one.column], one.mean.mean) for one in exact_rows if one.column in random]
    told = [
        f"{name}: mean absolute relative difference to the exact row {share(float(np.mean(values)))} over "
        f"{len(values):,} {'places' if len(values) > 1 else 'place'}"
        for name, values in kinds.items()
        if values
    ]
    models = (
        [] if fields["published"] is None else [model_of(fields["published"], one.runs.facts[0].axes) for one in places]
    )
    told += [
        f"published, recomputed for {model}: {mean_relative_difference(model):.2%} (nncift, 48 places)"
        for model in dict.fromkeys(models)
        if told and model
    ]
    return tuple(f"{one}." for one in told)


def _is_exact(one: _Place, spec: Spec) -> bool:
    at_row = dict(zip(spec.fields["rows"], one.row, strict=True))
    return all(at_row.get(axis) == value for axis, value in spec.fields["exact"].items())


def _off(value: float, exact: float) -> float:
    return abs(value - exact) / abs(exact) if exact else 0.0


def _line(page: Page, one: _Place, spec: Spec) -> dict[str, Value]:
    """One line of the CSV, in the units of the records."""
    line: dict[str, Value] = dict(page.axes)
    line |= dict(zip(spec.fields["rows"], one.row, strict=True))
    line |= dict(zip(spec.fields["columns"], one.column, strict=True))
    line |= {"rows": one.runs.facts[0].value["rows"], "runs": one.mean.runs}
    line |= _columns("mean", one.mean.mean, one.mean.ends)
    line |= _columns("diff_random", *((None, None) if one.random is None else (one.random.mean, one.random.ends)))
    line["verdict"] = one.runs.verdict or None
    number = None if one.exact is None else one.exact.number
    line |= _columns("diff_exact", *((None, None) if number is None else (number.mean, number.ends)))
    line["diff_exact_by"] = None if one.exact is None else one.exact.how
    line["published"] = None if one.published is None else one.published.value
    line["published_exact"] = None if one.published_exact is None else one.published_exact.value
    line["published_source"] = None if one.published is None else one.published.source
    return line


def _columns(name: str, value: float | None, ends: End) -> dict[str, Value]:
    low, high = (None, None) if ends is None else ends
    return {name: value, f"{name}_low": low, f"{name}_high": high}
