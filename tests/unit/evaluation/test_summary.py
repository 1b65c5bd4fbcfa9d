"""From scores to what is printed: nothing is claimed that the verdict does not say."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from rich.console import Console

from nncift.errors import ConfigError
from nncift.evaluation import summary
from nncift.evaluation.statistics import Difference, holm
from nncift.evaluation.summary import Scored, comparisons, higher_is_better, sentences, summarise, table


def scores(quality: float, draws: int, seed: int, items: int = 40) -> np.ndarray:
    """[draws, 2, items] around a quality, the draws 0.01 apart."""
    hard = np.random.default_rng(0).normal(0, 0.3, items)
    rng = np.random.default_rng(seed)
    return quality + hard + rng.normal(0, 0.01, (draws, 1, 1)) + rng.normal(0, 0.005, (draws, 2, items))


def example() -> list[Scored]:
    """Loss by lora and rouge1 by icl at 30 rows, loss also at 60; two controls of other sizes."""
    return [
        Scored("initial", "lora", "loss", scores(2.0, 1, 1), size=0),
        Scored("random", "lora", "loss", scores(1.5, 6, 2), size=30),
        Scored("mine", "lora", "loss", scores(1.2, 1, 3), size=30),
        Scored("bad", "lora", "loss", scores(1.8, 1, 4), size=30),
        Scored("alike", "lora", "loss", scores(1.5, 1, 5), size=30),
        Scored("random", "lora", "loss", scores(1.4, 1, 6), size=60),
        Scored("mine", "lora", "loss", scores(1.1, 1, 7), size=60),
        Scored("full", "lora", "loss", scores(1.0, 1, 8), size=500),
        Scored("random", "icl", "rouge1", scores(0.3, 6, 9), size=30),
        Scored("mine", "icl", "rouge1", scores(0.6, 1, 10), size=30),
        Scored("bad", "icl", "rouge1", scores(0.1, 1, 11), size=30),
    ]


def found() -> dict[tuple[str, str, int], summary.Record]:
    return {(r["subset"], r["metric"], r["size"]): r for r in summarise(example(), seed=3)}


def test_each_subset_is_compared_with_random_of_its_own_size_way_and_metric() -> None:
    records = found()
    verdicts = {key: record["verdict"] for key, record in records.items()}
    assert verdicts == {
        ("initial", "loss", 0): None,
        ("random", "loss", 30): None,
        ("mine", "loss", 30): "beats random",
        ("bad", "loss", 30): "loses to random",
        ("alike", "loss", 30): "no difference shown",
        ("random", "loss", 60): None,
        ("mine", "loss", 60): None,  # one draw tells nothing of the spread
        ("full", "loss", 500): None,
        ("random", "rouge1", 30): None,
        ("mine", "rouge1", 30): "beats random",
        ("bad", "rouge1", 30): "loses to random",
    }
    mine = records["mine", "loss", 30]
    assert mine["diff_random"] == pytest.approx(example()[2].scores.mean() - example()[1].scores.mean())
    assert mine["diff_ci"] is not None and mine["diff_ci"][0] < mine["diff_random"] < mine["diff_ci"][1] < 0
    alone = records["mine", "loss", 60]
    assert alone["diff_random"] == pytest.approx(example()[6].scores.mean() - example()[5].scores.mean())
    assert (alone["diff_ci"], alone["p_holm"]) == (None, None)
    assert records["full", "loss", 500]["diff_random"] is None


def test_holm_counts_every_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([0.03, 0.004, 0.02, 0.9, 0.011])

    def difference(*_: object, **__: object) -> Difference:
        return Difference(-0.3, -0.4, -0.2, next(told))

    monkeypatch.setattr(summary, "difference", difference)
    given = [one for one in example() if one.size == 30]
    records = summarise(given, seed=3)
    adjusted = [record["p_holm"] for record in records if record["p_holm"] is not None]
    assert adjusted == holm([0.03, 0.004, 0.02, 0.9, 0.011]) and comparisons(records) == 5
    verdicts = [record["verdict"] for record in records if record["verdict"] is not None]
    quiet = "no difference shown"
    assert verdicts == [quiet, "beats random", quiet, quiet, "loses to random"]  # 0.02 × 3 = 0.06


def test_records_are_json_and_carry_what_was_asked_and_scored() -> None:
    given = example()
    given[2].scores[0, 1, [2, 4]] = np.nan
    given.append(Scored("judged", "lora", "judge", np.full((1, 2, 40), np.nan), size=30))
    records = summarise(given, seed=3)
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    mine = records[2]
    assert {**mine, "mean": 0, "ci": 0, "diff_random": 0, "diff_ci": 0, "p_holm": 0} == {
        **{
            "subset": "mine",
            "by": "lora",
            "metric": "loss",
            "size": 30,
            "draws": 1,
            "seeds": 2,
            "n": 80,
            "n_scored": 78,
        },
        **{"mean": 0, "ci": 0, "diff_random": 0, "diff_ci": 0, "p_holm": 0, "verdict": "beats random"},
    }
    assert mine["mean"] == pytest.approx(np.nanmean(given[2].scores))
    assert mine["ci"] is not None and mine["ci"][0] < mine["mean"] < mine["ci"][1]
    assert (records[-1]["mean"], records[-1]["n_scored"], records[-1]["ci"]) == (None, 0, None)


def test_another_subset_beside_changes_no_ones_numbers() -> None:
    few, many = summarise(example()[:3], seed=3), summarise(example(), seed=3)
    for record, same in zip(few, many, strict=False):
        assert {**record, "p_holm": 0, "verdict": 0} == {**same, "p_holm": 0, "verdict": 0}
    assert summarise(example(), seed=4)[2]["diff_ci"] != many[2]["diff_ci"]


def test_the_yardstick_may_have_another_name() -> None:
    given = [Scored("chance" if one.subset == "random" else one.subset, one.by, one.metric, one.scores, size=one.size)
             for one in example()]  # fmt: skip
    assert comparisons(summarise(given, seed=3)) == 0
    assert comparisons(summarise(given, seed=3, random="chance")) == 5


def test_scores_that_cannot_be_compared_are_refused() -> None:
    given = [*example()[1:3], Scored("mine", "lora", "loss", scores(1, 1, 1), size=30)]
    with pytest.raises(ConfigError, match="twice"):
        summarise(given, seed=3)
    given = [example()[1], Scored("mine", "lora", "loss", scores(1, 1, 1, items=41), size=30)]
    with pytest.raises(ConfigError, match="41 test rows"):
        summarise(given, seed=3)


def test_loss_alone_is_better_when_lower() -> None:
    names = ("loss", "rouge1", "rougeL", "bge", "similarity", "judge")
    assert [higher_is_better(name) for name in names] == [False, True, True, True, True, True]


def test_sentences_claim_only_what_the_verdict_says() -> None:
    records = summarise(example(), seed=3)
    lines = sentences(records)
    assert len(lines) == len(records) + 1
    for record, line in zip(records, lines, strict=False):
        assert line.startswith(f"{record['subset']}, ")
        assert ("beats random" in line) == (record["verdict"] == "beats random")
        assert ("loses to random" in line) == (record["verdict"] == "loses to random")
        assert f"{record['n_scored']:,} of {record['n']:,} scored" in line
    assert "5 comparisons" in lines[-1] and "beats" not in lines[-1]
    mine = lines[2]
    assert re.fullmatch(
        r"mine, 30 rows, by lora: loss 1\.\d{4} \[1\.\d{4}, 1\.\d{4}\] nats per response token \(80 of 80 scored, 2 seeds\); "
        r"0\.\d{4} lower than random \[-0\.\d{4}, -0\.\d{4}\], p (0\.\d{3}|< 0\.001): beats random",
        mine,
    ), mine
    assert "higher than random" in lines[9] and "too few random draws" in lines[6]
    assert "6 draws × 2 seeds" in lines[1]


def test_sentences_without_a_comparison_and_without_a_score() -> None:
    given = [Scored("judged", "lora", "judge", np.full((1, 2, 40), np.nan), size=30)]
    line, last = sentences(summarise(given, seed=3))
    assert line == "judged, 30 rows, by lora: judge no score (0 of 80 scored, 2 seeds)"
    assert last == "Nothing could be compared with random draws."
    assert sentences(summarise([example()[0]], seed=3))[0].startswith("initial, 0 rows, by lora: loss ")


def test_one_comparison_is_told_as_one() -> None:
    lines = sentences(summarise(example()[1:3], seed=3))
    assert "1 comparison " in lines[-1]


def test_a_grade_has_two_decimals_and_names_its_scale() -> None:
    given = [
        Scored("random", "icl", "judge", 3 + scores(0, 6, 1), size=30),
        Scored("a", "icl", "judge", scores(4, 1, 2), size=30),
    ]
    line = sentences(summarise(given, seed=3))[1]
    assert re.match(r"a, 30 rows, by icl: judge \d\.\d\d \[\d\.\d\d, \d\.\d\d\] of 1 to 5 \(80 of 80 scored", line), (
        line
    )


def test_a_name_changes_no_number() -> None:
    strange = [example()[1], Scored("caf\udce9.jsonl", "lora", "loss", example()[2].scores, size=30)]
    found, plain = (summarise(given, seed=3)[1] for given in (strange, example()[1:3]))
    assert found["verdict"] == "beats random" and {**found, "subset": "mine"} == plain


def test_tiny_p_values_are_not_told_as_zero() -> None:
    records = summarise(example()[1:3], seed=3)
    records[1]["p_holm"] = 0.0002
    assert "p < 0.001" in sentences(records)[1]


def test_the_table_shows_the_same() -> None:
    given = example()
    given[2] = Scored("[red]mine", "lora", "loss", given[2].scores, size=30)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table(summarise(given, seed=3)))
    text = console.export_text()
    assert "[red]mine" in text and text.count("beats random") == 2 and text.count("loses to random") == 2
    assert text.count("80 of 80") == 9 and text.count("480 of 480") == 2
    assert "5 comparisons" in text
