"""Tables and curves of how well estimators agree with exact influences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nncift.experiment.tables.cells import Experiment, Page, combinations, narrowed, paged
from nncift.experiment.tables.drawing import Curve, Panel
from nncift.experiment.tables.rehearsed import BASELINES, MEAN, MEANS, averaged, fidelity_facts, figure
from nncift.experiment.tables.specs import Spec
from nncift.experiment.tables.wording import mean_error
from nncift.experiment.tables.writing import DASH, Block, Table, Value

NAMES = {
    "mse": "MSE (squared label units)",
    "r2": "R²",
    "spearman": "Spearman, pairs",
    "row_spearman": "Spearman within target",
    "candidate_spearman": "Spearman of candidates",
    "top30_overlap": "overlap of the best 30 %",
    "coverage90": "share in 90 % intervals",
    "seconds": "seconds of fit and prediction",
}
_NOTE = (
    "Mean ± standard error over the repeats of each record. MSE, R² (against the mean of the labels) and rank correlations are "
    "over pairs without label; candidates by their mean influence; the gain is that of the chosen subset's objective on exact "
    "influences, 0 for random and 1 for exact greedy."
)
_WORDS = {MEANS: "row + column means"}
_BASELINE_NOTE = "Guesses that read no text: predict the mean of the labels; row and column means."


@dataclass(frozen=True, slots=True)
class Curves:
    """A page's figure.

    Attributes:
        page: its axes.
        panels: one for each figure.
    """

    page: dict[str, str]
    panels: tuple[Panel, ...]


def fidelity_table(experiment: Experiment, spec: Spec) -> tuple[Table, list[Curves]]:
    """One row for each value of `x` and line; the same as curves, one drawing a page."""
    facts = narrowed(fidelity_facts(experiment), spec.where)
    own = [fact for fact in facts if fact.axes["estimator"] != MEAN]
    used = {spec.fields["x"], *spec.fields["lines"], "labels"}
    blocks: list[Block] = []
    lines: list[dict[str, Value]] = []
    drawings = []
    for page in paged(own, experiment, spec, used):
        guesses = [fact for fact in facts if fact.axes["estimator"] == MEAN]
        on = {axis: (value,) for axis, value in page.axes.items() if axis not in ("estimator", "design")}
        guesses = narrowed(guesses, on)
        whole = Page(page.axes, (*page.facts, *guesses))
        points = _points(whole, experiment, spec)
        blocks.append(_block(page, points, spec))
        lines += [line for point in points for line in _lines(page, point, spec)]
        drawings.append(Curves(page.axes, _panels(points, experiment, spec)))
    return Table(tuple(blocks), tuple(lines), (_NOTE, _BASELINE_NOTE)), drawings


@dataclass(frozen=True, slots=True)
class _Point:
    """One line at one x."""

    x: str
    line: tuple[str, ...]
    baseline: bool
    labels: float
    figures: dict[str, tuple[float, float | None] | None]


def _points(page: Page, experiment: Experiment, spec: Spec) -> list[_Point]:
    """By x, and in each the baselines last."""
    fields, points = spec.fields, []
    for place in combinations(page.facts, (fields["x"], *fields["lines"]), experiment):
        wanted = dict(zip((fields["x"], *fields["lines"]), place, strict=True))
        there = [fact for fact in page.facts if all(fact.axes.get(axis, "") == one for axis, one in wanted.items())]
        baseline = all(fact.axes["estimator"] in BASELINES for fact in there)
        found = {name: averaged([figure(fact.value, name) for fact in there]) for name in fields["figures"]}
        labels = sum(fact.value["labels"] for fact in there) / len(there)
        points.append(_Point(place[0], place[1:], baseline, labels, found))
    order = {x: k for k, x in enumerate(experiment.ordered(fields["x"], [point.x for point in points]))}
    return sorted(points, key=lambda point: (order[point.x], point.baseline))


def _line_words(line: tuple[str, ...], spec: Spec) -> tuple[str, ...]:
    words = zip(spec.fields["lines"], line, strict=True)
    return tuple(spec.word(axis, _WORDS.get(value, value) if axis == "estimator" else value) for axis, value in words)


def figure_name(name: str) -> str:
    """A figure in words."""
    return f"gain at {name.split()[1]}" if name.startswith("objective_gain ") else NAMES[name]


def _block(page: Page, points: Sequence[_Point], spec: Spec) -> Block:
    fields = spec.fields
    heads = (fields["x"], *fields["lines"], *(() if fields["x"] == "labels" else ("labels",)))
    body = []
    for point in points:
        names = (spec.word(fields["x"], point.x), *_line_words(point.line, spec))
        count = () if fields["x"] == "labels" else (f"{point.labels:,.0f}",)
        found = point.figures.items()
        texts = (DASH if one is None else mean_error(*one, squared=name == "mse") for name, one in found)
        body.append((*names, *count, *texts))
    where = ", ".join(f"{axis} {spec.word(axis, value)}" for axis, value in page.axes.items())
    columns = (*heads, *(figure_name(name) for name in fields["figures"]))
    return Block(where or "All records", columns, 1 + len(fields["lines"]), tuple(body))


def _panels(points: Sequence[_Point], experiment: Experiment, spec: Spec) -> tuple[Panel, ...]:
    """One for each figure that has a value."""
    fields = spec.fields
    xs = experiment.ordered(fields["x"], [point.x for point in points])
    scaled = fields["x"] == "labels"
    where = {x: float(x) if scaled else float(k) for k, x in enumerate(xs)}
    panels = []
    for name in fields["figures"]:
        curves = []
        for line in dict.fromkeys(point.line for point in points):
            found = [(point, point.figures[name]) for point in points if point.line == line]
            there = [(where[point.x], *one) for point, one in found if one is not None]
            if there:
                words = [word for word in _line_words(line, spec) if word != "-"]
                baseline = all(point.baseline for point, _ in found)
                curves.append(Curve(" · ".join(words) or "all", tuple(there), baseline))
        if curves:
            ticks = tuple((where[x], spec.word(fields["x"], x)) for x in xs)
            panels.append(Panel(figure_name(name), fields["x"], ticks, scaled, tuple(curves)))
    return tuple(panels)


def _lines(page: Page, point: _Point, spec: Spec) -> list[dict[str, Value]]:
    """One for each figure."""
    place: dict[str, Value] = {**page.axes, spec.fields["x"]: point.x}
    place |= dict(zip(spec.fields["lines"], point.line, strict=True))
    return [
        place | {"labels": point.labels, "figure": name, "mean": None if one is None else one[0]}
        | {"se": None if one is None else one[1]}
        for name, one in point.figures.items()
    ]  # fmt: skip
