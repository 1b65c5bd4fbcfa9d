"""A judge behind any OpenAI-compatible server: vLLM, llama.cpp, Ollama, `transformers serve`, or a paid one."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import KW_ONLY, asdict, dataclass, field
from hashlib import sha256
from importlib import import_module
from threading import Event, Lock
from typing import Any
from urllib.parse import urlsplit

from nncift.errors import ConfigError, MissingExtraError
from nncift.evaluation.judge_reply import CUT_OFF, TIMEOUT, UNPARSABLE, UNREACHABLE, Asker, Fault
from nncift.evaluation.judging import Grades, JudgeItem, OnGrade, OnProgress
from nncift.evaluation.rubric import DEFAULT_RUBRIC, Rubric, judge_prompt
from nncift.lm.address import check_address, is_private, key_of
from nncift.lm.bounded import COMPRESSED, TOO_LARGE, bounded_client
from nncift.lm.sending import RateLimit, arriving

log = logging.getLogger(__name__)

KEY, OPENAI_KEY = "NNCIFT_JUDGE_KEY", "OPENAI_API_KEY"
"""Where a key is looked for, in this order; the second goes to its own host only."""

_OPENAI = "api.openai.com"

_NO_KEY = "none"  # local servers ask for no key, but the protocol has a place for one
_LASTING = {UNREACHABLE, TIMEOUT, COMPRESSED, TOO_LARGE, "401", "404", "429"}  # and every 5xx

_MEND = {
    UNREACHABLE: "Check that the server runs at {url}",
    TIMEOUT: "Raise --judge-timeout (now {timeout:g} s), or lower --judge-parallel (now {parallel})",
    COMPRESSED: "Look at what stands between here and {url}",
    TOO_LARGE: "Look at what answers at {url}",
    UNPARSABLE: "Take a model that is able to judge and has a chat template",
    CUT_OFF: "Raise --judge-tokens (now {max_tokens})",
    "401": "Put the key of {url} into the environment variable {key}",
    "403": "Check what the key in {key} may do on {url}",
    "404": "Check the address {url} (it mostly ends in /v1) and the name {model!r} given with --judge-model",
    "500": "Look into the server's log: some answer 500 to a model name that they do not know (asked for: {model!r}), or to a "
    "model without a chat template",
    "429": "Set fewer requests a minute with --judge-rate, or lower --judge-parallel (now {parallel}), or wait until the "
    "server's quota is free again",
}


@dataclass(frozen=True, slots=True)
class ServerJudge:
    """Asks a chat model for feedback and a grade, as Prometheus does.

    Use it with a judge that is too large for this machine. A request that fails on the way (time-out, lost connection, 429,
    5xx) is repeated with exponential pauses and jitter, or after the time that the server names where that is at most two
    minutes; an answer without a grade is asked for once more. What then has no grade is counted under its reason and never
    scored. The key comes from the environment (`NNCIFT_JUDGE_KEY`, for api.openai.com else `OPENAI_API_KEY`) and goes to `url`
    only.

    Args:
        url: where the protocol begins, such as `http://localhost:8000/v1`.
        model: the judge's name on that server.
        rubric: what is judged.
        timeout: seconds that the server may be silent, and that an answer may take once it has begun; above 0.
        retries: how often a failed request is repeated, 0 or more.
        per_minute: most requests a minute, repeated ones included; 0 for no limit.
        parallel: requests at a time, at least 1.
        max_tokens: longest answer in tokens, at least 1.
        temperature: 0 or more; None sends none, for models that take no other than their own.
        patience: after so many items in a row that were lost to the server itself the others are not asked for, at least 1.

    Raises:
        ConfigError: an argument is out of its range, or the address holds a key or is none.

    *Cost*: one request an item, two where the first answer holds no grade.
    *Reference*: Kim et al., Prometheus 2, 2024.
    """

    url: str
    model: str
    _: KW_ONLY
    rubric: Rubric = DEFAULT_RUBRIC
    timeout: float = 120.0
    retries: int = 3
    per_minute: float = 0
    parallel: int = 4
    max_tokens: int = 1024
    temperature: float | None = 0.0
    patience: int = 8
    _limit: RateLimit = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_address(self.url, whose="the judge's", example="http://localhost:8000/v1", key=KEY)
        if not self.model.strip():
            raise ConfigError("the judge's model name is empty. Name the model as the server does.")
        bounds = {"retries": 0, "per_minute": 0, "parallel": 1, "max_tokens": 1, "temperature": 0, "patience": 1}
        for name, least in bounds.items():
            value = getattr(self, name)
            if value is not None and not least <= value < float("inf"):
                raise ConfigError(f"the judge's {name} is {value}; expected a number of at least {least}.")
        if not 0 < self.timeout < float("inf"):
            raise ConfigError(f"the judge's timeout is {self.timeout}; expected seconds above 0.")
        object.__setattr__(self, "_limit", RateLimit(self.per_minute))  # outlives a call: cells share one limit

    @property
    def fingerprint(self) -> str:
        """Hash of address, model, rubric and answer settings; not of the key, nor of how the server is asked."""
        told = {
            "judge": "server 1",
            "url": self.url.rstrip("/"),
            "model": self.model,
            "rubric": asdict(self.rubric),
            "prompt": judge_prompt(self.rubric, "", "", ""),
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
        }
        return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def grade(
        self,
        items: Sequence[JudgeItem],
        *,
        on_grade: OnGrade = lambda item, score: None,
        on_progress: OnProgress = lambda count: None,
    ) -> Grades:
        """Grades all items that the server grades. It always comes back; what is missing is said in one warning.

        Args:
            items: [T] responses.
            on_grade: told of each grade as it arrives, in this thread.
            on_progress: told of each item that is done, and at once of those that are given up.

        Raises:
            MissingExtraError: the package `openai` is not installed.
            ConfigError: the key in the environment cannot be sent.
        """
        stop = Event()
        patience = _Patience(self.patience, stop)
        scores: list[float | None] = [None] * len(items)
        failures: Counter[str] = Counter()
        done = 0
        with closing(self._asker()) as asker:

            def work(number: int) -> float | Fault:
                item = items[number]
                prompt = judge_prompt(self.rubric, item.instruction, item.response, item.reference)
                return patience.note(asker.ask(prompt))

            with closing(arriving(work, len(items), threads=self.parallel, stop=stop)) as outcomes:
                for number, outcome in outcomes:
                    done += 1
                    if isinstance(outcome, Fault):
                        failures[outcome.reason] += 1
                    else:
                        scores[number] = outcome
                        on_grade(items[number].id, outcome)
                    on_progress(1)
        if done < len(items):
            failures[patience.last.reason] += len(items) - done
            on_progress(len(items) - done)
        if failures:
            self._warn(len(items), failures, done, patience.last)
        return Grades(scores, dict(failures))

    def _asker(self) -> Asker:
        try:
            openai: Any = import_module("openai")
        except ImportError as error:
            raise MissingExtraError("openai", "judge", "a judge behind a server") from error
        key = judge_key(self.url)
        if key and not is_private(self.url):
            log.warning("the judge's key goes to %s unencrypted, for anybody on the way to read. Use https.", self.url)
        client = openai.OpenAI(
            api_key=key or _NO_KEY,
            base_url=self.url,
            timeout=self.timeout,
            max_retries=self.retries,
            http_client=bounded_client(
                openai, before=[lambda request: self._limit.wait()]
            ),  # repeated ones count as well
        )
        body: dict[str, Any] = {"max_tokens": self.max_tokens}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        return Asker(client, openai, self.model, body, key)

    def _warn(self, total: int, failures: Counter[str], asked: int, last: Fault) -> None:
        named = ((f"HTTP {reason}" if reason.isdigit() else reason, count) for reason, count in failures.most_common())
        counts = ", ".join(f"{count} {reason}" for reason, count in named)
        given_up = f" ({total - asked} of them were not asked for any more)" if asked < total else ""
        said = f' The server says: "{last.said}".' if last.said else ""
        reason = failures.most_common(1)[0][0]
        mend = _MEND.get(reason, "Look into the log of the server at {url}")
        hint = mend.format(
            url=self.url,
            model=self.model,
            timeout=self.timeout,
            parallel=self.parallel,
            max_tokens=self.max_tokens,
            key=KEY,
        )
        log.warning(
            "the judge %s gave no grade for %d of %d responses: %s%s.%s %s. The next run asks for the missing ones only.",
            *(self.model, sum(failures.values()), total, counts, given_up, said, hint),
        )


class _Patience:
    """Tells a server that is lost from an item that is; threads share it.

    Args:
        most: how many items in a row may be lost to the server.
        stop: set once there were so many.

    Attributes:
        last: the last thing that went wrong with the server.
    """

    __slots__ = ("_in_a_row", "_lock", "_most", "_stop", "_worked", "last")

    def __init__(self, most: int, stop: Event) -> None:
        self._most, self._stop, self._lock = most, stop, Lock()
        self._in_a_row, self._worked, self.last = 0, False, Fault("")

    def note(self, outcome: float | Fault) -> float | Fault:
        """Passes an outcome on and counts. Before anything was answered every fault counts as one that will last (400: the
        server does not take such requests at all), and then only those that are no fault of the item."""
        with self._lock:
            if not isinstance(outcome, Fault) or outcome.answered:
                self._worked, self._in_a_row = True, 0
                return outcome
            self.last = outcome
            if not self._worked or outcome.reason in _LASTING or outcome.reason.startswith("5"):
                self._in_a_row += 1
            if self._in_a_row >= self._most:
                self._stop.set()
            return outcome


def judge_key(url: str) -> str:
    """The key in the environment for a server, empty where there is none.

    Raises:
        ConfigError: it holds what no request header may hold.
    """
    return key_of((KEY, OPENAI_KEY) if urlsplit(url).hostname == _OPENAI else (KEY,))
