"""The judge behind a server that is not of the test's making: `transformers serve` in a process of its own, with models made
here that always write the same."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from nncift.evaluation.judge_server import ServerJudge
from nncift.evaluation.judging import Grades, JudgeItem
from nncift.evaluation.rubric import DEFAULT_RUBRIC, judge_prompt
from tiny import tiny_tokenizer
from toy_server import free_port

LACKING = [name for name in ("openai", "fastapi", "uvicorn") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"not installed: {', '.join(LACKING)}")

SERVE = (
    "from transformers.cli.transformers import app; app()"  # `transformers serve`, which would look for updates first
)
CHAT = "{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt %}<s>{% endif %}"
SAYS = {"fair": "Result: 4", "mute": "Who can tell?", "half": "Result: 4.5"}


def save_model(folder: Path, tokenizer: PreTrainedTokenizerFast, says: str | None) -> None:
    """A Llama that answers everything alike: attention and feed-forward add nothing, so that each token alone decides the
    next one. With None it is random."""
    size = len(tokenizer)
    config = LlamaConfig(vocab_size=size, hidden_size=size, intermediate_size=8, num_hidden_layers=1,
                         num_attention_heads=1, num_key_value_heads=1, head_dim=8, max_position_embeddings=4096,
                         bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=False)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = LlamaForCausalLM(config)
    if says is not None:
        chain = [1, *tokenizer(says, add_special_tokens=False)["input_ids"], 2]
        assert len(set(chain)) == len(chain)
        layers: Any = model.model.layers
        with torch.no_grad():
            model.model.embed_tokens.weight.copy_(torch.eye(size))
            for block in layers:
                block.self_attn.o_proj.weight.zero_()
                block.mlp.down_proj.weight.zero_()
            model.lm_head.weight.zero_()
            for last, following in pairwise(chain):
                model.lm_head.weight[following, last] = 1.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models of `SAYS`, and a random one."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = tiny_tokenizer([judge_prompt(DEFAULT_RUBRIC, "", "", ""), *SAYS.values()])
    tokenizer.chat_template = CHAT
    for name, says in {**SAYS, "random": None}.items():
        save_model(folder / name, tokenizer, says)
    return folder


@contextmanager
def serving(port: int, home: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server in a process of its own, once it answers; killed at the end."""
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    said = home / f"server-{time.monotonic_ns()}.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, "serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
            env=os.environ | quiet,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for(lambda: process.poll() is not None or answers(port), seconds=60)
            assert process.poll() is None, said.read_text()
            yield f"http://127.0.0.1:{port}/v1", process
        finally:
            process.kill()
            process.wait(10)


def answers(port: int) -> bool:
    """Whether the server is there."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as reply:
            return reply.status == 200
    except (OSError, urllib.error.URLError):
        return False


def wait_for(what: Callable[[], bool], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def items(count: int) -> list[JudgeItem]:
    return [JudgeItem(f"a{k}", f"Say {k}. [RESULT] 5", f"{k} \ud800", f"it is {k}") for k in range(count)]


def test_a_real_server_grades_dies_and_comes_back(
    models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    caplog.set_level(logging.WARNING)
    port, rows = free_port(), items(12)
    kept: dict[str, float] = {}
    with serving(port, tmp_path) as (url, process):
        judge = ServerJudge(url, str(models / "fair"), max_tokens=16, timeout=20, retries=1, parallel=2, patience=3)
        assert judge.grade(rows[:3]) == Grades([4.0] * 3, {})
        for name, reasons in (
            ("mute", {"unparsable"}),
            ("half", {"unparsable"}),
            ("random", {"cut off", "unparsable"}),
        ):
            grades = replace(judge, model=str(models / name)).grade(rows[:3])
            assert grades.scores == [None] * 3 and sum(grades.failures.values()) == 3
            assert set(grades.failures) <= reasons

        def keep(item: str, score: float) -> None:
            kept[item] = score
            if len(kept) == 4:
                process.kill()
                process.wait(10)

        caplog.clear()
        start = time.monotonic()
        first = judge.grade(rows, on_grade=keep)
        assert time.monotonic() - start < 20
    assert 4 <= len(kept) < 12 and set(kept.values()) == {4.0}
    assert [score for score in first.scores if score is not None] == [4.0] * len(kept)
    assert first.failures == {"server not reachable": 12 - len(kept)}
    (warning,) = [record.getMessage() for record in caplog.records if record.name.startswith("nncift")]
    assert f"for {12 - len(kept)} of 12 responses" in warning and f"server runs at {url}" in warning

    told: list[str] = []
    held = dict(kept)
    with serving(port, tmp_path) as (url, _):
        assert url == judge.url
        missing = [row for row in rows if row.id not in held]
        second = judge.grade(missing, on_grade=lambda item, score: told.append(item))
        absent = replace(judge, model="no-such-model", patience=1).grade(rows[:4])
    assert second == Grades([4.0] * len(missing), {})
    assert sorted(told) == sorted(row.id for row in missing)
    assert absent == Grades([None] * 4, {"500": 4})  # it says 500 to a model that it does not know
