"""When choosing has paid, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nncift.evaluation.options import By, Control
from nncift.evaluation.payoff import payoff, payoff_sentence
from nncift.evaluation.statistics import Verdict
from nncift.evaluation.summary import Record, summarise
from toy_scores import measured, scored


def gain(
    subset: str = "mine", *, diff: float | None = -0.3, verdict: Verdict | None = "beats random", metric: str = "loss",
    by: By = "lora", control: Control | None = None,
) -> Record:  # fmt: skip
    """A record of `summarise`, all but its comparison a real one's."""
    (record,) = summarise([scored(subset, np.ones((1, 1, 7)), by=by, metric=metric, control=control)], seed=0)
    ends = None if diff is None else [diff - 0.1, diff + 0.05]
    return {**record, "diff_random": diff, "diff_ci": ends, "verdict": verdict}


def test_against_the_whole_pool_by_hand() -> None:
    """A training takes (100 + 300) / 2, the whole pool 900: each saves 700, and choosing took 1,500, so after 3."""
    (record,) = payoff(
        [
            measured("mine", 4, 100, 300, cost=1500),
            measured("random", 4, 50, 70, control="random", draws=True),
            measured("full", 20, 900, control="full"),
        ],
        20,
        [gain()],
    )
    assert record == {
        "subset": "mine", "rows": 4, "tokens": 40, "metric": "loss", "diff_random": -0.3, "diff_ci": [-0.4, -0.25],
        "verdict": "beats random", "train_flops": 200, "train_seconds": 0.2, "select_flops": 1500, "select_seconds": 7.0,
        "select_trainings": 7.5, "reused": 0, "whole_flops": 900, "whole_seconds": 0.9, "whole_measured": True,
        "pays_after": 3,
    }  # fmt: skip
    assert payoff_sentence(record) == (
        "mine: loss -0.300 [-0.400, -0.250] against random, lower is better; one training on it takes 200 FLOP (0 s), on "
        "the whole pool 900 FLOP (1 s); choosing took 1,500 FLOP (7 s), 7.5 times one training on it: it beats random, and "
        "has paid after 3 trainings."
    )


@pytest.mark.parametrize(("cost", "pays"), [(0, 1), (1, 1), (700, 1), (701, 2), (1400, 2), (1401, 3)])
def test_the_first_training_that_pays(cost: float, pays: int) -> None:
    entries = [measured("mine", 4, 200, cost=cost), measured("full", 20, 900, control="full")]
    (record,) = payoff(entries, 20, [gain()])
    assert record["pays_after"] == pays
    assert payoff_sentence(record).endswith(f"after {pays} training{'s' * (pays > 1)}.")


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("no difference shown", "no gain over random is shown, and random rows cost nothing to choose."),
        ("loses to random", "it loses to random, and random rows cost nothing to choose."),
        (None, "no gain over random is shown, and random rows cost nothing to choose."),
    ],
)
def test_nothing_is_paid_back_without_a_gain(verdict: Verdict | None, words: str) -> None:
    entries = [measured("mine", 4, 200, cost=8000), measured("full", 20, 900, control="full")]
    (record,) = payoff(entries, 20, [gain(verdict=verdict, diff=None if verdict is None else 0.02)])
    text = payoff_sentence(record)
    assert (
        record["pays_after"] is None and text.endswith(f"40 times one training on it: {words}") and "paid" not in text
    )
    assert ("mine: not compared with random; one" in text) == (verdict is None)


def test_the_gain_is_told_from_the_loss_by_lora_of_the_subset_itself() -> None:
    entries = [measured("mine", 4, 200, cost=1), measured("other", 4, 200, cost=1)]
    records = [
        gain(metric="rouge1", diff=0.9), gain(diff=-0.5), gain(metric="judge", diff=0.7), gain(by="icl", diff=-0.6),
        gain(control="embedding", diff=-0.8), gain("other", metric="rouge1", diff=0.2), gain("other", metric="bge"),
    ]  # fmt: skip
    mine, other = payoff(entries, 20, records)
    assert (mine["metric"], mine["diff_random"]) == ("loss", -0.5)
    assert payoff_sentence(other).startswith("other: rouge1 +0.200 [+0.100, +0.250] against random, higher is better; ")


@pytest.mark.parametrize(("reused", "told"), [(None, False), (0.0, False), (0.02, False), (0.021, True), (0.634, True)])
def test_labels_that_were_found_computed_are_told(reused: float | None, told: bool) -> None:
    entry = measured("mine", 4, 200, cost=1000)
    assert entry.subject.cost is not None
    if reused is not None:
        entry.subject.cost["reused"] = reused
    (record,) = payoff([entry], 20, [gain()])
    assert record["reused"] == (reused or 0)
    words = f"choosing took 1,000 FLOP (7 s, {reused or 0:.0%} of its labels were found computed), 5 times"
    assert (words in payoff_sentence(record)) == told == ("found computed" in payoff_sentence(record))


def test_the_whole_pool_is_told_from_random_rows_where_it_was_not_trained_on() -> None:
    """Random rows took 60 for 4 of 20 rows, so the whole takes about 300."""
    entries = [measured("mine", 4, 100, cost=500), measured("random", 4, 50, 70, control="random", draws=True)]
    (record,) = payoff(entries, 20, [gain()])
    assert (record["whole_flops"], record["whole_measured"], record["pays_after"]) == (300, False, 3)
    assert "on the whole pool about 300 FLOP (0 s)" in payoff_sentence(record)


def test_a_subset_as_dear_as_the_pool_never_pays() -> None:
    entries = [measured("mine", 20, 900, cost=1), measured("full", 20, 900, control="full")]
    (record,) = payoff(entries, 20, [gain()])
    assert record["pays_after"] is None
    assert payoff_sentence(record).endswith(
        "0.0011 times one training on it: it beats random, and no training is saved."
    )


def test_what_is_not_known_is_not_told() -> None:
    alone, file = (
        payoff([measured("mine", 4, 100, cost=5)], 20, [gain()]),
        payoff([measured("mine", 4, 2.5e9), measured("full", 20, 9e15, control="full")], 20, []),
    )
    assert payoff_sentence(alone[0]).endswith(
        "; one training on it takes 100 FLOP (0 s); choosing took 5 FLOP (7 s), 0.05 times one training on it: it beats "
        "random."
    )
    assert payoff_sentence(file[0]) == (
        "mine: not compared with random; one training on it takes 2.5 GFLOP (2,500,000 s), on the whole pool 9 PFLOP "
        "(9,000,000,000,000 s)."
    )
    assert alone[0]["pays_after"] is file[0]["pays_after"] is file[0]["select_flops"] is alone[0]["whole_flops"] is None


def test_rows_without_anything_to_learn_are_no_division_by_zero() -> None:
    (record,) = payoff([measured("mine", 4, 0, cost=5)], 20, [gain()])
    assert record["select_trainings"] is None and "choosing took 5 FLOP (7 s): it beats" in payoff_sentence(record)


def test_only_what_was_trained_counts() -> None:
    entries = [
        measured("shown", 4, 100, cost=1, by="icl"), measured("initial", 0, 1, control="initial"),
        measured("full", 20, 1, control="full", by="icl"),
    ]  # fmt: skip
    assert payoff(entries, 20, []) == []
