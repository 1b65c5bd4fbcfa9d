"""The query is always whole, the rows in front of it are whole and the nearest, and what is scored is what stands there."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nncift.data.demonstrations import ChatDemonstrations, Demonstrations, PlainDemonstrations
from nncift.data.rows import Example, Turn
from nncift.evaluation.prompting import IclPrompt, icl_prompt, icl_queries, nearest
from nncift.lm.generate import Decoding, generate
from nncift.lm.score import score_responses
from teaching import rows
from toys import WORDS, toy_lm, toy_tokenizer

CHAT = "<s>{% for m in messages %}({{ m['role'] }}){{ m['content'] }}\n{% endfor %}(assistant)"


def chat_tokenizer() -> Any:
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = CHAT
    return tokenizer


WORDINGS: dict[str, Demonstrations] = {"plain": PlainDemonstrations(), "chat": ChatDemonstrations(chat_tokenizer())}


def text(ids: tuple[int, ...]) -> str:
    return "".join(WORDS[k] for k in ids)


def test_nearest_by_hand() -> None:
    """Cosines of the first query 1, .6, 0, -1, .6; of the second .8, 0, -.6, -.8, .96; two equal rows tie."""
    subset = np.array([[1, 0], [0.6, -0.8], [0, -1], [-1, 0], [0.6, 0.8], [1, 0]], dtype=np.float32)
    queries = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)
    assert nearest(queries, subset, 4).tolist() == [[0, 5, 1, 4], [4, 0, 5, 1], [4, 0, 3, 5]]
    assert nearest(queries, subset, 1).tolist() == [[0], [4], [4]]
    assert nearest(queries, subset, 9).shape == (3, 6) and nearest(queries, subset, 0).shape == (3, 0)
    assert nearest(queries, subset[:0], 2).shape == (3, 0) and nearest(queries[:0], subset, 2).shape == (0, 2)


def test_nearest_equals_sorting_and_copies_tie_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    rows = draw.standard_normal((40, 17))
    subset = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)[draw.integers(0, 40, 103)]
    queries = subset[draw.permutation(103)[:29]]
    got = nearest(queries, subset, 11)
    for query, found in zip(queries, got, strict=True):
        cosines = [float(sum(query.astype(np.float64) * row)) for row in subset]
        assert found.tolist() == sorted(range(103), key=lambda j: (-round(cosines[j], 12), j))[:11]
    monkeypatch.setattr("nncift.evaluation.prompting._TILE", 500)
    assert np.array_equal(nearest(queries, subset, 11), got)


words = st.text(st.sampled_from(WORDS[4:]), max_size=40)
spoken = words.filter(lambda said: bool(said.strip()))


@st.composite
def some_rows(draw: st.DrawFn, least: int, most: int) -> list[Example]:
    """Rows of one to four turns, the last the assistant's; some have no prompt."""
    found = []
    for number in range(draw(st.integers(least, most))):
        prompts = draw(st.sampled_from([0, 1, 1, 1, 3]))
        turns = [Turn("user" if place % 2 == 0 else "assistant", draw(words)) for place in range(prompts)]
        found.append(Example(f"r{number}", (*turns, Turn("assistant", draw(spoken))), number, number + 1, b""))
    return found


def whole(name: str, shown: list[Example], query: Example) -> str:
    return ("<s>" if name == "plain" else "") + WORDINGS[name].word(shown, query).text


@pytest.mark.parametrize("name", ["plain", "chat"])
@settings(max_examples=120, deadline=None)
@given(
    demonstrations=some_rows(0, 4),
    query=some_rows(1, 1),
    limit=st.integers(0, 260),
    room=st.integers(0, 60),
    last=st.booleans(),
)
def test_the_query_is_whole_and_the_rows_are_dropped_whole(
    name: str, demonstrations: list[Example], query: list[Example], limit: int, room: int, last: bool
) -> None:
    tokenizer = toy_tokenizer() if name == "plain" else chat_tokenizer()
    order = "nearest-last" if last else "nearest-first"
    prompt = icl_prompt(tokenizer, WORDINGS[name], demonstrations, query[0], limit=limit, room=room, order=order)

    def with_nearest(count: int) -> str:
        return whole(name, demonstrations[:count][::-1] if last else demonstrations[:count], query[0])

    assert text(prompt.ids) == with_nearest(prompt.kept)
    assert query[0].prompt in text(prompt.ids) or len(query[0].turns) > 2
    assert all(turn.content in text(prompt.ids) for turn in query[0].turns[:-1])
    assert prompt.fits == (len(prompt.ids) + room <= limit)
    alone = icl_prompt(tokenizer, WORDINGS[name], [], query[0], limit=limit, room=room)
    assert prompt.fits == alone.fits  # what is shown never decides whether a row counts
    if prompt.kept < len(demonstrations):
        assert len(tokenizer(with_nearest(prompt.kept + 1), add_special_tokens=False)["input_ids"]) + room > limit


def test_dropping_by_hand() -> None:
    shown = rows(("a", "x" * 10), ("b", "y" * 20), ("c", "z" * 5))
    (query,) = rows(("q" * 7, "hidden"))
    # the markers and the line break behind the prompt are 15 characters, and 2 more line breaks end a row that is shown
    sizes = [1 + 15 + 7, 15 + 1 + 10 + 2, 15 + 1 + 20 + 2, 15 + 1 + 5 + 2]

    def fitted(limit: int, room: int = 30, **order: Any) -> IclPrompt:
        return icl_prompt(toy_tokenizer(), PlainDemonstrations(), shown, query, limit=limit, room=room, **order)

    for kept in range(4):
        exact = 30 + sum(sizes[: kept + 1])
        assert (fitted(exact).kept, fitted(exact).fits, len(fitted(exact).ids)) == (kept, True, exact - 30)
        assert fitted(exact - 1).kept == max(0, kept - 1) and fitted(exact - 1).fits == (kept > 0)
    assert text(fitted(999).ids).index("x") < text(fitted(999).ids).index("y")
    turned = fitted(30 + sum(sizes[:3]), order="nearest-last")
    assert turned.kept == 2 and text(turned.ids).index("y") < text(turned.ids).index("x")
    assert "z" not in text(turned.ids) and "hidden" not in text(turned.ids)


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2"])
def test_the_loss_equals_cross_entropy_over_the_whole_sequence(kind: str) -> None:
    lm = toy_lm(kind)
    shown = rows(("one?", "1"), ("two?", "two, I say"), ("three?", "3"))
    asked = rows(("four?", "4"), ("", "no prompt at all"), ("five or six?", "either."))
    demonstrations = [shown, shown[1:], ()]
    found = icl_queries(lm, PlainDemonstrations(), demonstrations, asked, limit=1024)
    scored = score_responses(lm, [()] * len(found), [query.query for query in found])
    for row, before, query, log_probs in zip(asked, demonstrations, found, scored, strict=True):
        ids = lm.tokenizer(PlainDemonstrations().word(before, row).text + row.response)["input_ids"]
        count = len(row.response)
        with torch.no_grad():
            logits = lm.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double()
        losses = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none")
        assert len(log_probs) == count and query.usable
        np.testing.assert_allclose(-log_probs, losses[-count:].numpy(), atol=1e-4)


def test_prompt_and_response_are_what_is_generated_and_scored(caplog: pytest.LogCaptureFixture) -> None:
    lm = toy_lm()
    shown = rows(("one?", "1" * 30), ("two?", "2" * 30))
    asked = rows(("short?", "4"), ("long " * 20, "6"), ("hm?", "7" * 50))
    with caplog.at_level(logging.WARNING):
        found = icl_queries(lm, PlainDemonstrations(), [shown] * 3, asked, limit=90, new_tokens=10)
    assert [query.prompt.kept for query in found] == [1, 0, 0]
    assert [query.usable for query in found] == [True, False, True]
    assert [text(query.response) for query in found] == [row.response for row in asked]
    assert found[2].query.ids == found[2].prompt.ids and not found[2].query.truncated
    assert caplog.messages == [
        "1 of 3 rows are left out: prompt and room do not fit 90 tokens, or the response has no token",
        "3 demonstrations are dropped, the farthest first, so that 2 of 2 prompts fit 90 tokens",
    ]
    longer = icl_queries(lm, PlainDemonstrations(), [shown] * 3, asked, limit=90, new_tokens=20)
    assert [query.prompt.kept for query in longer] == [0, 0, 0]  # 73 tokens with a demonstration, and 20
    answers = generate(lm, [query.prompt.ids for query in found if query.usable], Decoding(max_new_tokens=4), seed=0)
    assert len(answers) == 2


def test_a_refused_conversation_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    lm = toy_lm()
    lm.tokenizer.chat_template = CHAT
    bare = rows(("", "nothing asked"))
    asked = rows(("a?", "1"), ("b?", "2"), ("c?", "3"))
    with caplog.at_level(logging.WARNING):
        found = icl_queries(lm, ChatDemonstrations(lm.tokenizer), [bare, (), bare], asked, limit=900)
    assert [query.prompt.plainly for query in found] == [True, False, True]
    assert caplog.messages == [
        "2 of 3 prompts are plain text in one user message: the chat template does not take their turns"
    ]


def test_a_response_without_a_token_is_not_usable() -> None:
    lm = toy_lm()

    class Deaf:
        bos_token_id = None

        def __call__(self, said: str, **options: object) -> dict[str, list[int]]:
            return {"input_ids": [5 for c in said if c != "\u200b"]}

    (found,) = icl_queries(replace(lm, tokenizer=Deaf()), PlainDemonstrations(), [()], rows(("a", "\u200b")), limit=100)
    assert found.response == () and found.prompt.fits and not found.usable
