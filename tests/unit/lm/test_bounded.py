"""A server that sends more than anybody can hold costs a bounded number of bytes and one clear sentence."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest

from nncift.errors import ModelError
from nncift.evaluation.judge_reply import TIMEOUT
from nncift.evaluation.judge_server import ServerJudge
from nncift.evaluation.judging import JudgeItem
from nncift.lm import bounded
from nncift.lm.bounded import COMPRESSED, MOST, TOO_LARGE
from nncift.lm.device import Placement
from nncift.lm.server import connect
from toy_flood import CHUNK, How, flood
from toy_road import save_model
from toy_server import Reply, toy_server

pytest.importorskip("openai", reason="openai is not installed")

PLACE = Placement("cpu", "float32", "a test", 256)
HOW = get_args(How)


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("served") / "model")


def said_of(how: str) -> str:
    return {"gzip": COMPRESSED, "headers": "does not answer"}.get(how, TOO_LARGE)


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("how", HOW)
def test_a_server_of_labels_is_read_up_to_a_bound(how: How, after: int, folder: Path) -> None:
    """At its first word, and once it has told its models."""
    with flood(how, after=after) as server:
        begun = time.monotonic()
        with pytest.raises(ModelError) as caught:
            connect(f"openai{server.url[4:]}/toy#tokenizer={folder}", PLACE, retries=5 * (how != "headers"))
    assert said_of(how) in str(caught.value) and server.url in str(caught.value)
    assert len(server.asked) == after + 1 and time.monotonic() - begun < 20  # it is not asked for the same again
    assert server.sent < MOST + 64 * CHUNK + (8 << 20)  # what lies in the buffers of the two ends


@pytest.mark.parametrize("how", HOW)
def test_a_judge_is_read_up_to_a_bound(how: How, caplog: pytest.LogCaptureFixture) -> None:
    items = [JudgeItem(f"a{k}", "ask", "say", "reference") for k in range(3)]
    with flood(how) as server:
        judge = ServerJudge(f"{server.url}/v1", "toy", retries=0, parallel=1, patience=2)
        grades = judge.grade(items)
    assert grades.scores == [None] * 3 and len(server.asked) == 2
    expected = "server not reachable" if how == "headers" else said_of(how)
    assert grades.failures == {expected: 3}
    assert f"3 {expected}" in caplog.text and server.url in caplog.text


def test_an_answer_of_exactly_the_bound_is_read_and_one_byte_more_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(Reply().bytes())
    for most, found in ((size, [3.0]), (size - 1, [None])):
        monkeypatch.setattr(bounded, "MOST", most)
        with toy_server(lambda item: [Reply()]) as server:
            assert ServerJudge(server.url, "toy", retries=0).grade([JudgeItem("a", "ask", "say", "r")]).scores == found


def test_an_answer_that_comes_byte_by_byte_is_given_up() -> None:
    """No byte is waited for as long as silence may last, and the whole would take long."""
    with toy_server(lambda item: [Reply(drip=0.1)]) as server:
        assert len(Reply().bytes()) * 0.1 > 15
        begun = time.monotonic()
        grades = ServerJudge(server.url, "toy", retries=1, timeout=1).grade([JudgeItem("a", "ask", "say", "r")])
    assert grades.failures == {TIMEOUT: 1} and len(server.asked) == 2
    assert time.monotonic() - begun < 10


def test_answers_are_asked_for_uncompressed() -> None:
    with toy_server(lambda item: [Reply()]) as server:
        ServerJudge(server.url, "toy").grade([JudgeItem("a", "ask", "say", "r")])
    assert server.asked[0].headers["accept-encoding"] == "identity"


CHILD = """
import json, resource, sys
from nncift.evaluation.judge_server import ServerJudge
from nncift.evaluation.judging import JudgeItem
import openai
resource.setrlimit(resource.RLIMIT_AS, ((used := int(open("/proc/self/statm").read().split()[0]) * 4096) + (1 << 30),) * 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
judge = ServerJudge(sys.argv[1], "toy", retries=0, parallel=4, patience=4)
grades = judge.grade([JudgeItem(str(k), "ask", "say", "r") for k in range(4)])
print(json.dumps([dict(grades.failures), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space as Linux has them")
@pytest.mark.parametrize("how", ["endless", "gzip", "error"])
def test_no_more_memory_than_the_bound_is_taken(how: How) -> None:
    with flood(how) as server:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, f"{server.url}/v1"], capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stderr
    failures, grown = json.loads(done.stdout)
    assert failures == {said_of(how): 4}
    assert grown * 1024 < 4 * 2 * MOST + (64 << 20)  # four answers at a time, each held in parts
