"""One question to a chat server and what came back: a grade, or the reason why there is none."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import Any

from nncift.evaluation.rubric import parse_grade
from nncift.lm.sending import explanation

log = logging.getLogger(__name__)

UNREACHABLE = "server not reachable"
TIMEOUT = "timeout"
UNPARSABLE = "unparsable"
EMPTY = "empty"
REFUSED = "refused"
CUT_OFF = "cut off"
NO_COMPLETION = "not a completion"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an item has no grade.

    Attributes:
        reason: `timeout`, `unparsable`, ..., or the HTTP status as text.
        said: how the server explained it, empty where it did not.
        answered: whether the server answered as it should, so that only this item is lost.
    """

    reason: str
    said: str = ""
    answered: bool = False


@dataclass(slots=True)
class Asker:
    """Asks a server for one grade at a time; threads share it.

    Attributes:
        client: an `openai.OpenAI` client; it repeats requests that failed on the way.
        errors: the module `openai`.
        model: the judge's name on the server.
        body: what every request holds beside model and messages.
        key: never to be repeated, whatever a server says; empty where there is none.
    """

    client: Any
    errors: Any
    model: str
    body: dict[str, Any]
    key: str = field(repr=False)

    def close(self) -> None:
        """Closes all connections; whoever still waits for an answer gets none."""
        self.client.close()

    def ask(self, prompt: str) -> float | Fault:
        """The grade of one prompt. An answer without a usable grade is asked for once more."""
        outcome = self._once(prompt)
        if isinstance(outcome, Fault) and outcome.answered and outcome.reason != REFUSED:
            outcome = self._once(prompt)
        return outcome

    def _once(self, prompt: str) -> float | Fault:
        body = self.body
        try:
            return read_reply(self._send(prompt, body))
        except self.errors.APITimeoutError:
            return Fault(TIMEOUT)
        except self.errors.APIConnectionError:
            return Fault(UNREACHABLE)
        except self.errors.APIStatusError as error:
            said = explanation(error, self.key)
            if error.status_code != 400 or _mended(body, said) == body:
                return Fault(str(error.status_code), said)
            before, self.body = self.body, _mended(self.body, said)  # another thread may have mended it already
            if "temperature" in before and "temperature" not in self.body:
                log.warning("the judge takes no temperature of %s; it takes its own", before["temperature"])
            return self._once(prompt)
        except self.errors.OpenAIError as error:  # what `bounded_client` does not read
            return Fault(str(error))

    def _send(self, prompt: str, body: dict[str, Any]) -> str:
        messages = [{"role": "user", "content": prompt}]
        raw = self.client.chat.completions.with_raw_response.create(
            model=self.model, messages=messages, extra_body=body
        )
        return raw.text


def _mended(body: dict[str, Any], said: str) -> dict[str, Any]:
    """What a request holds that a server may take after it refused one; the same where it named nothing of it.

    OpenAI's reasoning models know the limit by its new name only, most other servers by the old one only; and they take no
    temperature but their own.
    """
    if "max_completion_tokens" in said:
        return {"max_completion_tokens" if name == "max_tokens" else name: body[name] for name in body}
    if "temperature" in said:
        return {name: body[name] for name in body if name != "temperature"}
    return body


def read_reply(text: str) -> float | Fault:
    """The grade in the body of a chat completion.

    Args:
        text: the body as it came, which may be anything.
    """
    try:
        choice = json.loads(text)["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return Fault(NO_COMPLETION, answered=True)
    if refusal or finish == "content_filter":
        return Fault(REFUSED, answered=True)
    if content is not None and not isinstance(content, str):
        return Fault(NO_COMPLETION, answered=True)
    if not content or not content.strip():
        return Fault(CUT_OFF if finish == "length" else EMPTY, answered=True)
    grade = parse_grade(content)
    if finish == "length" and (grade is None or content[-1].isdigit()):  # a 4 may be the beginning of 4.5
        return Fault(CUT_OFF, answered=True)
    return Fault(UNPARSABLE, answered=True) if grade is None else float(grade)
