"""The main table from records written by hand, every number worked out on paper."""

from __future__ import annotations

from pathlib import Path

import pytest

from nncift.experiment.tables import write_tables
from toy_cells import cell, read_lines, score, write_experiment

T2 = 12.706205  # Student's t of one degree of freedom
SPEC = {"kind": "main", "name": "main", "published": {"model": "phi-3"}}


def two_seeds(folder: Path, spec: dict | None = None) -> Path:
    """Exact labels once, the network with two seeds, and random rows: by loss."""
    subjects = {
        "exact.0": {"data": "alpaca", "influence": "delift", "how": "exact", "v": "30%", "seed": 0},
        "nncift.0": {"data": "alpaca", "influence": "delift", "how": "nncift", "v": "30%", "seed": 0},
        "nncift.1": {"data": "alpaca", "influence": "delift", "how": "nncift", "v": "30%", "seed": 1},
    }
    beats = {"verdict": "beats random", "p_holm": 0.01}
    none = {"verdict": "no difference shown", "p_holm": 0.4}
    records = [
        score("exact.0", 2.0, ci=[1.9, 2.1], diff_random=-0.5, diff_ci=[-0.8, -0.2], **beats),
        score("nncift.0", 2.1, ci=[2.0, 2.2], diff_random=-0.4, diff_ci=[-0.8, -0.1], **beats),
        score("nncift.1", 2.3, ci=[2.0, 2.8], diff_random=-0.2, diff_ci=[-0.6, 0.3], **none),
        score("random", 2.5, control="random", ci=[2.4, 2.6], draws=5),
        score("random", 9.9, control="random", size=99),
        score("random-tokens", 9.9, control="random-tokens", matched="exact.0"),
        score("initial", 3.0, control="initial", size=0, rows=0, ci=[2.9, 3.1], diff_random=0.5, diff_ci=[0.3, 0.7]),
        score("exact.0", 0.5, metric="rouge1", by="icl", ci=[0.4, 0.6]),
        score("random", 0.4, metric="rouge1", by="icl", control="random"),
    ]
    axes = {"data": "alpaca", "v": "30%"}
    result = {"records": records, "subjects": subjects, "costs": [], "notes": {}}
    return write_experiment(folder, [spec or SPEC], [cell("evaluate/alpaca.30%", axes, result)])


def test_means_intervals_and_differences_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    write_tables(two_seeds(tmp_path))
    lines = {(one["influence"], one["how"], one["metric"]): one for one in read_lines(tmp_path / "tables" / "main.csv")}
    assert set(lines) == {
        ("delift", "exact", "loss"), ("delift", "nncift", "loss"), ("random", "", "loss"), ("initial", "", "loss"),
        ("delift", "exact", "rouge1"), ("random", "", "rouge1"),
    }  # fmt: skip
    row = {name: _number(value) for name, value in lines["delift", "nncift", "loss"].items()}
    spread = T2 * 0.1  # values 2.1 and 2.3: standard deviation .141, of their mean .1
    assert (row["mean"], row["runs"]) == (pytest.approx(2.2), 2)
    low, high = 2.2 - (spread**2 + 0.2**2) ** 0.5, 2.2 + (spread**2 + 0.3**2) ** 0.5  # own ends: 2.0 and 2.5 on average
    assert (row["mean_low"], row["mean_high"]) == (pytest.approx(low), pytest.approx(high))
    assert row["diff_random"] == pytest.approx(-0.3)
    wide = (spread**2 + 0.4**2) ** 0.5  # own ends: -.7 and .1 on average
    assert (row["diff_random_low"], row["diff_random_high"]) == (pytest.approx(-0.3 - wide), pytest.approx(-0.3 + wide))
    assert row["verdict"] == "beats random in 1 of 2, no difference shown in 1 of 2"
    assert row["diff_exact"] == pytest.approx(0.2)  # .1 and .3
    assert row["diff_exact_by"] == "through random"
    assert row["diff_exact_low"] == pytest.approx(0.2 - (spread**2 + 0.5**2) ** 0.5)
    exact = {name: _number(value) for name, value in lines["delift", "exact", "loss"].items()}
    assert (exact["mean_low"], exact["mean_high"], exact["verdict"]) == (1.9, 2.1, "beats random")
    assert exact["diff_exact"] == "" and exact["diff_random_low"] == -0.8
    random = lines["random", "", "loss"]
    assert (_number(random["mean"]), random["diff_random"], random["verdict"]) == (2.5, "", "")
    assert _number(lines["initial", "", "loss"]["diff_random_high"]) == 0.7
    published = lines["delift", "exact", "rouge1"]
    assert _number(published["published"]) == pytest.approx(0.3836) and "Phi-3" in published["published_source"]
    assert lines["delift", "exact", "loss"]["published"] == ""


def test_one_seed_beside_the_exact_row_is_compared_through_random(tmp_path: Path) -> None:
    write_tables(two_seeds(tmp_path, SPEC | {"where": {"seed": 0}}))
    (row,) = [one for one in read_lines(tmp_path / "tables" / "main.csv") if one["how"] == "nncift"]
    # -.4 [-.8, -.1] minus -.5 [-.8, -.2]: below (.4² + .3²)^½ = .5, above (.3² + .3²)^½
    assert _number(row["diff_exact"]) == pytest.approx(0.1)
    assert _number(row["diff_exact_low"]) == pytest.approx(0.1 - 0.5)
    assert _number(row["diff_exact_high"]) == pytest.approx(0.1 + 0.18**0.5)


def test_without_a_common_random_the_two_means_are_compared(tmp_path: Path) -> None:
    cells = [
        cell(
            f"evaluate/{how}",
            {"data": "alpaca", "how": how},
            {
                "records": [score("a", mean, ci=[mean - 0.3, mean + 0.4], diff_random=0.0, diff_ci=[-1, 1])],
                "subjects": {"a": {"data": "alpaca", "influence": "less", "how": how, "seed": 0}},
            },
        )
        for how, mean in (("exact", 1.0), ("nncift", 1.5))
    ]
    write_tables(write_experiment(tmp_path, [SPEC], cells))
    (row,) = [one for one in read_lines(tmp_path / "tables" / "main.csv") if one["how"] == "nncift"]
    assert row["diff_exact_by"] == "unpaired" and _number(row["diff_exact"]) == pytest.approx(0.5)
    assert _number(row["diff_exact_low"]) == pytest.approx(0.5 - (0.3**2 + 0.4**2) ** 0.5)


def test_the_page_says_it_in_words(tmp_path: Path) -> None:
    write_tables(two_seeds(tmp_path))
    text = (tmp_path / "tables" / "main.md").read_text(encoding="utf-8")
    for words in (
        "# A toy",
        "| influence | how | alpaca, lora, loss (lower is better) | alpaca, icl, rouge1 % |",
        "| delift | exact | 2.000 [1.900, 2.100] | 50.0 [40.0, 60.0] |",
        "| initial |  | 3.000 [2.900, 3.100] | – |",
        "| delift | exact | -0.500 [-0.800, -0.200] beats random |",
        "nncift: mean absolute relative difference to the exact row 10.0% over 1 place.",  # 2.2 against 2.0
        "random rows: mean absolute relative difference to the exact row 22.5% over 2 places.",  # .5 / 2 and .1 / .5
        "published, recomputed for phi-3: 1.40% (nncift, 48 places).",
    ):
        assert words in text, words
    assert "99" not in "".join(line for line in text.splitlines() if line.startswith("| random"))


def test_a_row_named_like_a_control_does_not_stand_in_for_it(tmp_path: Path) -> None:
    records = [
        score("mine", 2.0, ci=[1.9, 2.1], diff_random=-0.5, diff_ci=[-0.8, -0.2], verdict="beats random"),
        score("random", 2.5, control="random", ci=[2.4, 2.6], draws=5),
    ]
    result = {"records": records, "subjects": {"mine": {"how": "random"}}, "costs": [], "notes": {}}
    spec = {"kind": "main", "name": "main", "rows": ["how"], "columns": ["metric"], "exact": {}}
    axes = {"how": {"random": {}, "exact": {}}}
    write_tables(write_experiment(tmp_path, [spec], [cell("evaluate/alpaca.30%", {}, result)], axes=axes))
    lines = read_lines(tmp_path / "tables" / "main.csv")
    assert sorted(_number(line["mean"]) for line in lines) == [2.0, 2.5]


def test_every_other_axis_with_several_values_makes_a_page(tmp_path: Path) -> None:
    cells = []
    for v, mean in (("30%", 1.0), ("10%", 2.0)):
        subjects = {"a": {"influence": "less", "how": "exact", "v": v, "seed": 0}}
        records = [score("a", mean), score("full", 0.5, control="full", size=0)]
        cells.append(cell(f"evaluate/{v}", {"data": "alpaca", "v": v}, {"records": records, "subjects": subjects}))
    failed = cell("select/b", {"v": "10%"}, {}, status="failed", error="out of memory | at | once")
    write_tables(write_experiment(tmp_path, [SPEC], [*cells, failed]))
    text = (tmp_path / "tables" / "main.md").read_text(encoding="utf-8")
    heads = [line for line in text.splitlines() if line.startswith("## Scores")]
    assert heads == ["## Scores (v 10%)", "## Scores (v 30%)"]
    assert [one["mean"] for one in read_lines(tmp_path / "tables" / "main.csv")] == ["0.5", "2.0", "0.5", "1.0"]
    assert r"- select/b failed: out of memory \| at \| once" in text


def test_with_nothing_done_the_table_says_so(tmp_path: Path) -> None:
    write_tables(write_experiment(tmp_path, [SPEC], []))
    assert "No finished cell holds anything" in (tmp_path / "tables" / "main.md").read_text(encoding="utf-8")


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
