"""When choosing has paid, by hand."""

from __future__ import annotations

import pytest

from nncift.data.rows import Example, Turn
from nncift.evaluation.bench import Cell
from nncift.evaluation.options import By, Control
from nncift.evaluation.payoff import Measured, payoff, payoff_sentence
from nncift.evaluation.subjects import Subject


def measured(
    name: str,
    rows: int,
    *flops: float,
    control: Control | None = None,
    by: By = "lora",
    cost: float | None = None,
    draws: bool = False,
) -> Measured:
    """One cell per number, seconds a thousandth of it; as many draws, or as many seeds of one."""
    made = tuple(Example(str(k), (Turn("assistant", "x"),), k, k, b"") for k in range(rows))
    cells = [Cell("", [], [], rows, 10 * rows, 3, {"flops": f, "seconds": f / 1000}, {}) for f in flops]
    chosen = None if cost is None else {"flops": cost, "seconds": 7.0, "cpu_seconds": 1.0}
    subject = Subject(name, control, rows, (made,), chosen)
    return Measured(subject, by, [[cell] for cell in cells] if draws else [cells])


def test_against_the_whole_pool_by_hand() -> None:
    """A training takes (100 + 300) / 2, the whole pool 900: each saves 700, and choosing took 1,500, so after 3."""
    (record,) = payoff(
        [
            measured("mine", 4, 100, 300, cost=1500),
            measured("random", 4, 50, 70, control="random", draws=True),
            measured("full", 20, 900, control="full"),
        ],
        20,
    )
    assert record == {
        "subset": "mine", "rows": 4, "tokens": 40, "train_flops": 200, "train_seconds": 0.2, "select_flops": 1500,
        "select_seconds": 7.0, "whole_flops": 900, "whole_seconds": 0.9, "whole_measured": True, "pays_after": 3,
    }  # fmt: skip
    assert payoff_sentence(record) == (
        "mine: one training takes 200 FLOP (0 s), choosing took 1,500 FLOP (7 s); one training on the whole pool takes "
        "900 FLOP: choosing has paid after 3 trainings."
    )


@pytest.mark.parametrize(("cost", "pays"), [(0, 1), (1, 1), (700, 1), (701, 2), (1400, 2), (1401, 3)])
def test_the_first_training_that_pays(cost: float, pays: int) -> None:
    (record,) = payoff([measured("mine", 4, 200, cost=cost), measured("full", 20, 900, control="full")], 20)
    assert record["pays_after"] == pays
    assert payoff_sentence(record).endswith(f"after {pays} training{'s' * (pays > 1)}.")


def test_the_whole_pool_is_told_from_random_rows_where_it_was_not_trained_on() -> None:
    """Random rows took 60 for 4 of 20 rows, so the whole takes about 300."""
    entries = [measured("mine", 4, 100, cost=500), measured("random", 4, 50, 70, control="random", draws=True)]
    (record,) = payoff(entries, 20)
    assert (record["whole_flops"], record["whole_measured"], record["pays_after"]) == (300, False, 3)
    assert "takes about 300 FLOP" in payoff_sentence(record)


def test_a_subset_as_dear_as_the_pool_never_pays() -> None:
    (record,) = payoff([measured("mine", 20, 900, cost=1), measured("full", 20, 900, control="full")], 20)
    assert record["pays_after"] is None and payoff_sentence(record).endswith("no training is saved.")


def test_what_is_not_known_is_not_told() -> None:
    alone, file = (
        payoff([measured("mine", 4, 100, cost=5)], 20),
        payoff([measured("mine", 4, 2.5e9), measured("full", 20, 9e15, control="full")], 20),
    )
    assert payoff_sentence(alone[0]) == "mine: one training takes 100 FLOP (0 s), choosing took 5 FLOP (7 s)."
    assert payoff_sentence(file[0]) == (
        "mine: one training takes 2.5 GFLOP (2,500,000 s); one training on the whole pool takes 9 PFLOP."
    )
    assert alone[0]["pays_after"] is file[0]["pays_after"] is file[0]["select_flops"] is alone[0]["whole_flops"] is None


def test_only_what_was_trained_counts() -> None:
    entries = [
        measured("shown", 4, 100, cost=1, by="icl"), measured("initial", 0, 1, control="initial"),
        measured("full", 20, 1, control="full", by="icl"),
    ]  # fmt: skip
    assert payoff(entries, 20) == []
