"""Text of strangers on a page: nothing of it can be markup, and no amount of it is too much."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncift.report.shown import bytes_of, fitting, plain, script_json


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\0b\x1bc\x7f", "a␀b␛c␡"),
        ("a\r\nb\rc\td\n", "a\nb\nc\td\n"),
        ("lone \ud83d here \udc00", "lone � here �"),
        ("pair 🦆", "pair 🦆"),
        ("\u202eturned\u202c", "\u202eturned\u202c"),
        ("next\x85line", "next�line"),
        ("</script>", "</script>"),
    ],
)
def test_what_no_page_can_show_is_made_visible(text: str, seen: str) -> None:
    assert plain(text, 100) == seen


def test_long_text_is_cut_to_the_length_asked_for() -> None:
    assert plain("abcdef", 6) == "abcdef"
    assert plain("abcdefg", 6) == "abcde…"


@given(st.text(alphabet=st.characters(), max_size=60))
def test_any_text_can_be_written_and_stays_text(text: str) -> None:
    seen = plain(text, 50)
    seen.encode("utf-8")
    assert "\0" not in seen and len(seen) <= 50
    inside = script_json({"text": seen})
    assert not set("<>&\u2028\u2029") & set(inside)
    assert json.loads(inside) == {"text": seen}


def test_json_cannot_end_the_element_it_stands_in() -> None:
    assert script_json(["</script><!--", "a&b\u2028"]) == ('["\\u003c/script\\u003e\\u003c!--","a\\u0026b\\u2028"]')
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json(float("nan"))


def test_the_longest_text_that_fits_is_taken() -> None:
    assert fitting(lambda share: "x" * int(100 * share), len, 100) == "x" * 100
    assert fitting(lambda share: "x" * int(100 * share), len, 60) == "x" * 50
    assert fitting(lambda share: "x" * int(100 * share), len, 1) == "x" * 5  # the least there is


@given(st.lists(st.text(max_size=30), max_size=5))
def test_bytes_are_never_underrated(texts: list[str]) -> None:
    from markupsafe import escape

    shown = [plain(text, 100) for text in texts]
    assert bytes_of(shown) >= sum(len(str(escape(text)).encode()) for text in shown)
    assert bytes_of(shown) >= sum(len(script_json(text).encode()) - 2 for text in shown)
