"""Reading how many pairs to label, and by which design."""

from __future__ import annotations

import pytest

from nncift.errors import ConfigError
from nncift.estimator.budget import LabelBudget, parse_design, parse_labels


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        (None, LabelBudget("auto")),
        ("auto", LabelBudget("auto")),
        (" ALL ", LabelBudget("all")),
        ("5%", LabelBudget("share", 0.05)),
        ("0.5 %", LabelBudget("share", 0.005)),
        ("100%", LabelBudget("share", 1.0)),
        ("2000", LabelBudget("count", 2000)),
        (2000, LabelBudget("count", 2000)),
        ("u=5%", LabelBudget("block", 0.05)),
        ("U = 2.5%", LabelBudget("block", 0.025)),
    ],
)
def test_every_form_is_read(text: str | int | None, budget: LabelBudget) -> None:
    assert parse_labels(text) == budget


@pytest.mark.parametrize(
    "text",
    [
        "",
        "five",
        "0",
        0,
        "-3",
        -3,
        "0%",
        "-5%",
        "100.1%",
        "u=0%",
        "u=101%",
        "u=5",
        "0.05",
        "2000.5",
        "5%%",
        "nan",
        "9" * 400,
    ],
)
def test_what_cannot_work_is_refused_with_the_valid_forms(text: str | int) -> None:
    with pytest.raises(ConfigError, match=r"Valid forms: all, 5% \(of the pairs\), 2000 \(pairs\), u=5%"):
        parse_labels(text)


@pytest.mark.parametrize("text", [True, 0.05, [5], "٥%"])
def test_other_types_and_digits_are_refused(text: object) -> None:
    with pytest.raises(ConfigError, match="Valid forms"):
        parse_labels(text)  # type: ignore[arg-type]


def test_the_design_follows_from_the_budget_and_the_shape() -> None:
    assert parse_labels("5%").design(9) == "stripes"
    assert parse_labels("u=5%").design(9) == "block"
    assert parse_labels("all").design(9) == "all"
    assert parse_labels("5%").design(1) == "pointwise"


@pytest.mark.parametrize(
    ("text", "design"), [("block", "block"), (" Stripes ", "stripes"), ("SPREAD", "spread"), ("cross", "cross")]
)
def test_a_design_is_read_by_its_name(text: str, design: str) -> None:
    assert parse_design(text) == design


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("stripe", "Did you mean 'stripes'"),
        ("crosses", "Did you mean 'cross'"),
        ("", "Known: block, stripes, spread, cross"),
        ("pointwise", "Known: block, stripes, spread, cross"),
        (3, "Known: block, stripes, spread, cross"),
    ],
)
def test_an_unknown_design_is_refused_with_the_nearest_name(text: object, mend: str) -> None:
    with pytest.raises(ConfigError, match=f"the label design is {text!r}, which does not exist. {mend}"):
        parse_design(text)  # type: ignore[arg-type]
