"""The error of estimators where a candidate or a target was never labelled, beside guesses on the same pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nncift.experiment.tables.cells import Experiment, Fact, Page, combinations, narrowed, paged
from nncift.experiment.tables.published import figures, model_of
from nncift.experiment.tables.rehearsed import MEAN, averaged, fidelity_facts
from nncift.experiment.tables.specs import Spec
from nncift.experiment.tables.wording import mean_error, quantity
from nncift.experiment.tables.writing import DASH, Block, Table, Value
from nncift.rehearsal.quadrants import PARTS

GUESSES = ("predict the mean", "predict 0 of [0, 1]", "uniform random in [0, 1]", "row + column means")
_MSE = (
    "Mean ± standard error over repeats, of all known pairs of the part. Influences are scaled to [0, 1] by the smallest and "
    "the largest known one, so that one outlier makes every MSE small: it says something only beside the guesses on the same "
    "pairs. Reading the texts is worth what an estimator gains over the best of these."
)
_R2 = "Against the mean of the labels on the same pairs: 0 is no better than that mean, 1 is exact."
_SPREAD = (
    "Standard deviation of the exact influences, scaled to [0, 1]; its square is the MSE of guessing a part's own mean."
)
_PUBLISHED = (
    "As published, another model and other rows; no baseline was reported. The slides number the second part as labelled "
    "candidate and unlabelled target; the released code computes the second and the third the other way round."
)


def quadrant_facts(experiment: Experiment) -> Iterator[Fact]:
    """Every estimator's quadrants, and those of the guesses beside it, under the guess's name."""
    for fact in fidelity_facts(experiment):
        if fact.value.get("quadrants") is None or fact.axes["estimator"] == MEAN:
            continue
        yield fact
        for guess in GUESSES:
            yield Fact(fact.axes | {"estimator": guess}, fact.value, fact.cell)


def quadrant_table(experiment: Experiment, spec: Spec) -> Table:
    """MSE, R² and spread by part, a page for each combination of the other axes."""
    facts = narrowed(quadrant_facts(experiment), {axis: one for axis, one in spec.where.items() if axis != "estimator"})
    wanted = {"estimator": (*spec.where["estimator"], *GUESSES)} if "estimator" in spec.where else {}
    facts = narrowed(facts, wanted)
    blocks: list[Block] = []
    lines: list[dict[str, Value]] = []
    for page in paged(facts, experiment, spec, {*spec.fields["rows"], "estimator", "labels"}):
        rows = combinations(page.facts, spec.fields["rows"], experiment)
        rows.sort(key=lambda row: any(name in GUESSES for name in row))
        where = ", ".join(f"{axis} {spec.word(axis, value)}" for axis, value in page.axes.items())
        for heading, figure, note in (("MSE", "mse", _MSE), ("R²", "r2", _R2)):
            body = [_row(page, row, figure, spec) for row in rows]
            body += _published_rows(page, spec) if figure == "mse" else []
            notes = (note, _PUBLISHED) if figure == "mse" and spec.fields["published"] else (note,)
            heads = (*spec.fields["rows"], *PARTS)
            blocks.append(
                Block(f"{heading} ({where})" if where else heading, heads, len(spec.fields["rows"]), tuple(body), notes)
            )
        blocks.append(_spread(page, rows, where, spec))
        lines += [line for row in rows for line in _lines(page, row, spec)]
    return Table(tuple(blocks), tuple(lines))


def scaled(record: Mapping[str, Any], part: str, figure: str, guess: str | None) -> tuple[float, float | None] | None:
    """A figure of a part, errors and spreads in units of [0, 1]; None where the part is empty or all influences are equal."""
    found = record["quadrants"]
    one = found["parts"][part]
    width = found["high"] - found["low"]
    if one is None or (figure != "r2" and width == 0):
        return None
    value = one[figure] if guess is None else one["baselines"][guess][figure]
    scale = {"mse": width**2, "sd": width}.get(figure, 1.0)
    return value["mean"] / scale, None if value["se"] is None else value["se"] / scale


def _found(page: Page, row: tuple[str, ...], part: str, figure: str, spec: Spec) -> tuple[float, float | None] | None:
    place = dict(zip(spec.fields["rows"], row, strict=True))
    there = [fact for fact in page.facts if all(fact.axes.get(axis, "") == one for axis, one in place.items())]
    if not any(name in GUESSES for name in row):
        there = [fact for fact in there if fact.axes["estimator"] not in GUESSES]
    guesses = [
        one if (one := fact.axes["estimator"]) in GUESSES and figure in ("mse", "r2") else None for fact in there
    ]
    return averaged([scaled(fact.value, part, figure, guess) for fact, guess in zip(there, guesses, strict=True)])


def _names(row: tuple[str, ...], spec: Spec) -> tuple[str, ...]:
    return tuple(spec.word(axis, value) for axis, value in zip(spec.fields["rows"], row, strict=True))


def _row(page: Page, row: tuple[str, ...], figure: str, spec: Spec) -> tuple[str, ...]:
    found = [_found(page, row, part, figure, spec) for part in PARTS]
    return (*_names(row, spec), *(DASH if one is None else mean_error(*one, squared=figure == "mse") for one in found))


def _spread(page: Page, rows: list[tuple[str, ...]], where: str, spec: Spec) -> Block:
    """How many pairs each part has, and how far their influences spread: the same for all that share labels."""
    body: dict[tuple[str, ...], None] = {}
    names = [axis for axis in spec.fields["rows"] if axis != "estimator"]
    for row in rows:
        if any(name in GUESSES for name in row):
            continue
        texts = []
        for part in PARTS:
            pairs, sd = (_found(page, row, part, figure, spec) for figure in ("pairs", "sd"))
            texts.append(DASH if pairs is None or sd is None else f"{sd[0]:.3f} ({quantity(pairs[0])} pairs)")
        place = dict(zip(spec.fields["rows"], row, strict=True))
        body[(*(spec.word(axis, place[axis]) for axis in names), *texts)] = None
    heading = f"Spread of exact influences ({where})" if where else "Spread of exact influences"
    return Block(heading, (*names, *PARTS), len(names), tuple(body), (_SPREAD,))


def _published_rows(page: Page, spec: Spec) -> list[tuple[str, ...]]:
    wanted = spec.fields["published"]
    model = "" if wanted is None else model_of(wanted, page.facts[0].axes)
    found = {one.axes["part"]: one for one in figures("quadrants") if one.axes["model"] == model}
    if not found:
        return []
    names = ["published", *[""] * (len(spec.fields["rows"]) - 1)]
    return [(*names, *(f"{found[part].value:.3g}" if part in found else DASH for part in PARTS))]


def _lines(page: Page, row: tuple[str, ...], spec: Spec) -> Iterator[dict[str, Value]]:
    place: dict[str, Value] = {**page.axes, **dict(zip(spec.fields["rows"], row, strict=True))}
    for part in PARTS:
        line: dict[str, Value] = {"part": part}
        for figure in ("mse", "r2", "sd", "pairs"):
            one = _found(page, row, part, figure, spec)
            line |= {figure: None if one is None else one[0]}
            line |= {f"{figure}_se": None if one is None else one[1]} if figure in ("mse", "r2") else {}
        yield place | line
