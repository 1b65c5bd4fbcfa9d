"""Answers are scored where they stand, graded once each, and asked for again only where a grade is missing."""

from __future__ import annotations

import json
import shutil
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from nncift.errors import ConfigError, MissingExtraError, ModelError, RunError
from nncift.evaluation import finetuning
from nncift.evaluation.answering import AnswerMetrics
from nncift.evaluation.judge_local import LocalJudge
from nncift.evaluation.judge_server import ServerJudge
from nncift.evaluation.judging import Grades, JudgeItem
from nncift.evaluation.tools import Tools
from nncift.lm.load import model_fingerprint
from nncift.progress import Silent
from nncift.run import RunFolder
from teaching import rows
from toy_evaluation import TEST, Toy

URL = "http://127.0.0.1:9/v1"
TESTED = rows(("river?", "the river in france"), ("add?", "two numbers"), ("rain?", "write the rain"))


@dataclass
class FakeJudge:
    """Grades by the length of an answer; knows no grade for some, and can die.

    Attributes:
        holes: answers without a grade.
        dies: after so many grades.
        asked: every item, call by call.
    """

    holes: set[str] = field(default_factory=set)
    dies: int | None = None
    asked: list[list[JudgeItem]] = field(default_factory=list)
    fingerprint: str = "f" * 64

    def grade(self, items: Sequence[JudgeItem], *, on_grade: Any, on_progress: Any) -> Grades:
        self.asked.append(list(items))
        scores: list[float | None] = []
        for number, item in enumerate(items):
            if number == self.dies:
                raise KeyboardInterrupt
            scores.append(None if item.response in self.holes else 1.0 + len(item.response) % 5)
            if scores[-1] is not None:
                on_grade(item.id, scores[-1])
            on_progress(1)
        missing = scores.count(None)
        return Grades(scores, {"unparsable": missing} if missing else {})


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    with closing(RunFolder(tmp_path / "out")) as opened:
        yield opened


def metrics_of(toy: Toy, folder: RunFolder, judge: FakeJudge | None = None, **more: Any) -> AnswerMetrics:
    config = toy.config("out", metrics="judge", judge_model="judge", **more) if judge else toy.config("out", **more)
    tools = Tools(config, Silent())
    if judge:
        tools.judge = lambda: judge
    return AnswerMetrics(config, tools, folder)


def test_scores_stand_at_their_rows_and_none_where_there_is_no_answer(toy: Toy, folder: RunFolder) -> None:
    found = metrics_of(toy, folder, metrics="loss,rouge,bge").scores(TESTED, ["the river", None, "write the rain"])
    assert list(found) == ["rouge1", "rouge2", "rougeL", "similarity"]
    assert found["rouge1"] == [pytest.approx(2 * 2 / 6), None, 1.0]
    assert found["similarity"][1] is None and found["similarity"][2] == pytest.approx(1.0, abs=1e-6)
    nothing = metrics_of(toy, folder, metrics="loss,rouge,bge").scores(TESTED, [None, None, None])
    assert nothing == {name: [None] * 3 for name in ("rouge1", "rouge2", "rougeL", "similarity")}
    assert metrics_of(toy, folder, metrics="loss").scores(TESTED, ["a", "b", "c"]) == {}


def grade(metrics: AnswerMetrics, *every: Sequence[str | None]) -> list[list[float | None]]:
    metrics.grade(TESTED, every)
    return [metrics.scores(TESTED, answers)["judge"] for answers in every]


def test_equal_answers_to_a_row_are_graded_once(toy: Toy, folder: RunFolder) -> None:
    judge = FakeJudge()
    first, second = ["yes", "yes", None], ["yes", "no", "yes"]
    assert grade(metrics_of(toy, folder, judge), first, second) == [[4.0, 4.0, None], [4.0, 3.0, 4.0]]
    (asked,) = judge.asked
    wanted = {("river?", "yes"), ("add?", "yes"), ("add?", "no"), ("rain?", "yes")}
    assert {(item.instruction, item.response) for item in asked} == wanted and len(asked) == 4
    assert {item.reference for item in asked} == {row.response for row in TESTED}
    assert len({item.id for item in asked}) == 4


def test_a_rerun_asks_only_for_holes_and_a_death_loses_none(toy: Toy, folder: RunFolder) -> None:
    answers = ["yes", "perhaps", "no"]
    dying = FakeJudge(dies=2)
    with pytest.raises(KeyboardInterrupt):
        grade(metrics_of(toy, folder, dying), answers)
    lame = metrics_of(toy, folder, lame_judge := FakeJudge(holes={dying.asked[0][2].response}))
    (scores,) = grade(lame, answers)
    assert [item.id for item in lame_judge.asked[0]] == [dying.asked[0][2].id]
    assert scores.count(None) == 1
    assert lame.notes["judge"].startswith("1 of 3 answers have no grade (1 unparsable)")
    whole = metrics_of(toy, folder, judge := FakeJudge())
    (scores,) = grade(whole, answers)
    assert len(judge.asked) == 1 and len(judge.asked[0]) == 1 and scores == [4.0, 3.0, 3.0] and whole.notes == {}
    done = metrics_of(toy, folder, idle := FakeJudge())
    assert grade(done, answers) == [scores] and idle.asked == []
    other = metrics_of(toy, folder, another := FakeJudge(fingerprint="0" * 64))
    assert grade(other, answers) == [scores] and len(another.asked[0]) == 3


def test_without_the_metric_nobody_is_asked(toy: Toy, folder: RunFolder) -> None:
    metrics = metrics_of(toy, folder, metrics="rouge")
    metrics.grade(TESTED, [["a", "b", "c"]])
    assert not (folder.path / "grades").exists()


@pytest.mark.parametrize(
    ("package", "options", "extra"),
    [
        ("rouge_score", {"metrics": "rouge"}, "evaluate"),
        ("openai", {"metrics": "judge", "judge": URL, "judge_model": "x"}, "judge"),
    ],
)
def test_a_missing_package_is_told_before_anything_is_trained(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, package: str, options: dict[str, Any], extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"{package}.rouge_scorer", raising=False)
    monkeypatch.setattr(finetuning, "attach", None)
    with pytest.raises(MissingExtraError, match=rf'pip install "nncift\[{extra}\]"'):
        toy.evaluate("out", **options)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"judge": "ftp://judge", "judge_model": "x"}, ConfigError, "address"),
        ({"judge": "http://me:key@judge/v1", "judge_model": "x"}, ConfigError, "NNCIFT_JUDGE_KEY"),
        ({"judge_model": "./nowhere"}, ModelError, "no model folder at './nowhere'"),
    ],
)
def test_a_judge_that_cannot_be_is_told_before_anything_is_trained(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], error: type[Exception], told: str
) -> None:
    monkeypatch.setattr(finetuning, "attach", None)
    with pytest.raises(error, match=told):
        toy.evaluate("out", metrics="judge", **options)


def test_grades_from_end_to_end(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers without a grade are counted, never scored; the same command asks for them again, and for nothing else."""
    judge = FakeJudge()
    monkeypatch.setattr(Tools, "judge", lambda self: judge)
    monkeypatch.setattr(Tools, "refuse_judge", lambda self: None)
    options = {"metrics": "judge", "judge_model": str(toy.model), "controls": "initial", "by": "icl"}
    whole = toy.evaluate("whole", **options)
    assert {(record["metric"], record["n"], record["n_scored"]) for record in whole.records} == {("judge", TEST, TEST)}
    hole = judge.asked[0][0].response
    judge = FakeJudge(holes={hole})
    lame = toy.evaluate("lame", **options)
    missing = [item for item in judge.asked[0] if item.response == hole]
    assert sum(record["n_scored"] for record in lame.records) < 2 * TEST
    assert lame.notes["judge"].startswith(f"{len(missing)} of ")
    judge = FakeJudge()
    monkeypatch.setattr("nncift.evaluation.tools.load_language_model", None)
    again = toy.evaluate("lame", **options)
    assert judge.asked == [missing] and again.records == whole.records and "judge" not in again.notes


def test_a_local_judge_is_found_wanting_by_its_tokenizer_alone(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its context is its own model's, not --max-length, and what to change is --judge-model."""
    monkeypatch.setattr("nncift.evaluation.tools.load_language_model", None)
    judged = {"metrics": "judge", "judge_model": str(toy.model), "by": "icl"}
    with pytest.raises(ConfigError, match=r"context of 1,024 tokens leaves no room for a response .* --judge-model"):
        toy.evaluate("out", **judged, max_length=99)
    with pytest.raises(ModelError, match="--quantize 4bit does not apply"):
        toy.evaluate("out", **judged | {"judge_model": "judge.gguf"}, quantize="4bit")
    longer(toy.model, 8192)
    tools = Tools(toy.config("out", **judged, max_length=99), Silent())
    tools.refuse_judge()
    core = json.loads((toy.model / "tokenizer.json").read_text())
    core["model"]["vocab"] = {f"no {word}" if word in "34" else word: k for word, k in core["model"]["vocab"].items()}
    (toy.model / "tokenizer.json").write_text(json.dumps(core))
    with pytest.raises(ConfigError, match=r"one token each .* Use another --judge-model"):
        tools.refuse_judge()


def longer(model: Path, context: int) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": context}))


@pytest.mark.parametrize("same", [True, False])
def test_a_local_judge_has_its_own_context_and_the_memory_of_the_model_that_was_taught(toy: Toy, same: bool) -> None:
    longer(toy.model, 8192)
    other = Path(shutil.copytree(toy.model, toy.folder / "judge"))
    options = {"metrics": "judge", "judge_model": str(toy.model if same else other), "max_length": 99}
    tools = Tools(toy.config("out", **options), Silent())
    taught = weakref.ref(tools.lm.model)
    judge = tools.judge()
    assert isinstance(judge, LocalJudge) and judge.lm.max_length == 4096
    assert (taught() is not None) == same and (not same or tools.lm.max_length == 99)


def test_a_judge_in_four_bits_is_another_judge(toy: Toy) -> None:
    longer(toy.model, 8192)
    tools = Tools(toy.config("out", metrics="judge", judge_model=str(toy.model)), Silent())
    whole = tools.judge()
    assert isinstance(whole, LocalJudge)
    assert LocalJudge(replace(whole.lm, quantize="4bit")).fingerprint != whole.fingerprint


def test_a_server_judge_is_told_its_limit_and_temperature(toy: Toy) -> None:
    options = {"metrics": "judge", "judge": URL, "judge_model": "x"}
    judge = Tools(toy.config("out", **options), Silent()).judge()
    assert isinstance(judge, ServerJudge) and (judge.max_tokens, judge.temperature) == (1024, 0.0)
    judge = Tools(toy.config("out", **options, judge_tokens=99, judge_temperature=-1), Silent()).judge()
    assert isinstance(judge, ServerJudge) and (judge.max_tokens, judge.temperature) == (99, None)


def test_files_that_change_before_the_model_is_loaded_are_told(toy: Toy) -> None:
    tools = Tools(toy.config("out"), Silent())
    assert tools.fingerprint == model_fingerprint(str(toy.model))
    longer(toy.model, 8192)
    with pytest.raises(RunError, match="changed while the evaluation began"):
        tools.lm  # noqa: B018  # loads it
