"""What a run says about its rows and its budget before anything is spent."""

from __future__ import annotations

import pytest

from nncift.data.files import load_pool
from nncift.errors import ConfigError
from nncift.pipeline.inputs import describe_rejected, parse_budget


def test_rejected_rows_are_counted_by_role_with_the_most_frequent_reason() -> None:
    blank = {"instruction": "i", "output": ""}
    pool = load_pool([{"instruction": "i", "output": "o"}, blank, blank, {"instruction": "i"}])
    target = load_pool([{"text": "a"}, {"text": None}])
    assert describe_rejected([("pool", pool), ("target", target)]) == (
        "3 of 4 pool rows and 1 of 2 target rows are left out, most often: empty response (see rejected.jsonl)"
    )
    assert describe_rejected([("pool", load_pool([{"text": "a"}]))]) is None


@pytest.mark.parametrize(
    ("text", "says"), [("0.1", r"Did you mean 10%\?$"), (".025", r"Did you mean 2\.5%\?$"), ("1.5", r"\(5%\)\.$")]
)
def test_a_bare_fraction_is_told_what_it_most_likely_meant(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_budget(text, 40)
