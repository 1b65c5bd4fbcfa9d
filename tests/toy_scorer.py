"""A server of the test's own on loopback that scores prompts with a toy model, answering as vLLM or as SGLang does."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from under_way import UnderWay

Speaks = Literal["vllm", "sglang", "neither"]


@dataclass
class Request:
    """One request that arrived: path, body, and headers in small letters."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]


Fault = Callable[[int, Request], int | str | None]
"""(number of the scoring request from 1, request) -> a status instead of an answer, `cut` to hang up, None to answer."""


@dataclass
class ToyScorer:
    """Scores one prompt at a time with whole, unpadded sequences.

    Attributes:
        folder: of the model.
        speaks: how it answers.
        name: the model's name.
        room: the longest sequence, in tokens.
        tokenizes: whether it has `/tokenize`.
        key: what it wants to be shown.
        fault: what goes wrong.
        damage: what is done to an answer before it is sent.
        scored: all scoring requests, in the order of their arrival.
        under_way: how many were so at the same time.
    """

    folder: Path
    speaks: Speaks = "vllm"
    name: str = "toy/model"
    room: int = 4096
    tokenizes: bool = True
    key: str | None = None
    fault: Fault = lambda number, request: None
    damage: Callable[[Any], Any] = lambda answer: answer
    scored: list[Request] = field(default_factory=list)
    under_way: UnderWay = field(default_factory=UnderWay)

    def __post_init__(self) -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(self.folder)
        self._lock, self._count = threading.Lock(), 0
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._http.server_address[1]}"

    @property
    def model_name(self) -> str:
        """What `--model` says."""
        return f"openai://{self.address}/{self.name}#tokenizer={self.folder}"

    def close(self) -> None:
        """No more connections are taken."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    def answer(self, request: Request) -> tuple[int, Any]:
        """Status and body."""
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            return 401, {"error": "Unauthorized"}
        match request.path:
            case "/v1/models":
                card = {"id": self.name, "object": "model", "created": 1, "owned_by": self.speaks, "root": self.name}
                return 200, {"object": "list", "data": [card | {"parent": None, "max_model_len": self.room}]}
            case "/tokenize" if self.tokenizes:
                ids = self.tokenizer(request.body["prompt"], add_special_tokens=request.body["add_special_tokens"])
                found = ids["input_ids"]
                return 200, {"count": len(found), "max_model_len": self.room, "tokens": found, "token_strs": None}
            case "/v1/completions":
                return self._completion(request)
            case "/generate" if self.speaks == "sglang":
                return self._generation(request)
        return 404, {"detail": "Not Found"}

    def _completion(self, request: Request) -> tuple[int, Any]:
        body, ids = request.body, request.body["prompt"]
        if body["model"] != self.name:
            return 404, _error(f"The model `{body['model']}` does not exist.", "NotFoundError", 404)
        if len(ids) + body["max_tokens"] > self.room:
            said = (
                f"This model's maximum context length is {self.room} tokens. However, you requested {len(ids)} tokens."
            )
            return 400, _error(said, "BadRequestError", 400)
        choice: dict[str, Any] = {
            "index": 0,
            "text": "a",
            "logprobs": None,
            "finish_reason": "length",
            "stop_reason": None,
        }
        if self.speaks == "vllm":
            choice |= {"prompt_logprobs": self._vllm(ids, body["prompt_logprobs"]), "prompt_token_ids": None}
        usage = {"prompt_tokens": len(ids), "total_tokens": len(ids) + 1, "completion_tokens": 1}
        told = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": self.name, "choices": [choice]}
        return 200, told | {"usage": usage}

    def _vllm(self, ids: list[int], count: int) -> list[dict[str, Any] | None]:
        """Of every position but the first its own token and the most probable ones, by their ids."""
        entries: list[dict[str, Any] | None] = [None]
        for position, log_probs in enumerate(self._log_probs(ids)[:-1], start=1):
            ranked = torch.argsort(log_probs, descending=True).tolist()
            entries.append(
                {
                    str(token): {
                        "logprob": max(float(log_probs[token]), -9999.0),
                        "rank": ranked.index(token) + 1,
                        "decoded_token": self.tokenizer.decode([token]),
                    }
                    for token in dict.fromkeys([ids[position], *ranked[:count]])
                }
            )
        return entries

    def _generation(self, request: Request) -> tuple[int, Any]:
        body, ids = request.body, request.body["input_ids"]
        if len(ids) >= self.room:
            said = f"The input ({len(ids)} tokens) is longer than the model's context length ({self.room} tokens)."
            return 400, {"error": {"message": said}}
        start = body["logprob_start_len"]
        scored = [float(row[token]) for row, token in zip(self._log_probs(ids), ids[1:], strict=False)]
        values = [None, *scored[start:]]
        found = [[value, token, None] for value, token in zip(values, ids[start:], strict=True)]
        meta = {
            "id": "1",
            "finish_reason": {"type": "length", "length": 0},
            "prompt_tokens": len(ids),
            "completion_tokens": 0,
            "cached_tokens": 0,
            "input_token_logprobs": found,
            "output_token_logprobs": [],
        }
        return 200, {"text": "", "output_ids": [], "meta_info": meta}

    def _log_probs(self, ids: list[int]) -> torch.Tensor:
        with self._lock, torch.inference_mode():
            logits = self.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
        return torch.log_softmax(logits.float(), dim=-1)

    def _watch(self, request: Request) -> int | str | None:
        if request.path not in ("/v1/completions", "/generate"):
            return None
        with self._lock:
            self._count += 1
            self.scored.append(request)
            return self.fault(self._count, request)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                try:
                    self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def _answer(self, body: dict[str, Any]) -> None:
                request = Request(self.path, body, {name.lower(): value for name, value in self.headers.items()})
                fault = server._watch(request)
                if fault == "cut":
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                with server.under_way:
                    status, answer = server.answer(request) if fault is None else (int(fault), _error("busy", "x", 0))
                data = json.dumps(server.damage(answer)).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        return Handler


def _error(message: str, kind: str, code: int) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


@contextmanager
def toy_scorer(folder: Path, **options: Any) -> Iterator[ToyScorer]:
    """A running server."""
    server = ToyScorer(folder, **options)
    try:
        yield server
    finally:
        server.close()
