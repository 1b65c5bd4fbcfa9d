"""Budgets in calls and in seconds: never more than was said, never fewer pairs for more, and one parser for every form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncift.config import SelectConfig
from nncift.errors import ConfigError
from nncift.estimator.budget import LabelBudget, parse_design, parse_labels
from nncift.estimator.design import pairs_to_label
from nncift.influence.base import work
from nncift.pipeline.affording import affordable
from nncift.pipeline.pace import Pace, pairs_in
from nncift.pipeline.preparing import prepare
from nncift.pipeline.setup import Setup
from toy_road import Corpus, make_corpus, save_model


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"), n=60, m=13, beta=20)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


def setup_of(corpus: Corpus, model: Path, **options: object) -> Setup:
    return prepare(SelectConfig.of(corpus.options(pool=str(corpus.pool), model=str(model), **options)))


@pytest.mark.parametrize(
    ("text", "kind", "amount"),
    [
        ("5000calls", "calls", 5000),
        ("1 call", "calls", 1),
        (" 300 Calls ", "calls", 300),
        ("600s", "seconds", 600),
        ("10min", "seconds", 600),
        ("1.5 h", "seconds", 5400),
        (".5h", "seconds", 1800),
    ],
)
def test_forms_of_calls_and_time(text: str, kind: str, amount: float) -> None:
    assert parse_labels(text) == LabelBudget(kind, amount)


@pytest.mark.parametrize(
    "text", ["0calls", "1.5calls", "-3s", "0min", "10m", "2hours", "calls", "s", "5%calls", "u=5s"]
)
def test_a_wrong_form_names_all_right_ones(text: str) -> None:
    with pytest.raises(ConfigError) as told:
        parse_labels(text)
    assert all(
        form in str(told.value) for form in ("all", "5%", "2000", "u=5%", "5000calls", "600s", "10min", "2h", "auto")
    )


@pytest.mark.parametrize("text", ["50calls", "10min"])
def test_a_design_alone_does_not_know_what_a_pair_costs(text: str) -> None:
    with pytest.raises(ConfigError, match="take an influence whose price is known"):
        pairs_to_label(parse_labels(text), 7, 9, rng=np.random.default_rng(0))
    with pytest.raises(ConfigError, match="continues from labels by a fitted estimator"):
        pairs_to_label(parse_labels("9"), 7, 9, rng=np.random.default_rng(0), design=parse_design("adaptive"))


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=300), st.floats(0, 900), st.floats(0, 900))
def test_the_most_pairs_that_fit(prices: list[float], amount: float, more: float) -> None:
    total = np.concatenate([[0.0], np.cumsum(prices)])

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(count), np.arange(count)

    def buy(what: float) -> int:
        return affordable(draw, lambda pairs: float(total[len(pairs[0])]), what, len(prices))

    few, many = sorted((amount, amount + more))
    best = int(np.searchsorted(total, few, side="right")) - 1
    assert buy(few) == best and buy(few) <= buy(many)


@pytest.mark.parametrize("influence", ["delift", "less", "rds", "selectit"])
@pytest.mark.parametrize("design", ["auto", "spread", "adaptive"])
def test_calls_are_never_exceeded_and_buy_more_where_they_are_more(
    corpus: Corpus, model: Path, influence: str, design: str
) -> None:
    found = []
    for calls in (900, 1200, 2000) if influence == "less" else (260, 420, 900):  # its warm-up alone is 384
        setup = setup_of(corpus, model, influence=influence, labels=f"{calls}calls", design=design)
        assert setup.pairs is not None
        all_of_them = setup.draw(int(setup.labels.amount)) if setup.rounds else setup.pairs
        assert work(setup.calls(setup.asked_of(all_of_them))) <= calls
        count = len(all_of_them[0])
        if count < setup.open_pairs:
            more = setup.asked_of(setup.draw(count + 8))
            assert work(setup.calls(more)) > calls - 8 or count + 8 > setup.open_pairs  # a block grows by rows
        found.append(count)
    assert found == sorted(found) and found[0] >= 10
    assert found[-1] > found[0] or found[0] == setup.open_pairs


def test_calls_that_reach_for_nothing(corpus: Corpus, model: Path) -> None:
    with pytest.raises(ConfigError, match=r"1 calls are too few for one exact influence of `delift`, which takes 2\."):
        setup_of(corpus, model, influence="delift", labels="1call")
    with pytest.raises(ConfigError, match=r"`similarity` calls no language model"):
        setup_of(corpus, model, influence="similarity", labels="500calls")
    with pytest.raises(ConfigError, match="too few to teach an estimator"):
        setup_of(corpus, model, influence="delift", labels="9calls")


def test_seconds_buy_what_the_pace_allows(corpus: Corpus, model: Path) -> None:
    setup = setup_of(corpus, model, influence="delift", labels="600s")
    pace, found = Pace(probe=0.5, target=0.2, pair=0.25), []
    for seconds in (1.5, 7, 31.4, 60, 90, 400):
        found.append(pairs_in(setup, pace, seconds))
        assert pace.seconds(setup, setup.asked_of(setup.draw(found[-1]))) <= 0.9 * (seconds - 0.5)
    assert found == sorted(set(found)) and found[-1] == setup.open_pairs


def test_seconds_that_the_probe_has_eaten(corpus: Corpus, model: Path) -> None:
    setup = setup_of(corpus, model, influence="delift", labels="3s")
    with pytest.raises(ConfigError, match=r"3 s are too few: timing a few took 2\.9 s"):
        pairs_in(setup, Pace(probe=2.9, pair=0.3), 3)
