"""How servers are asked for the log-probabilities of tokens that they are given, and how they answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Ids = Sequence[int]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way to ask.

    Attributes:
        name: for logs.
        path: behind the server's address.
        body: (model, token ids, position of the first token that is scored, at least 1) -> the request.
        read: (reply, token ids, first) -> log-probabilities of the tokens from `first` on, None where the reply holds none of
            a prompt's.

    Raises (`read`):
        ValueError: the reply is of other tokens.
    """

    name: str
    path: str
    body: Callable[[str, Ids, int], dict[str, Any]]
    read: Callable[[Any, Ids, int], list[Any] | None]


def _ask_vllm(model: str, ids: Ids, first: int) -> dict[str, Any]:
    """One token is written, since older servers refuse to write none; it plays no part."""
    return {"model": model, "prompt": list(ids), "max_tokens": 1, "temperature": 0, "prompt_logprobs": 1}


def _read_vllm(reply: Any, ids: Ids, first: int) -> list[Any] | None:
    """A token's own id is among the keys of its position, beside the most probable one's."""
    try:
        found = reply["choices"][0]["prompt_logprobs"]
    except (LookupError, TypeError):
        return None
    if not isinstance(found, list):
        return None
    if len(found) != len(ids):
        raise ValueError(f"{len(found)} positions for {len(ids)} tokens")
    try:
        return [entry[str(token)]["logprob"] for token, entry in zip(ids[first:], found[first:], strict=True)]
    except (LookupError, TypeError) as error:
        raise ValueError("other tokens than were sent") from error


def _ask_sglang(model: str, ids: Ids, first: int) -> dict[str, Any]:
    """The list begins one position early, and that entry is always empty."""
    sampling = {"max_new_tokens": 0, "temperature": 0}
    return {
        "input_ids": list(ids),
        "sampling_params": sampling,
        "return_logprob": True,
        "logprob_start_len": first - 1,
    }


def _read_sglang(reply: Any, ids: Ids, first: int) -> list[Any] | None:
    """Entries are (log-probability, token id, text)."""
    try:
        found = reply["meta_info"]["input_token_logprobs"]
        pairs = [(entry[0], entry[1]) for entry in found[first - len(ids) :]]
    except (LookupError, TypeError):
        return None
    if [token for _, token in pairs] != list(ids[first:]):
        raise ValueError("other tokens than were sent")
    return [value for value, _ in pairs]


DIALECTS = (
    Dialect("the completions protocol of vLLM", "v1/completions", _ask_vllm, _read_vllm),
    Dialect("the native protocol of SGLang", "generate", _ask_sglang, _read_sglang),
)
