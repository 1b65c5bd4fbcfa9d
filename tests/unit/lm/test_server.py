"""A server of log-probabilities: how it is found, asked, asked again and given up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nncift.errors import ConfigError, MissingExtraError, ModelError
from nncift.ledger import Ledger
from nncift.lm import server as served
from nncift.lm.address import Served, read_served
from nncift.lm.device import Placement
from nncift.lm.dialects import DIALECTS
from nncift.lm.load import load_language_model, model_fingerprint
from nncift.lm.model import LanguageModel
from nncift.lm.score import score_responses
from nncift.lm.server import connect
from nncift.lm.tokens import Query
from nncift.recipe import full_model
from toy_road import save_model
from toy_scorer import ToyScorer, toy_scorer
from toy_server import free_port
from toys import WORDS, toy_lm, toy_queries, toy_tokenizer

pytest.importorskip("openai", reason="openai is not installed")

PLACE = Placement("cpu", "float32", "a test", 256)


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("served") / "model")


def connected(server: ToyScorer, *, retries: int = 2, timeout: float = 20, name: str | None = None) -> LanguageModel:
    return connect(name or server.model_name, PLACE, retries=retries, timeout=timeout, max_length=1000)


def pairs(count: int = 40) -> tuple[list[tuple[int, ...]], list[Query]]:
    """Some prefixes empty, some queries without a prompt of their own."""
    queries = toy_queries(count)
    prefixes = [(1, *range(5, 5 + k % 7)) if k % 3 else () for k in range(count)]
    bare = [Query((), query.response, False) if k % 3 == 1 else query for k, query in enumerate(queries)]
    return prefixes, bare


@pytest.mark.parametrize("speaks", ["vllm", "sglang"])
def test_scores_are_the_local_models_token_by_token(speaks: str, folder: Path) -> None:
    prefixes, queries = pairs()
    told: list[int] = []
    with toy_scorer(folder, speaks=speaks) as server:
        lm = connected(server)
        asked = len(server.scored)
        found = score_responses(lm, prefixes, queries, on_progress=told.append)
        assert len(server.scored) - asked == len(queries) == sum(told)
        assert 1 < server.under_way.most <= served.PARALLEL
    for values, expected in zip(found, score_responses(toy_lm(), prefixes, queries), strict=True):
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected, atol=1e-5)
    ledger = lm.meter.ledger
    assert ledger.lm_forwards == len(queries) and ledger.lm_backwards == ledger.flops == 0
    assert ledger.lm_tokens == sum(len(prefix) + len(query) for prefix, query in zip(prefixes, queries, strict=True))
    assert lm.weights == 0 and lm.model is None


def test_requests_are_those_that_the_two_servers_take(folder: Path) -> None:
    prefixes, queries = [(1, 7)], [Query((9,), (5, 6), False)]
    bodies = {}
    for speaks in ("vllm", "sglang"):
        with toy_scorer(folder, speaks=speaks) as server:
            score_responses(connected(server), prefixes, queries)
            bodies[speaks] = server.scored[-1].path, server.scored[-1].body
    body = {"model": "toy/model", "prompt": [1, 7, 9, 5, 6], "max_tokens": 1, "temperature": 0, "prompt_logprobs": 1}
    assert bodies["vllm"] == ("/v1/completions", body)
    sampling = {"max_new_tokens": 0, "temperature": 0}
    asked = {"input_ids": [1, 7, 9, 5, 6], "sampling_params": sampling, "return_logprob": True, "logprob_start_len": 2}
    assert bodies["sglang"] == ("/generate", asked)


@pytest.mark.parametrize("fault", [429, 500, 503, "cut"])
def test_what_fails_on_the_way_is_asked_again(fault: int | str, folder: Path) -> None:
    prefixes, queries = pairs(6)
    failed: set[str] = set()

    def once(number: int, request: Any) -> int | str | None:
        text = json.dumps(request.body)
        again = text in failed
        failed.add(text)
        return None if again or number == 1 else fault

    with toy_scorer(folder) as server:
        lm = connected(server)
        server.fault = once
        found = score_responses(lm, prefixes, queries)
    assert len(failed) == 6 and lm.meter.ledger.lm_forwards == 6
    for values, expected in zip(found, score_responses(toy_lm(), prefixes, queries), strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (500, r"is overloaded or failed \(HTTP 500\)\. What is labelled already is kept"),
        (429, r"is overloaded or failed \(HTTP 429\)"),
        (400, r'refused a request \(HTTP 400\): "busy"\.'),
        (403, r"wants a key \(HTTP 403\)\. Put it into the environment variable NNCIFT_SERVER_KEY"),
        ("cut", r"does not answer\. What is labelled already is kept.*Start it, or check the address"),
    ],
)
def test_what_fails_for_good_is_one_sentence(fault: int | str, message: str, folder: Path) -> None:
    with toy_scorer(folder) as server:
        lm = connected(server, retries=0)
        server.fault = lambda number, request: fault if number > 3 else None
        with pytest.raises(ModelError, match=message):
            score_responses(lm, *pairs(9))


def test_a_silent_server_is_given_up(folder: Path) -> None:
    with toy_scorer(folder) as server:
        lm = connected(server, retries=0, timeout=0.5)
        server.fault = lambda number, request: time.sleep(1.5)
        with pytest.raises(ModelError, match=r"took more than 0\.5 s to answer"):
            score_responses(lm, *pairs(2))


def test_no_server_there_is_one_sentence(folder: Path) -> None:
    name = f"openai://127.0.0.1:{free_port()}/x#tokenizer={folder}"
    with pytest.raises(ModelError, match=r"the server at http://127\.0\.0\.1:\d+ does not answer"):
        connect(name, PLACE, retries=0)


def test_an_unknown_name_is_answered_with_those_that_are_served(folder: Path) -> None:
    with toy_scorer(folder, name="toy/model") as server:
        for wrong, hint in (("toy/modle", r"Did you mean 'toy/model'\?"), ("q", r"Known: toy/model\.")):
            with pytest.raises(ModelError, match=rf"serves no model '{wrong}'\. {hint}"):
                connected(server, name=f"openai://{server.address}/{wrong}#tokenizer={folder}")
        assert server.scored == []


def test_a_server_without_prompt_log_probabilities_is_refused(folder: Path) -> None:
    with toy_scorer(folder, speaks="neither") as server, pytest.raises(ModelError, match="gives no prompt log-prob"):
        connected(server)
    with toy_scorer(folder) as server:
        server.fault = lambda number, request: 400
        with pytest.raises(ModelError, match=r"gives no prompt log-prob.*It says: .*HTTP 400"):
            connected(server)


def test_what_is_no_server_of_models_is_told(folder: Path) -> None:
    told = pytest.raises(ModelError, match="is no server of language models")
    with toy_scorer(folder, damage=lambda answer: ["hello"]) as server, told:
        connected(server)


def test_a_shorter_context_than_wanted_is_refused(folder: Path) -> None:
    with toy_scorer(folder, room=1000) as server:
        with pytest.raises(ModelError, match=r"takes 1,000 tokens.*Say --max-length 999"):
            connected(server)
        assert connect(server.model_name, PLACE, max_length=999).max_length == 999


def test_another_tokenizer_is_found_out(folder: Path, tmp_path: Path) -> None:
    other = toy_tokenizer()
    shifted = {word: (k + 7) % len(WORDS) for k, word in enumerate(WORDS)}
    from tokenizers import models

    other.backend_tokenizer.model = models.WordLevel(shifted, unk_token="<unk>")
    other.save_pretrained(tmp_path)
    with toy_scorer(folder) as server:
        name = f"openai://{server.address}/toy/model#tokenizer={tmp_path}"
        with pytest.raises(ModelError, match=r"splits text otherwise than http.*#tokenizer=HUB_ID_OR_FOLDER"):
            connected(server, name=name)
    with toy_scorer(folder, tokenizes=False) as server:
        assert connected(server).server is not None


def vllm(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Damages the prompt log-probabilities of an answer."""

    def damage(answer: Any) -> Any:
        if "choices" in answer:
            choice = answer["choices"][0]
            choice["prompt_logprobs"] = change(choice["prompt_logprobs"])
        return answer

    return damage


def last(value: object) -> Callable[[Any], Any]:
    """Another log-probability at the last token."""
    return vllm(lambda found: [*found[:-1], {key: {"logprob": value} for key in found[-1]}])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (last(None), "returned NaN or infinity"),
        (last(float("nan")), "returned NaN or infinity"),
        (last(float("-inf")), "returned NaN or infinity"),
        (last(-9999.0), "returned NaN or infinity"),
        (last("-1"), "returned NaN or infinity"),
        (vllm(lambda found: found[:-1]), r"scored something else than it was given: \d+ positions for"),
        (vllm(lambda found: [*found[:-1], {"99999": {"logprob": -1.0}}]), "other tokens than were sent"),
        (vllm(lambda found: [None] * len(found)), "other tokens than were sent"),
        (vllm(lambda found: None), "gave no prompt log-probabilities in one of its answers"),
        (lambda answer: [], "gave no prompt log-probabilities in one of its answers"),
        (lambda answer: "text", "gave no prompt log-probabilities in one of its answers"),
    ],
)
def test_numbers_that_are_none_are_errors(damage: Callable[[Any], Any], message: str, folder: Path) -> None:
    with toy_scorer(folder) as server:
        lm = connected(server)
        server.damage = damage
        with pytest.raises(ModelError, match=message):
            score_responses(lm, *pairs(3))


@pytest.mark.parametrize(
    ("entries", "fits"),
    [([[None, 3, None], [-1.0, 4, None], [-2.0, 5, None]], True), ([[None, 3, None], [-1.0, 9, None]], False)],
)
def test_sglang_answers_are_read_from_their_end(entries: list[Any], fits: bool) -> None:
    read = DIALECTS[1].read
    reply = {"meta_info": {"input_token_logprobs": entries}}
    if fits:
        assert read(reply, [2, 3, 4, 5], 2) == [-1.0, -2.0]
    else:
        with pytest.raises(ValueError, match="other tokens"):
            read(reply, [2, 3, 4, 5], 2)
    for none in ({}, [], {"meta_info": {}}, {"meta_info": {"input_token_logprobs": None}}):
        assert read(none, [2, 3], 1) is None


def test_a_missing_package_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r'pip install "nncift\[server\]"'):
        connect(f"openai://127.0.0.1:9/x#tokenizer={folder}", PLACE)


def test_the_fingerprint_is_of_name_and_tokenizer_alone(folder: Path, tmp_path: Path) -> None:
    def of(name: str, tokenizer: Path) -> str | None:
        return model_fingerprint(f"openai://{name}#tokenizer={tokenizer}")

    toy_tokenizer(bos=False).save_pretrained(tmp_path)
    one = of("here:1/m", folder)
    assert one == of("there:2/m", folder) and one is not None
    assert len({one, of("here:1/other", folder), of("here:1/m", tmp_path)}) == 3
    with toy_scorer(folder) as server:
        assert connected(server).fingerprint == model_fingerprint(server.model_name)


def test_weights_cannot_be_loaded_from_a_server() -> None:
    with pytest.raises(ModelError, match="is a server, and what is asked here needs the weights"):
        load_language_model("openai://localhost:8000/m", PLACE)


def test_nothing_asked_is_nothing_sent(folder: Path) -> None:
    with toy_scorer(folder) as server:
        lm = connected(server)
        before = len(server.scored)
        assert score_responses(lm, [], []) == [] and len(server.scored) == before
        assert lm.meter.ledger == Ledger()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("openai://localhost:8000/Qwen/Qwen2.5-0.5B", ("http://localhost:8000", "Qwen/Qwen2.5-0.5B", None)),
        ("openai+https://a.example/m", ("https://a.example", "m", None)),
        ("openai://h:1/team/v1/a/b", ("http://h:1/team", "a/b", None)),
        ("openai://h:1/v1/a/b#tokenizer=c/d", ("http://h:1", "a/b", "c/d")),
        ("openai://[::1]:8000//models/m", ("http://[::1]:8000", "/models/m", None)),
    ],
)
def test_addresses(name: str, expected: tuple[str, str, str | None]) -> None:
    root, model, tokenizer = expected
    assert read_served(name) == Served(root, model, tokenizer or model)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("openai://h:1", "names no model on a server"),
        ("openai://h:1/", "names no model on a server"),
        ("openai://h:1/m#tokenizer=", "names no model on a server"),
        ("openai://h:1/m#layers=3", "a served model is whole"),
        ("openai://h:1/m#parallel=3", "only #tokenizer= may stand behind"),
        ("openai:///m", "address is none"),
        ("openai://h:99999/m", "address is none"),
        ("openai://h x/m", "address is none"),
        ("openai://me:hush@h:1/m", "must hold no name, key or query.*NNCIFT_SERVER_KEY"),
        ("openai://h:1/m?key=hush", "must hold no name, key or query"),
        ("openai://h:1/v1/m?key=hush", "must hold no name, key or query"),
    ],
)
def test_what_is_no_address(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as found:
        read_served(name)
    assert "hush" not in str(found.value)


def test_a_recipe_names_the_folder_of_a_tokenizer_by_its_full_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tok").mkdir()
    monkeypatch.chdir(tmp_path)
    assert full_model("openai://h:1/m#tokenizer=tok") == f"openai://h:1/m#tokenizer={tmp_path / 'tok'}"
    assert full_model("openai://h:1/m#tokenizer=a/b") == "openai://h:1/m#tokenizer=a/b"
    assert full_model("openai://h:1/m") == "openai://h:1/m"
