"""A language model behind a server that tells the log-probabilities of a prompt's tokens: vLLM, SGLang, and what speaks as
they do. Only scores of given tokens can be had there, neither gradients nor hidden states."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib import import_module
from threading import Event
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nncift.errors import MissingExtraError, ModelError
from nncift.ledger import Ledger
from nncift.lm.address import SERVER_KEY, Served, is_private, key_of, read_served
from nncift.lm.bounded import bounded_client
from nncift.lm.device import Placement
from nncift.lm.dialects import DIALECTS, Dialect
from nncift.lm.load import load_tokenizer, served_fingerprint
from nncift.lm.meter import Meter
from nncift.lm.model import LanguageModel, Scored
from nncift.lm.sending import arriving, explanation
from nncift.lm.tokens import text_ids
from nncift.registry import TOKENIZER, did_you_mean

log = logging.getLogger(__name__)

PARALLEL = 16  # requests under way; a server puts them into batches of its own
TIMEOUT, RETRIES = 120.0, 5  # seconds of silence; pauses of half a second to eight between the tries

_PROBE = "One, two: 12345 naïve words\n\tif x != 0.5:  # 東京"
_LEAST = -9000.0  # vLLM says -9999 for minus infinity, which JSON does not know


@dataclass(frozen=True, slots=True)
class Server:
    """A server that was found to answer.

    Attributes:
        served: the model and where it is.
        client: an `openai.OpenAI` client; it repeats requests that failed on the way.
        errors: the module `openai`.
        key: never to be repeated; empty where there is none.
        dialect: how it is asked.
    """

    served: Served
    client: Any
    errors: Any
    key: str = field(repr=False)
    dialect: Dialect = DIALECTS[0]

    def score(
        self, sequences: Sequence[Scored], ledger: Ledger, *, on_progress: Callable[[int], None]
    ) -> list[Float[ndarray, " R"]]:
        """Log-probability of every token of every sequence from its first scored one on, in the order given.

        Raises:
            ModelError: the server is away, refuses, or gives no numbers.

        *Cost*: one request a sequence, some at a time.
        """
        result: list[Any] = [None] * len(sequences)

        def ask(number: int) -> ndarray:
            return self._ask(*sequences[number])

        with closing(arriving(ask, len(sequences), threads=PARALLEL, stop=Event())) as answers:
            for number, values in answers:
                ledger.lm_forwards += 1
                ledger.lm_tokens += len(sequences[number][0])
                result[number] = values
                on_progress(1)
        return result

    def _ask(self, ids: Sequence[int], first: int) -> Float[ndarray, " R"]:
        reply = self.send(self.dialect.path, self.dialect.body(self.served.model, ids, first))
        found = _read(self.dialect, reply, ids, first, self.served)
        if found is None:
            raise ModelError(
                f"the server at {self.served.root} gave no prompt log-probabilities in one of its answers. Look into its log."
            )
        if (
            not all(isinstance(value, int | float) and value > _LEAST for value in found)
            or not np.isfinite(found).all()
        ):
            raise ModelError(
                f"the served language model {self.served.model!r} returned NaN or infinity. Serve it in a wider number format."
            )
        return np.array(found, dtype=np.float32)

    def send(self, path: str, body: dict[str, Any] | None) -> Any:
        """The JSON that the server answers to a body, or to nothing; text that is none as it came.

        Raises:
            ModelError: it does not answer, or not with success, also when asked again.
        """
        where = self.served.root
        try:
            text = self._text(path, body)
        except self.errors.APITimeoutError as error:
            raise ModelError(
                f"the server at {where} took more than {self.client.timeout:g} s to answer. {_KEPT} "
                "Look whether it is overloaded."
            ) from error
        except self.errors.APIConnectionError as error:
            raise ModelError(
                f"the server at {where} does not answer. {_KEPT} Start it, or check the address."
            ) from error
        except self.errors.APIStatusError as error:
            raise Refused(error.status_code, self._refusal(error)) from error
        except self.errors.OpenAIError as error:  # what `bounded_client` does not read
            raise ModelError(f"the server at {where} {error}. {_KEPT} Look at what answers there.") from error
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text

    def _text(self, path: str, body: dict[str, Any] | None) -> str:
        return self.client.get(path, cast_to=str) if body is None else self.client.post(path, body=body, cast_to=str)

    def _refusal(self, error: Any) -> str:
        status, where = error.status_code, self.served.root
        if status in (401, 403):
            return (
                f"the server at {where} wants a key (HTTP {status}). Put it into the environment variable {SERVER_KEY}."
            )
        if status == 429 or status >= 500:
            return f"the server at {where} is overloaded or failed (HTTP {status}). {_KEPT} Look into its log."
        said = explanation(error, self.key)
        return f"the server at {where} refused a request (HTTP {status})" + (f': "{said}".' if said else ".")


_KEPT = "What is labelled already is kept, and the same command goes on from there."


class Refused(ModelError):
    """A server answered, and not with success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def connect(
    name: str,
    placement: Placement,
    *,
    max_length: int = 2048,
    trust_remote_code: bool = False,
    timeout: float = TIMEOUT,
    retries: int = RETRIES,
) -> LanguageModel:
    """A served language model, once it is known to be there, to have this tokenizer, and to tell log-probabilities.

    Args:
        name: `openai://HOST:PORT/NAME`, as `nncift.lm.address.read_served` reads it.
        placement: of what else runs on this machine.
        max_length: context limit in tokens.
        trust_remote_code: lets the tokenizer bring code of its own; only ever on the user's word.
        timeout: seconds that the server may be silent, and that an answer may take once it has begun.
        retries: how often a failed request is repeated.

    Raises:
        ConfigError: the name is no address.
        MissingExtraError: the package `openai` is not installed.
        ModelError: whatever else is in the way; the message says what.
    """
    served = read_served(name)
    server = _open(served, timeout=timeout, retries=retries)
    _check_name(server, max_length)
    tokenizer, limit = load_tokenizer(name, max_length=max_length, trust_remote_code=trust_remote_code)
    _check_tokenizer(server, tokenizer)
    ids = text_ids(tokenizer, _PROBE, special=False)[:8]
    server = Server(served, server.client, server.errors, server.key, _find_dialect(server, ids))
    log.info("%s is asked through %s", served.root, server.dialect.name)
    return LanguageModel(
        name=name,
        model=None,
        tokenizer=tokenizer,
        placement=placement,
        head=None,
        shares_prefixes=False,
        fingerprint=served_fingerprint(name, tokenizer),
        max_length=limit,
        weights=0,
        meter=Meter(None),
        server=server,
    )


def _open(served: Served, *, timeout: float, retries: int) -> Server:
    try:
        openai: Any = import_module("openai")
    except ImportError as error:
        raise MissingExtraError("openai", "server", "a model behind a server") from error
    key = key_of((SERVER_KEY,))
    if key and not is_private(served.root):
        log.warning("the key goes to %s unencrypted, for anybody on the way to read. Use openai+https.", served.root)
    client = openai.OpenAI(
        api_key=key or "none",
        base_url=served.root,
        timeout=timeout,
        max_retries=retries,
        http_client=bounded_client(openai),
    )
    return Server(served, client, openai, key)


def _check_name(server: Server, max_length: int) -> None:
    """Raises:
    ModelError: the server lists its models and this is none of them, or it takes less context than is wanted.
    """
    served, listed = server.served, server.send("v1/models", None)
    try:
        cards = {str(card["id"]): card for card in listed["data"]}
    except (LookupError, TypeError) as error:
        raise ModelError(
            f"what answers at {served.root} is no server of language models. Check the address."
        ) from error
    if served.model not in cards:
        raise ModelError(f"{served.root} serves no model {served.model!r}. {did_you_mean(served.model, tuple(cards))}")
    room = cards[served.model].get("max_model_len")
    if isinstance(room, int) and room <= max_length:
        raise ModelError(
            f"{served.root} takes {room:,} tokens with {served.model!r}, one of them its own, and --max-length is "
            f"{max_length:,}. Say --max-length {room - 1}, or serve the model with more."
        )


def _check_tokenizer(server: Server, tokenizer: Any) -> None:
    """Raises:
    ModelError: the server, where it tells, splits text otherwise.
    """
    served = server.served
    body = {"model": served.model, "prompt": _PROBE, "add_special_tokens": False}
    try:
        found = server.send("tokenize", body)["tokens"]
    except (Refused, LookupError, TypeError):
        return  # it does not tell; a wrong id would still be refused, but not a wrong split
    if found != text_ids(tokenizer, _PROBE, special=False):
        raise ModelError(
            f"the tokenizer {served.tokenizer!r} splits text otherwise than {served.root} does for {served.model!r}. Name the "
            f"right one behind the model: {TOKENIZER}HUB_ID_OR_FOLDER."
        )


def _find_dialect(server: Server, ids: Sequence[int]) -> Dialect:
    """The first that the server answers in with log-probabilities of a prompt.

    Raises:
        ModelError: none.
    """
    served, said = server.served, ""
    for dialect in DIALECTS:
        try:
            reply = server.send(dialect.path, dialect.body(served.model, ids, 1))
        except Refused as refused:
            if refused.status in (401, 403, 429) or refused.status >= 500:
                raise
            said = said or ("" if refused.status == 404 else f" It says: {refused}")
            continue
        if _read(dialect, reply, ids, 1, served) is not None:
            return dialect
    raise ModelError(
        f"the server at {served.root} gives no prompt log-probabilities, which influences are computed from. vLLM and SGLang "
        f"give them; Ollama, llama.cpp and OpenAI's own do not.{said}"
    )


def _read(dialect: Dialect, reply: Any, ids: Sequence[int], first: int, served: Served) -> list[Any] | None:
    """What a reply holds.

    Raises:
        ModelError: it is of other tokens.
    """
    try:
        return dialect.read(reply, ids, first)
    except ValueError as error:
        raise ModelError(
            f"the server at {served.root} scored something else than it was given: {error}. Look whether something stands "
            "between that changes requests."
        ) from error
