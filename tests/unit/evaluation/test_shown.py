"""What is printed says what the records say, claims no more, and fits on a screen."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from nncift.evaluation.shown import WIDTH, shown, signed
from nncift.evaluation.summary import summarise
from toy_scores import example, scored, scores


def test_a_table_for_each_metric_best_first() -> None:
    lines = shown(summarise(example(), seed=3))
    heads = [k for k, line in enumerate(lines) if line.endswith(" is better")]
    assert [lines[k] for k in heads] == [
        "loss by lora, nats per response token, lower is better",
        "rouge1 by icl, higher is better",
    ]
    first, second = (
        [re.sub(r"  .*", "", line[2:]) for line in part if line.startswith("  ")]
        for part in (lines[heads[0] : heads[1]], lines[heads[1] :])
    )
    assert first == ["subset", "full", "mine", "mine", "random", "alike", "random", "bad", "initial"]
    assert second == ["subset", "mine", "random", "bad"]
    assert max(map(len, lines)) <= WIDTH


def test_a_line_holds_the_rows_taught_and_the_signed_difference() -> None:
    given = [scored("mine", scores(1.2, 1, 3), rows=29.5), *example()[1:2], replace(example()[0], size=30)]
    records = summarise(given, seed=3)
    mine, random, initial = shown(records)[2:5]
    found = re.fullmatch(
        r"  mine +29\.5  (1\.\d{3})  (-0\.\d{3} \[-0\.\d{3}, -0\.\d{3}\])  ( 0\.\d{3}|<0\.001)  beats random", mine
    )
    assert found, mine
    assert float(found[1]) == pytest.approx(records[0]["mean"], abs=5e-4)
    assert records[0]["diff_random"] is not None
    assert found[2] == signed(records[0]["diff_random"], records[0]["diff_ci"], "loss")
    assert re.fullmatch(r"  random +29  1\.\d{3}", random), random
    assert re.fullmatch(r"  initial +0  1\.\d{3}  \+0\.\d{3} \[\+0\.\d{3}, \+0\.\d{3}\]", initial), (
        "a control is not judged"
    )


def test_signs_are_always_told() -> None:
    assert signed(-0.196, [-0.2102, -0.182], "loss") == "-0.196 [-0.210, -0.182]"
    assert signed(0.021, [-0.004, 0.046], "rouge1") == "+0.021 [-0.004, +0.046]"
    assert signed(-0.0001, None, "bge") == "+0.000"
    assert signed(-0.25, [-0.5, 0], "judge") == "-0.25 [-0.50, +0.00]"


def test_claims_are_those_of_the_verdict() -> None:
    records = summarise(example(), seed=3)
    text = " ".join(shown(records))
    for words in ("beats random", "loses to random"):
        assert text.count(words) == sum(record["verdict"] == words for record in records) > 0
    assert "for 5 comparisons of chosen" in text and "without an interval" in text
    assert "where the line makes no claim, no difference is shown" in text
    one = " ".join(shown(summarise(example()[1:3], seed=3)))
    assert "for 1 comparison of chosen" in one and "without an interval" not in one


def test_random_rows_of_as_much_text_have_a_table_of_their_own() -> None:
    given = [
        *example()[1:4],
        scored("text of mine", scores(1.4, 6, 12), control="random-tokens", matched="mine", rows=36.5),
        scored("text of bad", scores(1.8, 6, 13), control="random-tokens", matched="bad", rows=25),
    ]
    records = summarise(given, seed=3)
    lines = shown(records)
    start = lines.index("against random rows of as many tokens as the subset has")
    mine, bad = lines[start + 2 : start + 4]
    assert re.fullmatch(
        r"  mine +36\.5  1\.\d{3}  -0\.\d{3} \[-0\.\d{3}, -0\.\d{3}\] +(0\.\d{3}|<0\.001)  beats random", mine
    ), mine
    assert bad.startswith("  bad") and "  25  " in bad and re.search(r"\d$", bad)
    assert "2 seeds; 6 draws, 2 seeds each for random, random rows of as many tokens." in " ".join(lines)
    assert not any("text of" in line for line in lines) and max(map(len, lines)) <= WIDTH
    assert "against" not in " ".join(shown(summarise(given[:3], seed=3)))


def test_what_is_behind_the_means_is_told_once() -> None:
    given = [scored(name, scores(1.2, 1, k)) for k, name in enumerate(("a", "b", "c"))]
    given += [
        replace(scored("random", scores(1.5, 6, 9)[:, :1], control="random"), seeds=3),
        replace(scored("initial", scores(2, 1, 9)[:, :1], control="initial"), seeds=1),
    ]
    text = " ".join(shown(summarise(given, seed=3)))
    assert (
        "Behind a mean: 2 seeds; 6 draws, 3 seeds in turn for random; 1 seed for initial. No score is missing." in text
    )
    given[1].scores[0, 0, [3, 5]] = np.nan
    text = " ".join(shown(summarise(given, seed=3)))
    assert "Not all are scored: b 78 of 80." in text
    crossed = " ".join(shown(summarise([scored("random", scores(1.5, 6, 9), control="random")], seed=3)))
    assert "Behind a mean: 6 draws, 2 seeds each." in crossed


def test_without_random_a_mean_has_its_interval() -> None:
    given = [
        scored("mine", 3 + scores(1, 1, 1), metric="judge"),
        scored("none", np.full((1, 2, 40), np.nan), metric="judge"),
    ]
    lines = shown(summarise(given, seed=3))
    assert lines[0] == "judge by lora, 1 to 5, higher is better"
    assert re.fullmatch(r"  mine +29  3\.\d\d \[3\.\d\d, 4\.\d\d\]", lines[2]), lines[2]
    assert re.fullmatch(r"  none +29  none", lines[3])
    assert lines[-1] == "No chosen subset could be compared with random draws."


@pytest.mark.parametrize("name", ["[red]mine[/red]", "caf\udce9", "[", "a" * 90])
def test_any_name_is_shown_as_it_is(name: str) -> None:
    given = [example()[1], replace(example()[2], subset=name)]
    lines = shown(summarise(given, seed=3))
    assert max(map(len, lines)) <= WIDTH
    names = "".join(
        line[2:].split("  ")[0] for line in lines[2:] if line.startswith("  ") and "random" not in line[2:8]
    )
    assert names.replace(" ", "") == name
    assert sum("beats random" in line for line in lines) == 1


def test_tiny_p_values_are_not_told_as_zero() -> None:
    records = summarise(example()[1:3], seed=3)
    records[1]["p_holm"] = 0.0002
    assert "  <0.001  beats random" in shown(records)[2]
