"""Two axes and a value: a grid to read, and one to look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nncift.experiment.tables.cells import Experiment, Fact, combinations, narrowed, paged
from nncift.experiment.tables.drawing import HeatMap
from nncift.experiment.tables.ledgers import ledger_facts
from nncift.experiment.tables.rehearsed import MEAN, fidelity_facts, figure
from nncift.experiment.tables.scores import CONTROL, score_facts
from nncift.experiment.tables.specs import Spec
from nncift.experiment.tables.wording import metric_words, quantity, score
from nncift.experiment.tables.writing import DASH, Block, Table, Value


def heat_table(experiment: Experiment, spec: Spec) -> tuple[Table, list[tuple[dict[str, str], HeatMap]]]:
    """A grid and a heat map for each combination of the other axes."""
    fields = spec.fields
    facts = narrowed(_numbers(experiment, fields["value"]), spec.where)
    used = {fields["x"], fields["y"], *fields["over"]} | (
        {"labels"} if fields["value"]["from"] == "fidelity" else set()
    )
    blocks: list[Block] = []
    lines: list[dict[str, Value]] = []
    maps = []
    for page in paged(facts, experiment, spec, used):
        xs, ys = ([one for (one,) in combinations(page.facts, (fields[axis],), experiment)] for axis in ("x", "y"))
        found = [[_at(page.facts, {fields["x"]: x, fields["y"]: y}) for x in xs] for y in ys]
        values = [[_mean(there) for there in row] for row in found]
        where = ", ".join(f"{axis} {spec.word(axis, value)}" for axis, value in page.axes.items())
        texts = [[DASH if value is None else _text(value, fields["value"]) for value in row] for row in values]
        heads = (f"{fields['y']} \\ {fields['x']}", *(spec.word(fields["x"], x) for x in xs))
        names = [spec.word(fields["y"], y) for y in ys]
        body = tuple((name, *row) for name, row in zip(names, texts, strict=True))
        runs = {len(there) for row in found for there in row if there}
        span = f"{min(runs)} to {max(runs)}" if len(runs) > 1 else f"{min(runs)}"
        notes = (f"{_what(fields['value'])}; mean over {span} {'record' if runs == {1} else 'records'}.",)
        blocks.append(Block(where or "All records", heads, 1, body, notes))
        lines += [
            page.axes | {fields["y"]: y, fields["x"]: x, "value": values[b][a], "records": len(found[b][a])}
            for b, y in enumerate(ys)
            for a, x in enumerate(xs)
        ]
        grid = np.array([[np.nan if value is None else value for value in row] for row in values])
        maps.append(
            (page.axes, HeatMap(_what(fields["value"]), fields["x"], fields["y"], heads[1:], tuple(names), grid, texts))
        )
    return Table(tuple(blocks), tuple(lines)), maps


def _numbers(experiment: Experiment, value: dict[str, Any]) -> Iterator[Fact]:
    """What the map shows, wherever it is known."""
    name = value["figure"]
    if value["from"] == "select":
        for fact in ledger_facts(experiment):
            if fact.value.known and name in fact.value.total and fact.cell.startswith("select/"):
                yield Fact(fact.axes, fact.value.total[name], fact.cell)
    elif value["from"] == "fidelity":
        for fact in fidelity_facts(experiment):
            if fact.axes["estimator"] != MEAN and (found := figure(fact.value, name)) is not None:
                yield Fact(fact.axes, found[0], fact.cell)
    else:
        wanted = {word: (str(value[word]),) for word in ("by", "metric") if word in value}
        for fact in narrowed(score_facts(experiment), wanted):
            if CONTROL not in fact.axes and fact.value.get(name) is not None:
                yield Fact(fact.axes, fact.value[name], fact.cell)


def _at(facts: Sequence[Fact], place: dict[str, str]) -> list[float]:
    return [float(fact.value) for fact in facts if all(fact.axes.get(axis, "") == one for axis, one in place.items())]


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _text(value: float, what: dict[str, Any]) -> str:
    if what["from"] == "evaluate":
        return score(value, str(what.get("metric", "")), signed=what["figure"] != "mean")
    if what["from"] == "fidelity":
        return f"{value:z.3f}"
    return f"{value:,.1f}" if abs(value) < 1000 else quantity(value)


def _what(value: dict[str, Any]) -> str:
    """The value in words."""
    words = [str(value["by"])] if "by" in value else []
    words += [metric_words(str(value["metric"]))] if "metric" in value else []
    figure = {"mean": "", "diff_random": "minus random"}.get(value["figure"], str(value["figure"]))
    return " ".join([*words, figure]).strip()
