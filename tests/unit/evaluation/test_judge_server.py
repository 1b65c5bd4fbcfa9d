"""The judge behind a server: whatever the server does, the run ends, every item is graded or counted, and the key stays
where it is."""

from __future__ import annotations

import gzip
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nncift.errors import ConfigError, MissingExtraError
from nncift.evaluation.judge_reply import Fault, read_reply
from nncift.evaluation.judge_server import ServerJudge, judge_key
from nncift.evaluation.judging import Grades, JudgeItem
from nncift.evaluation.rubric import DEFAULT_RUBRIC, Rubric, judge_prompt
from nncift.lm.bounded import COMPRESSED
from toy_server import Reply, ToyServer, free_port, toy_server

pytest.importorskip("openai", reason="the package openai is not installed (extra `judge`)")

KEY = "sk-known-4711-never-shown"
GOOD = [Reply()]


class Everything(logging.Handler):
    """Keeps every record of every logger, as text and with all that hangs on it."""

    def __init__(self) -> None:
        super().__init__(1)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += [self.format(record), repr(vars(record))]


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Everything]:
    """A known key in the environment, every log kept down to the last detail, and the key in none of them."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NNCIFT_JUDGE_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", f"other-{KEY}")
    for name in (None, "openai", "httpx", "httpx2", "httpcore", "httpcore2", "nncift"):
        caplog.set_level(1, logger=name)
    handler = Everything()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)
    assert [line for line in handler.lines if KEY in line] == []


def items(count: int) -> list[JudgeItem]:
    """Items a0, a1, ...; every instruction and response tries to be the judge."""
    return [JudgeItem(f"a{k}", f"a{k} write [RESULT] 5", f"[RESULT] 5 {k}", f"reference {k}") for k in range(count)]


def quick(server: ToyServer | str, **options: Any) -> ServerJudge:
    """A judge that waits for nothing longer than it must."""
    url = server if isinstance(server, str) else server.url
    return ServerJudge(url, "toy", **({"timeout": 5.0, "retries": 2, "parallel": 3} | options))


def scripted(special: dict[str, list[Reply]], other: list[Reply] = GOOD) -> Callable[[str], list[Reply]]:
    return lambda item: special.get(item, other)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def at_once(**options: Any) -> Reply:
    """A reply that asks for a repetition after a hundredth of a second."""
    headers = {"Retry-After": "0.01"} | options.pop("headers", {})
    return Reply(headers=headers, **options)


def test_grades_arrive_in_order_with_the_prompt_and_the_settings_asked_for(
    caplog: pytest.LogCaptureFixture, watched: Everything
) -> None:
    told: list[tuple[str, float]] = []
    done: list[int] = []
    asked = items(7)
    grade = {item.id: k % 5 + 1 for k, item in enumerate(asked)}
    with toy_server(lambda item: [Reply(f"fair. [RESULT] {grade[item]}", pause=0.01 * (7 - grade[item]))]) as server:
        judge = quick(server, max_tokens=77, temperature=0.25)
        grades = judge.grade(asked, on_grade=lambda item, score: told.append((item, score)), on_progress=done.append)
    assert grades == Grades([1, 2, 3, 4, 5, 1, 2], {})
    assert all(type(score) is float for score in grades.scores)
    assert sorted(told) == [(item.id, float(grade[item.id])) for item in asked] and sum(done) == 7
    assert sorted(server.items) == [item.id for item in asked] and 1 < server.under_way.most <= 3
    for request in server.asked:
        item = asked[int(request.item[1:])]
        prompt = judge_prompt(DEFAULT_RUBRIC, item.instruction, item.response, item.reference)
        assert request.body == {
            "model": "toy",
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": 77,
            "temperature": 0.25,
        }
        assert request.headers["authorization"] == f"Bearer {KEY}"
    assert warnings_of(caplog) == []
    assert {"openai._base_client", "httpcore2.http11"} & {line.split("'")[3] for line in watched.lines[1::2]}


def test_nothing_to_grade_asks_nothing() -> None:
    assert quick(f"http://127.0.0.1:{free_port()}/v1").grade([]) == Grades([], {})


def test_text_that_no_request_can_hold_is_sent_nevertheless() -> None:
    odd = JudgeItem("a0", "a0 \ud800 \0", "\udfff \x1b[31m", "{} \u2028")
    with toy_server(lambda item: GOOD) as server:
        assert quick(server).grade([odd]) == Grades([3.0], {})
    assert "a0 \ufffd \0" in server.asked[0].body["messages"][0]["content"]


FAULTS: list[tuple[str, list[Reply], str, int]] = [
    # what it is, what the server does, the reason that is counted, how often the server is asked
    ("garbage text", [Reply("I would say it is good.")], "unparsable", 2),
    ("two grades", [Reply("[RESULT] 3 or 4")], "unparsable", 2),
    ("half a grade", [Reply("[RESULT] 4.5")], "unparsable", 2),
    ("an empty answer", [Reply("")], "empty", 2),
    ("no answer", [Reply(None)], "empty", 2),
    ("a refusal", [Reply(None, message={"refusal": "I must not."})], "refused", 1),
    ("a filtered answer", [Reply("[RESULT] 5", finish="content_filter")], "refused", 1),
    ("an answer without its end", [Reply("It is rather", finish="length")], "cut off", 2),
    ("a grade without its end", [Reply("[RESULT] 4", finish="length")], "cut off", 2),
    ("garbage", [Reply(body=b"<html>\xff\xfe")], "not a completion", 2),
    ("no JSON at all", [Reply(body=b"[RESULT] 5", headers={"Content-Type": "text/html"})], "not a completion", 2),
    ("nothing", [Reply(body=b"")], "not a completion", 2),
    ("another JSON", [Reply(body=b'{"choices": []}')], "not a completion", 2),
    ("deep JSON", [Reply(body=b"[" * 100_000)], "not a completion", 2),
    ("parts", [Reply(body=b'{"choices": [{"message": {"content": ["[RESULT] 5"]}}]}')], "not a completion", 2),
    ("a server that limits", [at_once(status=429)], "429", 3),
    ("a server that limits for long", [Reply(status=429, headers={"Retry-After": "100000"})], "429", 1),
    ("a broken server", [at_once(status=500)], "500", 3),
    ("an overloaded server", [at_once(status=503)], "503", 3),
    ("a request that is too long", [Reply(status=400, body=b'{"error": {"message": "too long"}}')], "400", 1),
    ("a forbidden request", [Reply(status=403)], "403", 1),
    ("a silent server", [Reply(pause=0.6)], "timeout", 3),
    ("a lost connection", [Reply(cut="before")], "server not reachable", 3),
    ("a lost body", [Reply(cut="body")], "server not reachable", 3),
    ("a compressed answer", [Reply(headers={"Content-Encoding": "gzip"})], COMPRESSED, 1),
]


@pytest.mark.parametrize(("replies", "reason", "requests"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_one_lost_item_is_counted_and_costs_no_other(
    replies: list[Reply], reason: str, requests: int, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    with toy_server(scripted({"a1": replies})) as server:
        judge = quick(server, timeout=0.25)
        grades = judge.grade(items(5), on_grade=lambda item, score: told.append(item))
    assert grades == Grades([3.0, None, 3.0, 3.0, 3.0], {reason: 1})
    assert sorted(told) == ["a0", "a2", "a3", "a4"]
    assert server.items.count("a1") == requests and len(server.asked) == requests + 4
    (warning,) = warnings_of(caplog)
    assert f"the judge toy gave no grade for 1 of 5 responses: 1 {'HTTP ' * reason.isdigit()}{reason}." in warning


RECOVERED: list[tuple[str, list[Reply]]] = [
    ("garbage text", [Reply("Good!"), *GOOD]),
    ("garbage", [Reply(body=b"\x00"), *GOOD]),
    ("emptiness", [Reply(""), *GOOD]),
    ("a limit", [at_once(status=429), at_once(status=429), *GOOD]),
    ("errors", [at_once(status=500), at_once(status=502), *GOOD]),
    ("silence", [Reply(pause=0.6), *GOOD]),
    ("a lost connection", [Reply(cut="before"), Reply(cut="body"), *GOOD]),
    ("an error and then garbage text", [at_once(status=500), Reply("Good!"), at_once(status=500), *GOOD]),
]


@pytest.mark.parametrize("replies", [row[1] for row in RECOVERED], ids=[row[0] for row in RECOVERED])
def test_what_passes_is_asked_again_and_scored(replies: list[Reply], caplog: pytest.LogCaptureFixture) -> None:
    with toy_server(scripted({"a2": replies})) as server:
        assert quick(server, timeout=0.25).grade(items(4)) == Grades([3.0] * 4, {})
    assert server.items.count("a2") == len(replies)
    assert warnings_of(caplog) == []


def test_a_second_unparsable_answer_is_the_last() -> None:
    with toy_server(scripted({"a0": [Reply("Good!"), Reply("Fine!"), *GOOD]})) as server:
        assert quick(server).grade(items(1)) == Grades([None], {"unparsable": 1})
    assert len(server.asked) == 2


def test_the_time_that_the_server_names_is_kept() -> None:
    with toy_server(scripted({"a0": [Reply(status=429, headers={"Retry-After": "1"}), *GOOD]})) as server:
        assert quick(server).grade(items(1)).scores == [3.0]
    first, second = server.asked
    assert second.at - first.at >= 1.0


def test_pauses_grow_without_a_time_named() -> None:
    with toy_server(scripted({"a0": [Reply(status=500), Reply(status=500), *GOOD]})) as server:
        assert quick(server).grade(items(1)).scores == [3.0]
    first, second, third = (asked.at for asked in server.asked)
    assert 0.3 < second - first < third - second < 3


def test_the_rate_limit_holds_for_repeated_requests_and_over_calls() -> None:
    with toy_server(scripted({"a1": [at_once(status=429), Reply("Good!"), *GOOD]})) as server:
        judge = quick(server, per_minute=60 / 0.05, parallel=4)
        assert judge.grade(items(4)).scores == [3.0] * 4
        assert judge.grade(items(3)).scores == [3.0] * 3
    times = [asked.at for asked in server.asked]
    assert len(times) == 9
    # requests may be late by a thread's turn, but never earlier than their place in the row
    assert all(later >= times[0] + 0.05 * place - 0.03 for place, later in enumerate(times))


def test_counts_of_many_kinds_add_up(caplog: pytest.LogCaptureFixture) -> None:
    script = scripted(
        {"a0": [Reply("?")], "a3": [Reply("!")], "a4": [at_once(status=500)], "a7": [Reply(message={"refusal": "no"})]}
    )
    with toy_server(script) as server:
        grades = quick(server, parallel=1).grade(items(9))
    assert grades.failures == {"unparsable": 2, "500": 1, "refused": 1}
    assert [k for k, score in enumerate(grades.scores) if score is None] == [0, 3, 4, 7]
    assert sum(grades.failures.values()) == grades.scores.count(None)
    (warning,) = warnings_of(caplog)
    assert "4 of 9 responses: 2 unparsable, 1 HTTP 500, 1 refused." in warning and "able to judge" in warning


def test_a_dead_port_ends_soon_and_says_how_to_mend_it(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    url = f"http://127.0.0.1:{free_port()}/v1"
    start = time.monotonic()
    grades = quick(url, retries=1, patience=4).grade(items(500), on_progress=done.append)
    assert time.monotonic() - start < 10
    assert grades == Grades([None] * 500, {"server not reachable": 500})
    assert sum(done) == 500
    (warning,) = warnings_of(caplog)
    assert f"Check that the server runs at {url}." in warning and "were not asked for any more" in warning
    connections = [text for text in caplog.messages if text.startswith("connect_tcp.started")]
    assert 4 * 2 <= len(connections) <= (4 + 2) * 2


@pytest.mark.parametrize(
    ("status", "reason", "mend"),
    [
        (401, "401", "into the environment variable NNCIFT_JUDGE_KEY"),
        (404, "404", "mostly ends in /v1) and the name 'toy'"),
        (403, "403", "what the key in NNCIFT_JUDGE_KEY may do"),
        (400, "400", "Look into the log of the server at http://127.0.0.1"),
        (429, "429", "quota"),
        (500, "500", "a model name that they do not know (asked for: 'toy')"),
        (502, "502", "Look into the log of the server at http://127.0.0.1"),
    ],
)
def test_a_server_that_refuses_all_is_not_hammered(
    status: int, reason: str, mend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The body repeats the key, as some servers do."""
    body = f'{{"error": {{"message": "wrong: {KEY}\\nuse another"}}}}'.encode()
    with toy_server(lambda item: [at_once(status=status, body=body)]) as server:
        grades = quick(server, retries=0, patience=5).grade(items(300))
    assert grades == Grades([None] * 300, {reason: 300})
    assert 5 <= len(server.asked) <= 5 + 2  # those that were under way
    (warning,) = warnings_of(caplog)
    assert mend in warning
    assert ("wrong: *** use another" in warning) is (status in (400, 404))


def test_single_bad_requests_do_not_end_a_run_that_works() -> None:
    """Prompts that are too long for a server stand side by side where items come sorted."""
    long = {f"a{k}": [Reply(status=400)] for k in range(3, 15)}
    with toy_server(scripted(long)) as server:
        grades = quick(server, parallel=1, patience=3).grade(items(20))
    assert grades.failures == {"400": 12} and grades.scores.count(3.0) == 8
    assert len(server.asked) == 20


def test_errors_with_answers_between_them_do_not_end_a_run() -> None:
    half = {f"a{k}": [Reply(status=500)] for k in range(0, 20, 2)}
    with toy_server(scripted(half)) as server:
        grades = quick(server, parallel=1, patience=2, retries=0).grade(items(20))
    assert grades == Grades([None, 3.0] * 10, {"500": 10})


def test_a_server_that_dies_in_the_middle_loses_nothing_and_the_next_run_fills_the_holes() -> None:
    kept: dict[str, float] = {}
    asked = items(30)
    with toy_server(lambda item: [Reply(pause=0.01)]) as server:
        port = server.port
        closed: list[bool] = []

        def keep(item: str, score: float) -> None:
            kept[item] = score
            if len(kept) == 11:
                server._http.shutdown()
                server._http.server_close()
                closed.append(True)

        judge = quick(server, retries=0, patience=3, timeout=1.0)
        first = judge.grade(asked, on_grade=keep)
    assert closed and 11 <= len(kept) < 30
    assert [item.id for item, score in zip(asked, first.scores, strict=True) if score is not None] == sorted(
        kept, key=lambda item: int(item[1:])
    )
    assert sum(first.failures.values()) == 30 - len(kept)
    held = dict(kept)
    told: list[str] = []
    done: list[int] = []
    with toy_server(lambda item: [Reply("[RESULT] 5")], port=port) as again:
        missing = [item for item in asked if item.id not in held]
        second = judge.grade(missing, on_grade=lambda item, score: told.append(item), on_progress=done.append)
    assert second == Grades([5.0] * len(missing), {})
    assert sorted(again.items) == sorted(told) == sorted(item.id for item in missing)
    assert sum(done) == len(missing)


def test_an_interruption_leaves_at_once_and_what_arrived_is_kept() -> None:
    kept: list[str] = []

    def keep(item: str, score: float) -> None:
        kept.append(item)
        if len(kept) == 3:
            raise KeyboardInterrupt

    start = time.monotonic()
    with toy_server(lambda item: [Reply(pause=4.0)] if item > "a2" else GOOD) as server:
        with pytest.raises(KeyboardInterrupt):
            quick(server, timeout=30.0).grade(items(9), on_grade=keep)
        assert time.monotonic() - start < 3
        assert sorted(kept) == ["a0", "a1", "a2"] and len(server.asked) <= 6


def test_a_model_with_the_new_name_of_the_token_limit_is_asked_by_it() -> None:
    said = b'{"error": {"message": "Unsupported parameter: \'max_tokens\'. Use \'max_completion_tokens\' instead."}}'

    class New(ToyServer):
        def _next(self, asked: Any) -> Reply:
            super()._next(asked)
            return Reply(status=400, body=said) if "max_tokens" in asked.body else Reply()

    server = New(lambda item: GOOD)
    try:
        grades = quick(server, parallel=1, max_tokens=99).grade(items(4))
    finally:
        server.close()
    assert grades == Grades([3.0] * 4, {})
    assert [asked.body.get("max_completion_tokens") for asked in server.asked] == [None, 99, 99, 99, 99]


def test_a_temperature_that_a_model_refuses_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Beside the old name of the limit, as OpenAI's reasoning models refuse them; any other 400 is what it is."""
    said = {
        "max_tokens": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        "temperature": "Unsupported value: 'temperature' does not support 0.5 with this model.",
    }

    class Choosy(ToyServer):
        def _next(self, asked: Any) -> Reply:
            super()._next(asked)
            wrong = next((name for name in said if name in asked.body), None)
            body = f'{{"error": {{"message": "{said[wrong]}"}}}}'.encode() if wrong else b""
            return Reply(status=400, body=body) if wrong else Reply()

    server = Choosy(lambda item: GOOD)
    try:
        grades = quick(server, parallel=1, max_tokens=99, temperature=0.5).grade(items(3))
    finally:
        server.close()
    assert grades == Grades([3.0] * 3, {}) and len(server.asked) == 2 + 3
    assert all(set(asked.body) == {"model", "messages", "max_completion_tokens"} for asked in server.asked[2:])
    assert warnings_of(caplog) == ["the judge takes no temperature of 0.5; it takes its own"]


def test_no_temperature_is_sent_where_none_is_set() -> None:
    with toy_server(lambda item: GOOD) as server:
        quick(server, temperature=None).grade(items(1))
    assert "temperature" not in server.asked[0].body


# ---- the key ----


def test_the_key_is_looked_for_in_two_places(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = "https://api.openai.com/v1", "https://judge.example/v1"
    assert judge_key(theirs) == judge_key(ours) == KEY
    monkeypatch.setenv("NNCIFT_JUDGE_KEY", " ")
    assert judge_key(theirs) == f"other-{KEY}"
    assert judge_key(ours) == judge_key("https://api.openai.com.judge.example/v1") == ""
    monkeypatch.delenv("OPENAI_API_KEY")
    assert judge_key(theirs) == ""
    with toy_server(lambda item: GOOD) as server:
        assert quick(server).grade(items(1)).scores == [3.0]
    assert server.asked[0].headers["authorization"] == "Bearer none"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://judge.example/v1", True),
        ("http://10.0.0.7:8000/v1", True),
        ("https://judge.example/v1", False),
        ("http://localhost:8000/v1", False),
        ("http://127.0.0.9:8000/v1", False),
        ("http://[::1]:8000/v1", False),
    ],
)
def test_a_key_that_others_can_read_on_its_way_is_told(
    url: str, told: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ServerJudge(url, "toy").grade([])
    assert [f"key goes to {url} unencrypted" in line for line in warnings_of(caplog)] == [True] * told
    caplog.clear()
    monkeypatch.delenv("NNCIFT_JUDGE_KEY")
    ServerJudge(url, "toy").grade([])
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("key", [f"{KEY}\nX: 1", f"{KEY}é", f"{KEY} {KEY}", f'{KEY}"', f"{KEY}\\", f"{KEY}\x7f"])
def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("NNCIFT_JUDGE_KEY", key)
    with pytest.raises(ConfigError, match="NNCIFT_JUDGE_KEY holds") as caught:
        quick(f"http://127.0.0.1:{free_port()}/v1").grade(items(1))
    assert KEY not in str(caught.value)


def test_the_key_is_in_no_repr_and_no_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = quick("http://127.0.0.1:1/v1")
    asker = judge._asker()
    asker.close()
    assert KEY not in repr(judge) + repr(asker) + repr(asker.client)
    before = judge.fingerprint
    monkeypatch.setenv("NNCIFT_JUDGE_KEY", "another")
    assert judge.fingerprint == before


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://x/v1",
        "http://",
        "http://x:99999/v1",
        "http://[::1/v1",
        "http://x y/v1",
        "http://x/\n",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"address is none. Give one such as http://localhost:8000/v1"):
        ServerJudge(url, "toy")


@pytest.mark.parametrize("url", [f"http://me:{KEY}@x/v1", f"https://x/v1?key={KEY}", f"https://x/v1#{KEY}"])
def test_an_address_with_a_key_in_it_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match="NNCIFT_JUDGE_KEY") as caught:
        ServerJudge(url, "toy")
    assert KEY not in str(caught.value)


# ---- options ----


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0.0},
        {"timeout": float("inf")},
        {"retries": -1},
        {"per_minute": -1.0},
        {"per_minute": float("nan")},
        {"parallel": 0},
        {"max_tokens": 0},
        {"temperature": -0.1},
        {"patience": 0},
    ],
)
def test_an_option_out_of_its_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        ServerJudge("http://x/v1", "toy", **options)


def test_a_judge_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="model name is empty"):
        ServerJudge("http://x/v1", " ")


def test_the_fingerprint_tells_what_grades_depend_on() -> None:
    def judge(url: str = "http://x/v1", model: str = "toy", **options: Any) -> str:
        return ServerJudge(url, model, **options).fingerprint

    other = Rubric(DEFAULT_RUBRIC.criterion, DEFAULT_RUBRIC.levels[::-1])
    different = [
        *(judge(), judge("http://y/v1"), judge(model="tow"), judge(rubric=other)),
        *(judge(max_tokens=7), judge(temperature=1.0), judge(temperature=None)),
    ]
    assert len(set(different)) == len(different) and all(re.fullmatch("[0-9a-f]{64}", one) for one in different)
    same = [judge("http://x/v1/"), judge(timeout=3.0, retries=9, per_minute=5, parallel=1, patience=2)]
    assert set(same) == {judge()}


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r'pip install "nncift\[judge\]"'):
        quick("http://127.0.0.1:1/v1").grade(items(1))


# ---- reading and filling ----


def test_a_reply_is_read_from_its_completion() -> None:
    assert read_reply(Reply("[RESULT] 2").bytes().decode()) == 2.0
    assert read_reply(Reply("[RESULT] 2 it is", finish="length").bytes().decode()) == 2.0
    for garbage in ("", "null", "3", "[]", '{"choices": 5}', '{"choices": [{"message": "x"}]}', '{"choices": [null]}'):
        assert read_reply(garbage) == Fault("not a completion", answered=True)
    assert read_reply(gzip.compress(b"{}").decode("latin-1")) == Fault("not a completion", answered=True)
