"""The formats of trainers: what the columns of a row are there, and which conversations they cannot hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nncift.data.layouts import RowProblem, parse
from nncift.data.records import decode
from nncift.data.rows import Example
from nncift.errors import ConfigError
from nncift.registry import did_you_mean


@dataclass(frozen=True, slots=True)
class Format:
    """How a trainer takes its rows.

    Attributes:
        columns: the row that is written for an example.
        problem: why an example has no such row, None where it has.
        shards: whether it reads rows of several files.
    """

    columns: Callable[[Example], dict[str, Any]]
    problem: Callable[[Example], str | None]
    shards: bool = True


def format_of(trainer: str) -> Format:
    """The format of a trainer.

    Raises:
        ConfigError: no trainer has that name.
    """
    if trainer not in _FORMATS:
        raise ConfigError(f"unknown trainer {trainer!r}. {did_you_mean(trainer, TRAINERS)}")
    return _FORMATS[trainer]


def check_shards(trainer: str, shard_rows: int) -> Format:
    """The format of a trainer that is to read files of so many rows each; 0 stands for one file.

    Raises:
        ConfigError: no trainer has that name, it reads one file only, or the number is negative.
    """
    form = format_of(trainer)
    if shard_rows < 0:
        raise ConfigError(f"--shard-rows is {shard_rows}; it must be at least 0.")
    if shard_rows and not form.shards:
        raise ConfigError(
            f"{trainer} reads its rows from one file, and --shard-rows writes several. Leave it out for {trainer}."
        )
    return form


def _message_columns(example: Example) -> dict[str, Any]:
    return {"messages": [{"role": turn.role, "content": turn.content} for turn in example.turns]}


def _sharegpt_columns(example: Example) -> dict[str, Any]:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    return {"conversations": [{"from": names[turn.role], "value": turn.content} for turn in example.turns]}


def _alpaca_columns(example: Example) -> dict[str, Any]:
    row = example.raw if isinstance(example.raw, dict) else decode(0, 1, example.raw).row or {}
    try:
        if parse("alpaca", row) == example.turns:  # an Alpaca row keeps its instruction and input apart
            return {"instruction": row["instruction"], "input": row.get("input") or "", "output": row["output"]}
    except RowProblem:
        pass
    return {"instruction": example.prompt, "input": "", "output": example.response}


def _no_problem(example: Example) -> None:
    return None


def _not_single(example: Example) -> str | None:
    """Alpaca's columns hold one instruction and one answer."""
    roles = [turn.role for turn in example.turns]
    if roles in (["user", "assistant"], ["assistant"]):
        return None
    if "system" in roles:
        return "a system turn, which the columns `instruction`, `input` and `output` cannot hold"
    return "several turns, which the columns `instruction`, `input` and `output` cannot hold"


def _not_in_turns(example: Example) -> str | None:
    """LLaMA-Factory skips and torchtune refuses a conversation that is not user, assistant, user, assistant and so on, with
    one system turn before at most."""
    roles = [turn.role for turn in example.turns]
    told = roles[1:] if roles[0] == "system" else roles
    if "system" in told:
        return "a system turn that is not the first turn"
    if told[0] != "user":
        return "no user turn before the first assistant turn"
    if any(before == role for before, role in pairwise(told)):
        return "two turns of one role behind one another"
    return None


_MESSAGES = Format(_message_columns, _no_problem)
_ALPACA = Format(_alpaca_columns, _not_single)
_ALTERNATING = Format(_message_columns, _not_in_turns)

_FORMATS = {
    "trl": _MESSAGES,
    "axolotl": _MESSAGES,
    "llamafactory": _ALTERNATING,
    "torchtune": _ALTERNATING,
    "litgpt": Format(_alpaca_columns, _not_single, shards=False),
    "alpaca": _ALPACA,
    "sharegpt": Format(_sharegpt_columns, _no_problem),
    "messages": _MESSAGES,
}

TRAINERS: tuple[str, ...] = tuple(_FORMATS)
"""Every name that an export takes: five trainers, and three formats that others read."""
