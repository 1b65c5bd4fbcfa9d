"""The road for every kind of teacher: priced by the row or by the pair, reading a target or not, with one model or several,
and what it may refuse to score."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import nncift
import nncift.pipeline
from nncift.config import SelectConfig
from nncift.data.arrays import read_npz
from nncift.data.files import load_pool
from nncift.errors import ConfigError, DataError
from nncift.estimator.budget import parse_labels
from nncift.estimator.gaussian import GaussianProcess
from nncift.estimator.storage import load
from nncift.pipeline.drawing import draw_pairs
from nncift.pipeline.inputs import make_axes
from nncift.pipeline.phases import in_phases
from nncift.pipeline.preparing import prepare
from nncift.plan import plan
from nncift.progress import Silent
from toy_road import Corpus, make_corpus, save_model, share_of_beta
from toys import toy_tokenizer

TEACHERS = '''
"""Teachers of a test that note what they were asked."""
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from nncift.influence.base import Asked, Calls, Direct, Traits
from nncift.lm.tokens import Query
from nncift.lm.score import score_responses

SEEN = []


def topic(row):
    return row.text.split()[0]


@dataclass(frozen=True, slots=True)
class ByRow:
    """Rows of a topic help targets of the topic; every row costs one forward. *Cost*: rows."""
    traits: ClassVar[Traits] = Traits(name="by-row", pairwise=True, objective="facility-location", needs_model=True,
                                      uses_target=True, priced="row")
    silent: str = "none"

    def calls(self, asked):
        return Calls(forwards=asked.targets + asked.candidates)

    def start(self, context):
        SEEN.append(context)
        rows = [context.targets[k] for k in context.asked_targets] + [context.pool[k] for k in context.asked_pool]
        score_responses(context.lm, [(1,)] * len(rows), [Query((5,), (6,), False)] * len(rows))

        def values(i, j, on_progress):
            on_progress(len(i))
            pairs = [(context.targets[a], context.pool[b]) for a, b in zip(i, j)]
            return np.array([-np.inf if p.text.startswith(self.silent) else (topic(t) == topic(p)) + 1e-3 * (len(p.text) % 7)
                             for t, p in pairs], dtype=np.float32)

        return Direct(values)


@dataclass(frozen=True, slots=True)
class Reads:
    """A score of each row that depends on the target. *Cost*: nothing."""
    traits: ClassVar[Traits] = Traits(name="reads", pairwise=False, objective="top-mean", needs_embeddings=True,
                                      uses_target=True)

    def start(self, context):
        SEEN.append(context)
        centre = context.target_embeddings.mean(axis=0)

        def values(i, j, on_progress):
            on_progress(len(j))
            return (context.pool_embeddings[j] @ centre).astype(np.float32)

        return Direct(values)


@dataclass(frozen=True, slots=True)
class Several:
    """A score of each row by several models. *Cost*: rows."""
    traits: ClassVar[Traits] = Traits(name="several", pairwise=False, objective="top-mean", needs_model=True,
                                      several_models=True)

    def calls(self, asked):
        return Calls(forwards=asked.candidates)

    def start(self, context):
        SEEN.append(context)

        def values(i, j, on_progress):
            on_progress(len(j))
            for lm in context.lms:
                score_responses(lm, [(1,)] * len(j), [Query((5,), (6,), False)] * len(j))
            return np.array([len(context.pool[k].text) for k in j], dtype=np.float32)

        return Direct(values)
'''


@pytest.fixture
def teachers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "noting_teachers.py").write_text(TEACHERS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "noting_teachers", raising=False)
    return "noting_teachers"


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return make_corpus(tmp_path / "data", n=80, m=9, beta=32)


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save_model(tmp_path / "model"))


def test_a_teacher_that_pays_by_the_row_is_asked_about_few_rows(
    teachers: str, corpus: Corpus, model: str, tmp_path: Path
) -> None:
    options = corpus.options(influence=f"{teachers}:ByRow", model=model, labels="30%", budget=10)
    picked = nncift.select(corpus.pool, **options, output=str(tmp_path / "run"))
    labels = np.load(tmp_path / "run" / "labels.npz")
    rows, columns = len(np.unique(labels["i"])), len(np.unique(labels["j"]))
    assert (rows, columns) == (9, 24) and len(labels["y"]) == 9 * 24  # 216 = 30 % of 720 pairs, and a whole block
    label = picked.costs["stages"]["label"]
    assert label["lm_forwards"] == rows + columns
    assert picked.costs["exact"]["lm_forwards"] == 9 + 80
    assert picked.costs["exact"]["share"] == pytest.approx((9 + 24) / (9 + 80))
    assert share_of_beta([example.text for example in picked.examples]) > 0.9
    context = sys.modules[teachers].SEEN[-1]
    assert len(context.asked_targets) == 9 and set(context.asked_pool) == set(np.unique(labels["j"]))


def test_the_plan_of_a_teacher_that_pays_by_the_row(teachers: str, corpus: Corpus, model: str) -> None:
    options = {"pool": str(corpus.pool), "labels": "30%", "budget": 10, "model": model, "output": "unused"}
    planned = plan(SelectConfig.of(corpus.options(influence=f"{teachers}:ByRow", **options)), Silent())
    assert (planned.lm_forwards, planned.exact_lm_forwards) == (9 + 24, 9 + 80)
    assert planned.labels == 9 * 24 and planned.seconds["label"] >= 0
    probe = sys.modules[teachers].SEEN[-1]
    assert (len(probe.targets), len(probe.pool)) == (8, 24)  # never more than asked about


def test_rows_that_cannot_be_scored_are_never_picked(teachers: str, corpus: Corpus, model: str, tmp_path: Path) -> None:
    options = corpus.options(influence=f"{teachers}:ByRow", option=("silent=beta",), model=model, budget=60)
    picked = nncift.select(corpus.pool, **options, labels="all", output=str(tmp_path / "run"))
    assert len(picked) == 80 - 32 and share_of_beta([row.text for row in picked.examples]) == 0
    assert "32 of 80 pool rows cannot be scored" in picked.notes["barred"]
    assert "48 of the 60 rows asked for" in picked.notes["budget"]
    facts = json.loads((tmp_path / "run" / "stages.json").read_text())["label"]["facts"]
    assert len(facts["barred"]) == 32
    values = picked.influences().values
    silent = np.array([row.text.startswith("beta") for row in picked.influences().pool])
    assert np.isfinite(values).all() and (values[silent] == values[~silent].min(axis=0)).all()
    again = nncift.select(corpus.pool, **options | {"budget": 5}, labels="all", output=str(tmp_path / "run"))
    assert again.ids == picked.ids[:5] and share_of_beta([row.text for row in again.resize(48).examples]) == 0
    with pytest.raises(ConfigError, match="no row of the pool can be scored"):
        nncift.select(corpus.pool, **options | {"option": ("silent=",), "labels": "all"}, output=str(tmp_path / "none"))


def test_a_score_of_rows_may_read_the_target(teachers: str, corpus: Corpus, tmp_path: Path) -> None:
    options = corpus.options(influence=f"{teachers}:Reads", budget=12, labels="all", output=str(tmp_path / "run"))
    picked = nncift.select(corpus.pool, **options)
    context = sys.modules[teachers].SEEN[-1]
    assert len(context.targets) == 9 and context.target_embeddings.shape == (9, 8)
    assert share_of_beta([row.text for row in picked.examples]) == 1 and "unused" not in picked.notes
    other = make_corpus(tmp_path / "other", n=80, m=5, beta=32)
    again = nncift.select(corpus.pool, **options | {"target": str(other.target), "embedder": other.embeddings})
    context = sys.modules[teachers].SEEN[-1]
    assert again.ids != picked.ids and len(context.targets) == 5  # another target is another question, asked anew
    alone = nncift.select(corpus.pool, influence=f"{teachers}:Reads", embedder=str(corpus.pool.with_suffix(".npy")),
                          budget=3, labels="all", output=str(tmp_path / "alone"))  # fmt: skip
    assert len(alone) == 3 and len(sys.modules[teachers].SEEN[-1].targets) == 80  # the pool is its own


def test_several_models_reach_the_teacher_that_takes_them_and_no_other(
    teachers: str, corpus: Corpus, model: str, tmp_path: Path
) -> None:
    second = str(save_model(tmp_path / "second", uniform=True))
    options = corpus.options(model=(model, second), budget=5)
    picked = nncift.select(
        corpus.pool, influence=f"{teachers}:Several", labels="20", output=str(tmp_path / "run"), **options
    )
    assert len(sys.modules[teachers].SEEN[-1].lms) == 2
    assert picked.costs["stages"]["label"]["lm_forwards"] == 40 and picked.costs["exact"]["lm_forwards"] == 160
    assert nncift.pipeline.select(
        SelectConfig.of({"pool": str(corpus.pool), "influence": f"{teachers}:Several", "labels": "20",
                         "output": str(tmp_path / "run"), **options})
    ).ids == picked.ids  # fmt: skip
    with pytest.raises(ConfigError, match="takes one language model, and 2 are given"):
        nncift.select(corpus.pool, influence="delift", output=str(tmp_path / "no"), **options)
    assert not (tmp_path / "no").exists()


def test_phases_of_rising_difficulty(corpus: Corpus, tmp_path: Path) -> None:
    options = corpus.options(influence="similarity", budget=11, phases=3, output=str(tmp_path / "run"))
    picked = nncift.select(corpus.pool, **options)
    assert picked.phases is not None and sorted(picked.phases) == [1] * 4 + [2] * 4 + [3] * 3
    words = {phase: [] for phase in (1, 2, 3)}
    for row, phase in zip(picked.examples, picked.phases, strict=True):
        words[phase].append(len(row.response.split()))
    assert max(words[1]) <= min(words[2]) and max(words[2]) <= min(words[3])
    entries = [json.loads(line) for line in (tmp_path / "run" / "selection.jsonl").read_text().splitlines()]
    assert [entry["phase"] for entry in entries] == picked.phases
    files = [tmp_path / "run" / f"subset.phase{phase}.jsonl" for phase in (1, 2, 3)]
    together = b"".join(file.read_bytes() for file in files).splitlines()
    assert sorted(together) == sorted((tmp_path / "run" / "subset.jsonl").read_bytes().splitlines())
    assert nncift.select(corpus.pool, **options).phases == picked.phases
    assert picked.resize(4).phases == picked.phases[:4]
    fewer = nncift.select(corpus.pool, **options | {"phases": 2})
    assert not files[2].exists() and fewer.phases is not None and max(fewer.phases) == 2
    assert nncift.select(corpus.pool, **options | {"phases": 0}).phases is None and not files[0].exists()


def test_phases_by_a_model(corpus: Corpus, model: str, tmp_path: Path) -> None:
    options = corpus.options(influence="similarity", model=model, budget=6, phases=2, output=str(tmp_path / "run"))
    picked = nncift.select(corpus.pool, **options)
    assert picked.phases is not None and sorted(picked.phases) == [1] * 3 + [2] * 3
    assert picked.costs["stages"]["select"]["lm_forwards"] == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phases": 1}, "--phases is 1; it must be 2 or more"),
        ({"phases": 6}, "--phases 6 is more than the 5 rows"),
        ({"phases": 2, "difficulty": "similarity"}, "does not say how hard a row is"),
        ({"phases": 2, "difficulty": "ifd", "model": "x"}, "--difficulty ifd does not say how hard"),
        ({"phases": 2, "difficulty": "perplexity"}, "--difficulty perplexity needs a language model"),
        ({"phases": 2, "difficulty": "lenght"}, "Did you mean 'length'"),
    ],
)
def test_phases_that_cannot_be_are_refused_before_anything_is_done(
    corpus: Corpus, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    options = corpus.options(influence="similarity", budget=5, output=str(tmp_path / "run"))
    with pytest.raises(ConfigError, match=message):
        nncift.select(corpus.pool, **options | changes)
    assert not (tmp_path / "run").exists()


def test_equal_parts_with_the_larger_first() -> None:
    np.testing.assert_array_equal(in_phases(np.array([3.0, 1.0, 2.0, 2.0, 9.0]), 2), [2, 1, 1, 1, 2])


@pytest.mark.parametrize("influence", ["less", "gradsim", "delift"])
def test_gradients_too_cover_the_target(corpus: Corpus, influence: str) -> None:
    """By mean influence LESS chose one kind of row, and taught less than random rows; docs/results says how much."""
    options = {
        "pool": str(corpus.pool),
        "target": str(corpus.target),
        "model": ("m",),
        "output": "unused",
        "budget": "5",
    }
    setup = prepare(SelectConfig.of(options | {"influence": influence}))
    assert setup.objective is not None and setup.objective.name == "facility-location"
    assert setup.why == "coverage of the target"


def test_costs_are_whole(teachers: str, corpus: Corpus, model: str, tmp_path: Path) -> None:
    options = corpus.options(influence=f"{teachers}:ByRow", model=model, labels="30%", budget=10)
    costs = nncift.select(corpus.pool, **options, output=str(tmp_path / "run")).costs
    for stage in costs["stages"].values():
        assert stage["seconds"] >= 0 and stage["cpu_seconds"] >= 0 and stage["peak_memory"] > 10_000_000
    label, select = costs["stages"]["label"], costs["stages"]["select"]
    assert label["lm_tokens"] > 0 and label["flops"] > 0 and label["head_tokens"] == label["lm_forwards"]
    labels = read_npz(tmp_path / "run" / "labels.npz")
    landmarks = len(np.unique(labels["i"])) + len(np.unique(labels["j"]))
    assert select["pair_predictions"] == 720 and select["flops"] == 720 * (2 * landmarks + 2)
    assert costs["total"]["flops"] == sum(stage["flops"] for stage in costs["stages"].values())
    assert (
        costs["estimator"]["weights"]
        == load(tmp_path / "run" / "estimator.safetensors", GaussianProcess(), features=None).weights
        > 0
    )
    assert costs["estimator"]["share"] == costs["estimator"]["weights"] / costs["estimator"]["lm_weights"]


@pytest.mark.parametrize(("estimator", "reads"), [("gaussian-process", True), ("paper", False), ("means", False)])
def test_states_are_read_once_and_only_where_the_estimator_reads_them(
    estimator: str, reads: bool, teachers: str, corpus: Corpus, model: str, tmp_path: Path
) -> None:
    named = {"influence": f"{teachers}:ByRow", "model": model, "labels": "30%", "budget": 10, "estimator": estimator}
    options = corpus.options(**named, features="states")
    planned = plan(SelectConfig.of({"pool": corpus.pool, **{k: str(v) for k, v in options.items()}}), Silent())
    first = nncift.select(corpus.pool, **options, output=str(tmp_path / "one")).costs["stages"]
    assert ("states" in first) is reads
    assert planned.state_lm_forwards == (80 + 9 if reads else 0)
    if reads:
        again = nncift.select(corpus.pool, **options, output=str(tmp_path / "two")).costs["stages"]
        assert (first["states"]["lm_forwards"], again["states"]["lm_forwards"]) == (80 + 9, 0)


def test_states_are_left_out_where_they_would_cost_as_much_as_the_influence(
    teachers: str, corpus: Corpus, model: str, tmp_path: Path
) -> None:
    options = corpus.options(influence=f"{teachers}:ByRow", model=model, labels="30%", budget=10)
    assert "states" not in nncift.select(corpus.pool, **options, output=str(tmp_path / "run")).costs["stages"]


@pytest.mark.parametrize(("design", "most"), [("spread", 2), ("stripes", 9), ("cross", 9)])
def test_a_design_that_is_named_is_drawn(design: str, most: int, corpus: Corpus, tmp_path: Path) -> None:
    options = corpus.options(influence="similarity", labels="108", budget=10, design=design)
    picked = nncift.select(corpus.pool, **options, output=str(tmp_path / "run"))
    labels = read_npz(tmp_path / "run" / "labels.npz")
    each = np.bincount(labels["j"], minlength=80)
    assert len(labels["y"]) == 108 and picked.fidelity is not None and picked.fidelity["design"] == design
    assert {"spread": each.min() == 1 and each.max() == 2, "stripes": each.min() == 0, "cross": each.max() == most}[
        design
    ]


@pytest.mark.parametrize(("model", "influence"), [((), "similarity"), (("gemma-3-270m",), "less")])
def test_without_a_name_the_influence_is_what_was_measured_best(model: tuple[str, ...], influence: str) -> None:
    assert SelectConfig(pool="pool.jsonl", model=model).influence == influence
    assert SelectConfig(pool="pool.jsonl", model=model, influence="delift").influence == "delift"


def _one_letter_rows(folder: Path) -> Path:
    """60 rows, every third with an answer of one letter and no prompt: nothing stands in front of it."""
    rows = [
        {"id": f"r{k:02d}", "text": "y"} if k % 3 == 0 else {"id": f"r{k:02d}", "text": f"say {k} {k * k}"}
        for k in range(60)
    ]
    path = folder / "letters.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    np.save(folder / "letters.npy", np.random.default_rng(0).standard_normal((60, 8)))
    return path


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """A model whose tokenizer puts no beginning-of-sequence token in front."""
    folder = save_model(tmp_path / "bare")
    toy_tokenizer(bos=False).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("name", ["ifd", "perplexity", "less", "gradsim", "lossval"])
@pytest.mark.parametrize("labels", ["all", "24"])
def test_what_a_teacher_cannot_score_is_never_picked_labelled_or_not(
    bare: str, tmp_path: Path, name: str, labels: str
) -> None:
    pool = _one_letter_rows(tmp_path)
    target = tmp_path / "t.jsonl"
    target.write_text("".join(json.dumps({"id": f"t{k}", "text": f"ask {k}"}) + "\n" for k in range(5)))
    np.save(tmp_path / "t.npy", np.random.default_rng(1).standard_normal((5, 8)))
    option = {"less": ("epochs=1",), "lossval": ("epochs=1",)}.get(name, ())
    picked = nncift.select(
        pool, target=target, influence=name, model=bare, labels=labels, budget=40, dtype="float32", option=option,
        embedder=f"{tmp_path}/letters.npy,{tmp_path}/t.npy", output=str(tmp_path / "run"),
    )  # fmt: skip
    assert len(picked) == 40 and "y" not in [row["text"] for row in picked.rows]
    assert "20 of 60 pool rows cannot be scored" in picked.notes["barred"]


def test_a_pool_that_is_its_own_target_may_hold_rows_that_nothing_helps(bare: str, tmp_path: Path) -> None:
    pool = _one_letter_rows(tmp_path)
    options = {"model": bare, "labels": "all", "budget": 40, "dtype": "float32", "output": str(tmp_path / "run")}
    picked = nncift.select(pool, influence="gradsim", **options)
    assert len(picked) == 40 and "y" not in [row["text"] for row in picked.rows]
    with pytest.raises(DataError, match="target row 'r00' has no gradient"):
        nncift.select(pool, target=pool, influence="less", **options)


def test_an_existing_row_that_cannot_be_scored_takes_nothing_away(
    teachers: str, corpus: Corpus, model: str, tmp_path: Path
) -> None:
    odd = tmp_path / "odd.jsonl"
    first = json.loads(corpus.pool.read_text().splitlines()[0])
    best = nncift.select(corpus.pool, **corpus.options(influence=f"{teachers}:ByRow", model=model, labels="all", budget=5,
                                                       output=str(tmp_path / "a")))  # fmt: skip
    odd.write_text(json.dumps({"id": best.ids[0], "prompt": "gamma q", "completion": first["completion"]}) + "\n")
    vectors = f"{corpus.embeddings.rpartition(',')[0]},{tmp_path}/odd.npy"
    np.save(tmp_path / "odd.npy", np.ones((1, 8)))
    options = {"model": model, "labels": "all", "budget": 5, "existing": str(odd), "embedder": vectors}
    options |= {"target": str(corpus.target), "influence": f"{teachers}:ByRow", "option": ("silent=gamma",)}
    with_it = nncift.select(corpus.pool, output=str(tmp_path / "b"), **options)
    without = nncift.select(corpus.pool, output=str(tmp_path / "c"), nu=0.0, **options)
    assert (
        with_it.gains[0] == without.gains[0] and best.ids[0] in with_it.ids
    )  # the same id on another row bars nothing


def test_a_column_that_a_teacher_reads_is_part_of_the_question(tmp_path: Path) -> None:
    def labelled(sources: str, output: str) -> bytes:
        pool = tmp_path / "pool.jsonl"
        rows = [{"id": f"r{k}", "text": f"row {k}", "src": sources[k % len(sources)]} for k in range(12)]
        pool.write_text("".join(json.dumps(row) + "\n" for row in rows))
        nncift.label(pool, influence="balanced-random", option=("by=src",), output=tmp_path / output)
        return (tmp_path / output).read_bytes()

    assert labelled("ab", "one.npz") != labelled("aaab", "one.npz")
    assert labelled("aaab", "one.npz") == labelled("aaab", "two.npz")


@pytest.mark.parametrize(("n", "m", "most"), [(200, 20, 40), (600, 5, 140), (60, 50, 15)])
def test_blocks_for_two_kinds_of_rows_share_their_candidates(n: int, m: int, most: int) -> None:
    """However small the target is beside the pool, few rows are asked about."""
    rows = load_pool([{"id": f"p{k:03d}", "text": f"row {k}"} for k in range(n)]).by_id()
    target = load_pool([{"id": f"t{k:02d}", "text": f"goal {k}"} for k in range(m)]).by_id()
    axes = make_axes(rows, target, None, pairwise=True, uses_target=True, cover_pool=True, max_targets=99, seed=0)
    i, j = draw_pairs(parse_labels("5%"), axes, 0, priced="row")
    helped, columns = np.unique(i), np.unique(j)
    assert len(i) >= 0.05 * (n + m) * n - len(columns) and len(np.unique(j.astype(int) * (n + m) + i)) == len(i)
    assert len(columns) <= most and set(helped[helped >= m] - m) == set(columns)
    assert len(helped[helped < m]) == min(m, len(columns))
    assert not ((i >= m) & (i - m == j)).any()  # a row does not explain itself


def test_progress_reaches_its_end(teachers: str, corpus: Corpus, model: str, tmp_path: Path) -> None:
    counted: dict[str, list[int]] = {}

    class Counting(Silent):
        def begin(self, stage: str, total: int, unit: str) -> None:
            self.stage = stage
            counted[stage] = [total, 0]

        def advance(self, count: int) -> None:
            counted[self.stage][1] += count

    for name in (f"{teachers}:ByRow", "perplexity", "delift"):
        config = corpus.options(influence=name, model=model, labels="60", budget=5, output=str(tmp_path / name[-5:]))
        nncift.pipeline.select(SelectConfig.of({"pool": str(corpus.pool), **config}), Counting())
        assert counted["label"][0] == counted["label"][1] > 0


def test_phases_follow_their_seed_and_are_in_the_plan(corpus: Corpus, model: str) -> None:
    options = {"pool": str(corpus.pool), "influence": "similarity", "budget": 6, "phases": 2, "output": "unused"}
    planned = plan(SelectConfig.of(corpus.options(model=model, **options)), Silent())
    assert planned.phase_lm_forwards == 6 and any("Phases: 6 more calls" in line for line in planned.lines())


def test_what_an_earlier_run_kept_is_said(corpus: Corpus, model: str, tmp_path: Path) -> None:
    options = corpus.options(influence="gradsim", model=model, labels="all", budget=5, dtype="float32")
    first = nncift.select(corpus.pool, output=str(tmp_path / "one"), **options)
    again = nncift.select(corpus.pool, output=str(tmp_path / "two"), **options)
    assert "reused" not in first.notes and "100% of the language-model calls" in again.notes["reused"]
    assert again.costs["exact"]["share"] == first.costs["exact"]["share"] == 1 and again.ids == first.ids
