"""What evaluations found, by place in the grid: one subset's runs, beside random rows and beside the exact function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nncift.experiment.tables.cells import Experiment, Fact
from nncift.experiment.tables.pooling import End, Number, gap, pooled

CONTROL = "control"
"""The axis of controls, which have neither an influence nor a way of computing it."""


def score_facts(experiment: Experiment) -> Iterator[Fact]:
    """Every record of every `evaluate` cell; of random rows those that match a subset in rows."""
    for cell in experiment.done("evaluate"):
        subjects = cell.result.get("subjects") or {}
        for record in cell.result.get("records") or ():
            if record.get("mean") is None or record.get("matched") is not None or "metric" not in record:
                continue
            words = {"by": str(record["by"]), "metric": str(record["metric"])}
            if record["control"] is not None:
                yield Fact(cell.axes | words | {CONTROL: str(record["control"])}, record, cell.name)
            elif record["subset"] in subjects:
                own = {str(axis): str(value) for axis, value in subjects[record["subset"]].items()}
                yield Fact(own | cell.axes | words, record, cell.name)


@dataclass(frozen=True, slots=True)
class Against:
    """A difference over runs, and how its interval came about."""

    number: Number
    how: str


@dataclass(frozen=True, slots=True)
class Runs:
    """The records of one place, one for each value of the axes that are averaged."""

    facts: tuple[Fact, ...]
    over: tuple[str, ...]

    @property
    def mean(self) -> Number | None:
        """The mean score."""
        return self._pooled("mean", "ci")

    @property
    def random(self) -> Number | None:
        """The difference to as many random rows."""
        return self._pooled("diff_random", "diff_ci")

    @property
    def verdict(self) -> str:
        """What the evaluations say of that difference, run by run where they do not agree; empty where they say nothing."""
        said = [str(fact.value["verdict"]) for fact in self.facts if fact.value.get("verdict")]
        counts = {words: said.count(words) for words in dict.fromkeys(said)}
        if len(counts) < 2:
            return next(iter(counts), "")
        return ", ".join(f"{words} in {count} of {len(said)}" for words, count in counts.items())

    def against(self, exact: Runs) -> Against | None:
        """The difference to the runs of the exact function.

        A run is paired with that of the same seed, and where the exact function has none with all of its runs. Where both
        stand in one evaluation, each was compared with the same random rows on the same test rows; what is common to all
        rows has then cancelled, and the two differences to random, taken as independent, give the interval. Elsewhere the
        two means are taken as independent, which is wider still.
        """
        values, ends, ways = [], [], set()
        for fact in self.facts:
            partners = [one for one in exact.facts if self._key(one) == self._key(fact)] or list(exact.facts)
            if not partners:
                return None
            same = all(one.cell == fact.cell and one.value["size"] == fact.value["size"] for one in partners)
            both = [*partners, fact]
            through = same and all(one.value.get("diff_ci") is not None for one in both)
            field, interval = ("diff_random", "diff_ci") if through else ("mean", "ci")
            other = pooled([one.value[field] for one in partners], [_ends(one.value, interval) for one in partners])
            assert other is not None
            diff, between = gap(fact.value[field], _ends(fact.value, interval), other.mean, other.ends)
            values.append(diff)
            ends.append(between)
            ways.add("through random" if through else "unpaired" if between else "no interval")
        number = pooled(values, ends)
        return None if number is None else Against(number, ", ".join(sorted(ways)))

    def _key(self, fact: Fact) -> tuple[str | None, ...]:
        return tuple(fact.axes.get(axis) for axis in self.over)

    def _pooled(self, field: str, interval: str) -> Number | None:
        there = [fact.value for fact in self.facts if fact.value.get(field) is not None]
        return pooled([one[field] for one in there], [_ends(one, interval) for one in there])


def at(facts: Sequence[Fact], place: Mapping[str, str], over: Sequence[str]) -> Runs:
    """The records at a place; without an axis of it they are elsewhere."""
    return Runs(tuple(fact for fact in facts if _agrees(fact, place)), tuple(over))


def _agrees(fact: Fact, place: Mapping[str, str]) -> bool:
    return all(fact.axes.get(axis, "") == value for axis, value in place.items())


def _ends(record: Mapping[str, Any], field: str) -> End:
    found = record.get(field)
    return None if found is None else (float(found[0]), float(found[1]))
