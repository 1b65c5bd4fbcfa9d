"""Row layouts: what counts as a conversation, and the reasons why a row is none."""

from __future__ import annotations

from typing import Any

import pytest

from nncift.data.layouts import LAYOUTS, RowProblem, detect, layout_of, parse
from nncift.data.rows import Turn
from nncift.errors import DataError

ASK, SAY = Turn("user", "ask"), Turn("assistant", "say")


def turn(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("layout", "row", "turns"),
    [
        ("alpaca", {"instruction": "ask", "output": "say"}, (ASK, SAY)),
        ("alpaca", {"instruction": "ask", "input": None, "output": "say"}, (ASK, SAY)),
        ("alpaca", {"instruction": "ask", "input": " \n", "output": "say"}, (ASK, SAY)),
        ("alpaca", {"instruction": "ask", "input": "in ", "output": "say"}, (Turn("user", "ask in "), SAY)),
        ("alpaca", {"instruction": "", "input": "in", "output": "say"}, (Turn("user", "in"), SAY)),
        ("alpaca", {"instruction": " ", "input": "", "output": "say"}, (SAY,)),
        ("alpaca", {"instruction": "ask", "output": "\x00"}, (ASK, Turn("assistant", "\x00"))),
        (
            "sharegpt",
            {"conversations": [{"from": "human", "value": "ask"}, {"from": "gpt", "value": "say"}]},
            (ASK, SAY),
        ),
        ("messages", {"messages": [turn("user", "ask"), turn("assistant", "say")]}, (ASK, SAY)),
        ("messages", {"messages": [turn("Human", "ask"), turn("model", "say")]}, (ASK, SAY)),
        ("messages", {"messages": [turn("system", " "), turn("user", "ask"), turn("bot", "say")]}, (ASK, SAY)),
        ("messages", {"messages": [turn("user", "ask"), turn("assistant", "say"), turn("user", "bye")]}, (ASK, SAY)),
        ("messages", {"messages": [turn("user", "ask"), turn("assistant", "say"), turn("system", "s")]}, (ASK, SAY)),
        (
            "messages",
            {
                "messages": [
                    turn("user", "ask"),
                    turn("assistant", "say"),
                    turn("user", "ask"),
                    turn("assistant", "say"),
                ]
            },
            (ASK, SAY, ASK, SAY),
        ),
        ("prompt-completion", {"prompt": "ask", "completion": "say"}, (ASK, SAY)),
        ("prompt-completion", {"prompt": "ask", "response": "say"}, (ASK, SAY)),
        ("prompt-completion", {"prompt": "ask", "completion": None, "response": "say"}, (ASK, SAY)),
        ("prompt-completion", {"question": "ask", "answer": "say"}, (ASK, SAY)),
        ("prompt-completion", {"prompt": [turn("user", "ask")], "completion": [turn("assistant", "say")]}, (ASK, SAY)),
        ("prompt-completion", {"prompt": [turn("user", "ask")], "completion": "say"}, (ASK, SAY)),
        ("text", {"text": "say"}, (SAY,)),
    ],
)
def test_a_usable_row_becomes_turns_and_is_detected(layout: Any, row: dict[str, Any], turns: tuple[Turn, ...]) -> None:
    assert parse(layout, row) == turns
    assert layout_of(row) == layout


@pytest.mark.parametrize(
    ("layout", "row", "reason"),
    [
        ("alpaca", {"instruction": "ask"}, "missing column 'output'"),
        ("alpaca", {}, "missing column 'instruction' and 'output'"),
        ("alpaca", {"text": "t"}, "missing column 'instruction' and 'output' (the row has the layout 'text'"),
        ("alpaca", {"instruction": "ask", "output": " \n"}, "empty response"),
        ("alpaca", {"instruction": "ask", "output": 7}, "column 'output' is a number, expected text"),
        ("alpaca", {"instruction": "ask", "output": float("nan")}, "column 'output' is a number, expected text"),
        ("alpaca", {"instruction": "ask", "output": None}, "column 'output' is null, expected text"),
        ("alpaca", {"instruction": True, "output": "say"}, "column 'instruction' is a boolean, expected text"),
        ("alpaca", {"instruction": "ask", "input": ["in"], "output": "say"}, "column 'input' is a list, expected text"),
        ("alpaca", {"instruction": "ask", "output": "\ud800"}, "column 'output' holds a lone surrogate"),
        ("prompt-completion", {"prompt": "ask"}, "missing column 'completion'"),
        ("prompt-completion", {"question": "ask"}, "missing column 'answer'"),
        (
            "prompt-completion",
            {"prompt": [turn("assistant", "old")], "completion": [turn("user", "new")]},
            "no assistant turn in column 'completion'",
        ),
        ("text", {"text": {"a": 1}}, "column 'text' is an object, expected text"),
        ("messages", {"messages": "hi"}, "column 'messages' is text, expected a list of turns"),
        ("messages", {"messages": []}, "no assistant turn"),
        ("messages", {"messages": [turn("user", "ask")]}, "no assistant turn"),
        ("messages", {"messages": [turn("user", "ask"), turn("assistant", "")]}, "empty response"),
        ("messages", {"messages": ["hi"]}, "turn 1 of column 'messages' is text, expected an object"),
        ("messages", {"messages": [{"role": "user"}]}, "turn 1 of column 'messages' has no 'content'"),
        ("messages", {"messages": [turn("tool", "x")]}, "turn 1 of column 'messages' has the unknown role 'tool'"),
        ("messages", {"messages": [turn("\ud800", "x")]}, "unknown role '\\ud800'"),
        ("messages", {"messages": [{"role": 3, "content": "x"}]}, "unknown role 3"),
        ("messages", {"messages": [turn("user", [])]}, "turn 1 of column 'messages' is a list, expected text"),
        ("sharegpt", {"conversations": [turn("user", "x")]}, "turn 1 of column 'conversations' has no 'from'"),
    ],
)
def test_an_unusable_row_gives_its_reason(layout: Any, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowProblem) as caught:
        parse(layout, row)
    assert reason in caught.value.reason


def test_the_majority_of_the_first_hundred_rows_decides() -> None:
    few, many = {"text": "t"}, {"prompt": "p", "completion": "c"}
    assert detect([few] * 3 + [many] * 4) == "prompt-completion"
    assert detect([few] * 60 + [many] * 500) == "text"


def test_null_columns_do_not_count_unless_all_are_null() -> None:
    assert detect([{"messages": None, "instruction": "i", "output": "o"}]) == "alpaca"
    assert detect([{"instruction": "i", "output": None}]) == "alpaca"


def test_unknown_columns_are_listed_with_the_known_layouts() -> None:
    with pytest.raises(DataError) as caught:
        detect([{"frage": "x", "antwort": "y"}])
    message = str(caught.value)
    assert "'frage', 'antwort'" in message and "Rename the columns" in message
    assert all(layout in message for layout in LAYOUTS)
