"""Every wrong option is one sentence that says what is right."""

from __future__ import annotations

from typing import Any

import pytest

from nncift.errors import ConfigError
from nncift.evaluation.options import EvaluateConfig


def config(**more: Any) -> EvaluateConfig:
    return EvaluateConfig.of({"subset": ("a.jsonl",), "model": "toy", **more})


def test_lists_are_in_the_order_in_which_they_are_known_and_hold_each_word_once() -> None:
    found = config(by=" lora,icl ,lora", metrics="rouge,loss", controls="full,initial")
    assert found.routes == ("icl", "lora") and found.measures == ("loss", "rouge")
    assert found.beside == ("initial", "full") and config(controls="none").beside == () == config(controls="").beside
    assert len(config().beside) == 6 and config().routes == ("lora",) and config().measures == ("loss",)
    assert EvaluateConfig.of({"subset": "a.jsonl", "model": "toy"}).subset == ("a.jsonl",)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"by": "lra"}, "--by names 'lra'. Did you mean 'lora'"),
        ({"metrics": "loss,ruge"}, "--metrics names 'ruge'. Did you mean 'rouge'"),
        ({"controls": "randm"}, "--controls names 'randm'. Did you mean 'random'"),
        ({"controls": "none,random"}, "--controls names 'none'"),
        ({"by": ","}, "--by is empty"),
        ({"metrics": ""}, "--metrics is empty"),
        ({"subset": ()}, "no run folder or file of chosen rows"),
        ({"metrics": "judge"}, "--judge-model"),
        ({"sedes": 3}, "unknown option 'sedes'. Did you mean 'seeds'"),
        ({"nearest": "frst"}, "--nearest is 'frst'. Did you mean 'first'"),
        ({"decoding": "beam"}, "--decoding is 'beam'"),
        ({"quantize": "8bit"}, "--quantize is '8bit'. Did you mean '4bit'"),
        ({"half_subsets": 2}, "--half-subsets is 2; it must be at least 10"),
        *[({name: 0}, f"--{name.replace('_', '-')} is 0; it must be at least") for name in (
            "seeds", "draws", "rank", "epochs", "batch", "shots", "max_new_tokens", "max_length", "judge_parallel",
            "judge_tokens",
        )],
        ({"judge_rate": -1}, "--judge-rate is -1"),
        ({"seed": -1}, "--seed is -1"),
        *[({"dropout": value}, "--dropout") for value in (-0.1, 1.0, float("nan"))],
        *[({name: value}, "a finite number above 0") for name in ("alpha", "learning_rate", "judge_timeout")
          for value in (0.0, -1.0, float("inf"), float("nan"))],
        *[({"judge_temperature": value}, "--judge-temperature") for value in (float("inf"), float("nan"))],
        ({"seeds": "3"}, "--seeds is '3'"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_told(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**wrong)
    assert told in str(caught.value)


def test_python_numbers_are_taken() -> None:
    assert config(alpha=8, learning_rate=1).alpha == 8.0


@pytest.mark.parametrize("missing", ["subset", "model"])
def test_a_subset_and_a_model_are_needed(missing: str) -> None:
    given = {"subset": ("a",), "model": "toy"}
    del given[missing]
    with pytest.raises(ConfigError, match=f"missing option '{missing}'"):
        EvaluateConfig.of(given)
