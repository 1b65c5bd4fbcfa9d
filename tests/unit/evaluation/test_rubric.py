"""The judge's prompt holds what it must in its order, and no grade is read where none was given."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncift.errors import ConfigError
from nncift.evaluation.rubric import DEFAULT_RUBRIC, MARKER, Rubric, judge_prompt, judge_task, parse_grade

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


def test_the_default_rubric_names_eight_aspects_and_five_levels() -> None:
    stems = ("follow", "accurate", "relevant", "complete", "deep", "clear", "creative", "help")
    assert all(stem in DEFAULT_RUBRIC.criterion for stem in stems)
    assert len(set(DEFAULT_RUBRIC.levels)) == 5
    assert "fails in most" in DEFAULT_RUBRIC.levels[0] and "excellent in nearly all" in DEFAULT_RUBRIC.levels[4]


@pytest.mark.parametrize("levels", [(), ("a",) * 4, ("a",) * 6, ("a", "b", " ", "d", "e")])
def test_a_rubric_with_a_hole_is_refused(levels: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="each of the grades 1 to 5"):
        Rubric("criterion", levels)


@pytest.mark.parametrize("feedback", [True, False])
def test_the_parts_stand_in_the_order_of_prometheus(feedback: bool) -> None:
    rubric = Rubric("<the criterion>", tuple(f"<level {k}>" for k in range(1, 6)))
    prompt = judge_prompt(rubric, "<asked>", "<given>", "<wanted>", feedback=feedback)
    parts = [
        judge_task(feedback=feedback),
        "<asked>",
        "<given>",
        "Reference answer (grade 5)",
        "<wanted>",
        rubric.criterion,
    ]
    parts += [f"Grade {k}: <level {k}>" for k in range(1, 6)]
    places = [prompt.index(part) for part in parts]
    assert places == sorted(places) and places[0] == 0
    assert MARKER in prompt[places[-1] :]
    assert ("eedback" in prompt) is feedback


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_any_text_is_passed_on_and_can_be_sent(instruction: str, response: str, reference: str) -> None:
    prompt = judge_prompt(DEFAULT_RUBRIC, instruction, response, reference)
    prompt.encode("utf-8")
    frame = judge_prompt(DEFAULT_RUBRIC, "", "", "")
    assert len(prompt.encode("utf-16-le")) == len(frame.encode("utf-16-le")) + sum(
        len(text.encode("utf-16-le", "surrogatepass")) for text in (instruction, response, reference)
    )
    for text in (instruction, response, reference):
        if not any("\ud800" <= letter <= "\udfff" for letter in text):
            assert text in prompt


def test_text_that_looks_like_a_place_holder_is_not_filled_in() -> None:
    rubric = replace(DEFAULT_RUBRIC, criterion="{reference} {0} %s")
    prompt = judge_prompt(rubric, "{response}", "{rubric} {}", "\\1 $x")
    assert all(text in prompt for text in ("{response}", "{rubric} {}", "\\1 $x", "{reference} {0} %s"))


@pytest.mark.parametrize(
    ("completion", "grade"),
    [
        ("Feedback: well done. [RESULT] 4", 4),
        ("Feedback: well done. [RESULT] 4.", 4),
        ("[RESULT]3", 3),
        ("[RESULT]: 1\n", 1),
        ("[ result ] 2", 2),
        ("[[RESULT]] 2", 2),
        ("**[RESULT] (4)**", 4),
        ("[RESULT] **5**", 5),
        ("[RESULT] __5__", 5),
        ("[RESULT]\n\n```\n5\n```", 5),
        ("Result: 4/5", 4),
        ("result: 4 out of 5.", 4),
        ("RESULT = 4 of 5", 4),
        ("**Result:** 2", 2),
        ("**Result**: 2", 2),
        ("__Result__: 2", 2),
        ("[RESULT] Score: 3", 3),
        ("[RESULT] (grade 3)", 3),
        ("[RESULT] 4 (4 of 5)", None),  # a second scale is one number too many
        ("[RESULT] 4</s><|im_end|>", 4),
        ("[RESULT] 4\nI gave it a 4.", 4),
        ("<think>perhaps [RESULT] 2?</think> [RESULT] 3", 3),
        ("Of 10 facts 7 are right. [RESULT] 3", 3),
        ("a \ud800 b\0 [RESULT] 3 \udfff", 3),
    ],
)
def test_a_grade_is_found_however_it_is_dressed(completion: str, grade: int | None) -> None:
    assert parse_grade(completion) == grade


@pytest.mark.parametrize(
    "completion",
    [
        *("", " \n", "4", "I give it a 4.", "Score: 4", "[RESULT]", "[RESULT] ", "[RESULT] none", "[RESULT] four"),
        *("[RESULT] 0", "[RESULT] 6", "[RESULT] 10", "[RESULT] 45", "[RESULT] 4.5", "[RESULT] 4,5", "[RESULT] 4.0"),
        *("[RESULT] -4", "[RESULT] −4", "[RESULT] 04", "[RESULT] 4th", "[RESULT] 4½", "[RESULT] 4²", "[RESULT] ４"),
        *(
            "[RESULT] .4",
            "[RESULT] 1e0",
            "[RESULT] 0x4",
            "[RESULT] NaN",
            "[RESULT] A4",
            "Result: 4.5/5",
            "[RESULT] 4/5.5",
        ),
        *("[RESULT] 4 5", "[RESULT] 4 or 5", "[RESULT] 3-4", "[RESULT] 3/4", "[RESULT] 4/10", "[RESULT] 4 out of 10"),
        *("[RESULT] 4\n5", "[RESULT] 4, though 3 would do", "[RESULT] 4/55", "[RESULT] 4/5 3/5", "[RESULT] 4 (80%)"),
        *("as a result 4 of them", "results: 4", "The result is 4", "[RESULTS] 4", "Result: the list has 3 parts"),
        *(
            "[RESULT] 4 and in the end [RESULT] none",
            "[RESULT] 4 [RESULT] 4.5",
            "[RESULT] (a whole number from 1 to 5)",
        ),
    ],
)
def test_no_grade_is_made_up(completion: str) -> None:
    assert parse_grade(completion) is None


@given(ANY_TEXT)
def test_any_text_gives_a_grade_from_one_to_five_or_none(text: str) -> None:
    assert parse_grade(text) in (None, 1, 2, 3, 4, 5)
    assert parse_grade(f"[RESULT] {text}") in (None, 1, 2, 3, 4, 5)


@given(ANY_TEXT, st.integers(1, 5), st.sampled_from(["[RESULT] {}", "**Result:** {}/5", "**[RESULT] ({})**\n"]))
def test_what_stands_before_the_last_marker_does_not_matter(before: str, grade: int, form: str) -> None:
    for chatter in (before, f"{before} [RESULT] 5", f"[RESULT] {before}"):
        assert parse_grade(f"{chatter}\n{form.format(grade)}") == grade


@given(st.integers(-1000, 1000))
def test_a_number_is_a_grade_only_from_one_to_five(number: int) -> None:
    assert parse_grade(f"Feedback. [RESULT] {number}") == (number if 1 <= number <= 5 else None)


@pytest.mark.parametrize(
    "piece", ["a", "1", "[", "result ", "[RESULT]", "[RESULT] 4 ", "*", "result*********", "  ", "4/"]
)
def test_long_garbage_is_read_in_no_time(piece: str) -> None:
    start = time.perf_counter()
    parse_grade(piece * 200_000)
    parse_grade("[RESULT] 4 " + piece * 200_000)
    assert time.perf_counter() - start < 5
