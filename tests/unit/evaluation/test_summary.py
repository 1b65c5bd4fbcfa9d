"""From scores to what is printed: nothing is claimed that the verdict does not say."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from nncift.errors import ConfigError
from nncift.evaluation import summary
from nncift.evaluation.statistics import Difference, holm
from nncift.evaluation.summary import Scored, comparisons, higher_is_better, summarise
from toy_scores import example, scored, scores


def found() -> dict[tuple[str, str, int], summary.Record]:
    return {(r["subset"], r["metric"], r["size"]): r for r in summarise(example(), seed=3)}


def test_each_subset_is_compared_with_random_of_its_own_size_way_and_metric() -> None:
    records = found()
    verdicts = {key: record["verdict"] for key, record in records.items()}
    assert verdicts == {
        ("initial", "loss", 0): None,
        ("random", "loss", 30): None,
        ("mine", "loss", 30): "beats random",
        ("bad", "loss", 30): "loses to random",
        ("alike", "loss", 30): "no difference shown",
        ("random", "loss", 60): None,
        ("mine", "loss", 60): None,  # one draw tells nothing of the spread
        ("full", "loss", 500): None,
        ("random", "rouge1", 30): None,
        ("mine", "rouge1", 30): "beats random",
        ("bad", "rouge1", 30): "loses to random",
    }
    mine = records["mine", "loss", 30]
    assert mine["diff_random"] == pytest.approx(example()[2].scores.mean() - example()[1].scores.mean())
    assert mine["diff_ci"] is not None and mine["diff_ci"][0] < mine["diff_random"] < mine["diff_ci"][1] < 0
    alone = records["mine", "loss", 60]
    assert alone["diff_random"] == pytest.approx(example()[6].scores.mean() - example()[5].scores.mean())
    assert (alone["diff_ci"], alone["p_holm"]) == (None, None)
    assert records["full", "loss", 500]["diff_random"] is None


def test_holm_counts_every_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([0.03, 0.004, 0.02, 0.9, 0.011])

    def difference(*_: object, **__: object) -> Difference:
        return Difference(-0.3, -0.4, -0.2, next(told))

    monkeypatch.setattr(summary, "difference", difference)
    given = [one for one in example() if one.size == 30]
    records = summarise(given, seed=3)
    adjusted = [record["p_holm"] for record in records if record["p_holm"] is not None]
    assert adjusted == holm([0.03, 0.004, 0.02, 0.9, 0.011]) and comparisons(records) == 5
    verdicts = [record["verdict"] for record in records if record["verdict"] is not None]
    quiet = "no difference shown"
    assert verdicts == [quiet, "beats random", quiet, quiet, "loses to random"]  # 0.02 × 3 = 0.06


def test_records_are_json_and_carry_what_was_asked_and_scored() -> None:
    given = example()
    given[2].scores[0, 1, [2, 4]] = np.nan
    given.append(scored("judged", np.full((1, 2, 40), np.nan), metric="judge"))
    records = summarise(given, seed=3)
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    mine = records[2]
    numbers = ("mean", "ci", "diff_random", "diff_ci", "p_holm")
    assert {name: value for name, value in mine.items() if name not in numbers} == {
        "subset": "mine", "control": None, "matched": None, "by": "lora", "metric": "loss", "size": 30, "rows": 29,
        "draws": 1, "cells": 2, "seeds": 2, "n": 80, "n_scored": 78, "verdict": "beats random", "diff_random_tokens": None,
        "diff_random_tokens_ci": None, "p_holm_tokens": None, "verdict_tokens": None,
    }  # fmt: skip
    assert mine["mean"] == pytest.approx(np.nanmean(given[2].scores))
    assert mine["ci"] is not None and mine["ci"][0] < mine["mean"] < mine["ci"][1]
    assert (records[-1]["mean"], records[-1]["n_scored"], records[-1]["ci"]) == (None, 0, None)
    assert (records[1]["draws"], records[1]["cells"], records[1]["n"]) == (6, 12, 480)


def test_another_subset_beside_changes_no_ones_numbers() -> None:
    few, many = summarise(example()[:3], seed=3), summarise(example(), seed=3)
    for record, same in zip(few, many, strict=False):
        assert {**record, "p_holm": 0, "verdict": 0} == {**same, "p_holm": 0, "verdict": 0}
    assert summarise(example(), seed=4)[2]["diff_ci"] != many[2]["diff_ci"]


def test_random_is_known_by_what_it_is_and_not_by_its_name() -> None:
    named = {"random": "chance", "mine": "random"}
    given = [replace(one, subset=named.get(one.subset, one.subset)) for one in example()]
    for record, same in zip(summarise(given, seed=3), summarise(example(), seed=3), strict=True):
        assert {**record, "subset": same["subset"]} == same
    alone = [replace(one, control=None) for one in example()]
    assert comparisons(summarise(alone, seed=3)) == 0


def with_controls() -> list[Scored]:
    """A subset beside random, and all controls at its size."""
    return [
        scored("mine", scores(1.2, 1, 3)),
        scored("bad", scores(1.8, 1, 4)),
        scored("initial", scores(2.0, 1, 1), control="initial", rows=0),
        scored("random", scores(1.5, 6, 2), control="random"),
        scored("text of mine", scores(1.4, 6, 12), control="random-tokens", matched="mine", rows=36.5),
        scored("text of bad", scores(1.8, 6, 13), control="random-tokens", matched="bad", rows=25),
        scored("full", scores(1.0, 1, 8), control="full", rows=500),
        scored("embedding", scores(1.25, 1, 9), control="embedding"),
    ]


def test_a_second_difference_is_that_to_random_rows_of_as_much_text() -> None:
    given = with_controls()
    mine, bad, *others = summarise(given, seed=3)
    for record, one, other in ((mine, given[0], given[4]), (bad, given[1], given[5])):
        assert record["diff_random_tokens"] == pytest.approx(one.scores.mean() - other.scores.mean())
    assert mine["diff_random_tokens_ci"] is not None and mine["diff_random_tokens_ci"][1] < 0
    assert (mine["verdict"], mine["verdict_tokens"]) == ("beats random", "beats random")
    assert (bad["verdict"], bad["verdict_tokens"]) == ("loses to random", "no difference shown")
    assert (
        {record["diff_random_tokens"] for record in others} == {record["verdict_tokens"] for record in others} == {None}
    )
    alone = summarise([one for one in given if one.control != "random"], seed=3)
    assert alone[0]["diff_random"] is None and alone[0]["diff_random_tokens"] == mine["diff_random_tokens"]


def test_text_is_matched_at_the_same_size() -> None:
    """A subset of one name at two sizes has two."""
    given = [*with_controls(), scored("mine", scores(1.0, 1, 20), size=60)]
    assert summarise(given, seed=3)[-1]["diff_random_tokens"] is None


def test_controls_have_a_difference_and_make_no_claim() -> None:
    given = with_controls()
    records = summarise(given, seed=3)
    for record, one in zip(records, given, strict=True):
        if one.control not in (None, "random"):
            assert record["diff_random"] == pytest.approx(one.scores.mean() - given[3].scores.mean())
            assert record["diff_ci"] is not None and record["diff_ci"][0] < record["diff_random"] < record["diff_ci"][1]
            assert record["p_holm"] is record["verdict"] is None
    assert comparisons(records) == 4
    few = summarise([one for one in given if one.control in (None, "random", "random-tokens")], seed=3)
    assert few[:2] == records[:2], "controls beside move no p-value"


def test_both_differences_are_one_family(monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([0.03, 0.004, 0.02, 0.01, *[1e-9] * 9])

    def difference(*_: object, **__: object) -> Difference:
        return Difference(-0.3, -0.4, -0.2, next(told))

    monkeypatch.setattr(summary, "difference", difference)
    mine, bad, *_ = summarise(with_controls(), seed=3)
    adjusted = [mine["p_holm"], mine["p_holm_tokens"], bad["p_holm"], bad["p_holm_tokens"]]
    assert adjusted == holm([0.03, 0.004, 0.02, 0.01])


def test_scores_that_cannot_be_compared_are_refused() -> None:
    given = [*example()[1:3], scored("mine", scores(1, 1, 1))]
    with pytest.raises(ConfigError, match="twice"):
        summarise(given, seed=3)
    other = scored("mine", scores(1, 1, 1, items=41))
    with pytest.raises(ConfigError, match="41 test rows and random on 40"):
        summarise([example()[1], other], seed=3)
    matched = scored("text", scores(1, 6, 1), control="random-tokens", matched="mine")
    with pytest.raises(ConfigError, match="41 test rows and text on 40"):
        summarise([matched, other], seed=3)


def test_loss_alone_is_better_when_lower() -> None:
    names = ("loss", "rouge1", "rougeL", "bge", "similarity", "judge")
    assert [higher_is_better(name) for name in names] == [False, True, True, True, True, True]


def test_a_name_changes_no_number() -> None:
    strange = [example()[1], replace(example()[2], subset="caf\udce9.jsonl")]
    found, plain = (summarise(given, seed=3)[1] for given in (strange, example()[1:3]))
    assert found["verdict"] == "beats random" and {**found, "subset": "mine"} == plain
