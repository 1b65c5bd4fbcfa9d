"""What every registered influence promises; a new one is covered by its line in the registry."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

import nncift
import teaching
from nncift import registry
from nncift.catalogue import influence_markdown
from nncift.data.rows import Example
from nncift.errors import ConfigError
from nncift.influence.base import Asked as Question
from nncift.influence.base import calls_of
from nncift.lm.model import LanguageModel
from teaching import toy_rows, toy_vectors
from toy_road import make_corpus, write_influences
from toys import toy_lm

NAMES = registry.names("influence")
PACKAGES = {"bm25": "bm25s"}
"""Influences that need a package of an extra, which may be absent."""
M, N = 5, 12
TOLERANCE = 1e-5  # what float32 may differ by across batches


TARGETS, POOL = toy_rows("t", M), toy_rows("p", N)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return toy_lm(batch_tokens=512)


@dataclass(frozen=True)
class Asked:
    """An influence on the toy rows, in whatever order they come."""

    name: str
    lm: LanguageModel
    options: dict[str, str]

    @property
    def influence(self) -> Any:
        return registry.load("influence", self.name)(**self.options)

    def label(
        self,
        i: ndarray,
        j: ndarray,
        *,
        seed: int = 0,
        targets: tuple[Example, ...] = TARGETS,
        pool: tuple[Example, ...] = POOL,
    ) -> ndarray:
        influence = self.influence
        got = teaching.ask(influence, targets, pool, lms=[self.lm], pairs=(i, j), asked=self.asked(), seed=seed)
        assert got.session.truncated() == {}
        assert all(isinstance(array, ndarray) for array in got.prepared.values())
        return got.y

    def asked(self) -> tuple[ndarray, ndarray]:
        """Everything is announced, so that what is asked for together does not matter."""
        return np.arange(M if self.influence.traits.uses_target else 0), np.arange(N)

    def every_pair(self) -> tuple[ndarray, ndarray]:
        return teaching.every_pair(M if self.influence.traits.pairwise else 1, N)


@pytest.fixture(params=NAMES)
def asked(request: pytest.FixtureRequest, lm: LanguageModel, tmp_path: Path) -> Asked:
    if request.param in PACKAGES:
        pytest.importorskip(PACKAGES[request.param], reason=f"{PACKAGES[request.param]} is not installed")
    return Asked(request.param, lm, teaching.needed_options(request.param, tmp_path, TARGETS, POOL))


def test_says_what_it_is(asked: Asked) -> None:
    cls = registry.load("influence", asked.name)
    assert is_dataclass(cls) and cls.__dataclass_params__.frozen and hasattr(cls, "__slots__")  # pyright: ignore
    traits = cls().traits
    assert traits.name == asked.name
    assert traits.objective in registry.names("objective")
    assert traits.uses_target or not traits.pairwise
    assert not (traits.free and traits.needs_model) and (traits.needs_model or not traits.gradients)
    assert "*Cost*" in (cls.__doc__ or "") and len((cls.__doc__ or "").splitlines()[0]) > 10
    for option in fields(cls):
        assert f"{option.name}:" in cls.__doc__


def test_a_full_block_is_finite_float32_and_tells_rows_apart(asked: Asked) -> None:
    i, j = asked.every_pair()
    values = asked.label(i, j)
    assert values.dtype == np.float32
    assert values.shape == ((N * M,) if asked.influence.traits.pairwise else (N,))
    assert np.isfinite(values).all()
    assert len(np.unique(values)) > N // 2


def test_a_list_of_pairs_gets_the_values_of_the_block(asked: Asked) -> None:
    i, j = asked.every_pair()
    block = asked.label(i, j)
    some = np.random.default_rng(2).permutation(len(i))[:9]
    np.testing.assert_allclose(asked.label(i[some], j[some]), block[some], atol=TOLERANCE)
    for k in some[:3]:
        np.testing.assert_allclose(asked.label(i[[k]], j[[k]]), block[[k]], atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize("name", [name for name in NAMES if registry.load("influence", name)().traits.needs_model])
def test_batch_size_and_padding_side_do_not_matter(name: str, kind: str) -> None:
    narrow, wide = toy_lm(kind, batch_tokens=96), toy_lm(kind, batch_tokens=4096)
    narrow.tokenizer.padding_side, wide.tokenizer.padding_side = "left", "right"
    one, other = Asked(name, narrow, {}), Asked(name, wide, {})
    values = one.label(*one.every_pair())
    assert np.ptp(values) > 1e-4
    np.testing.assert_allclose(values, other.label(*other.every_pair()), atol=TOLERANCE)


@pytest.mark.parametrize("whole", [True, False], ids=["everything", "a block"])
def test_hooks_count_the_calls_that_are_said_before(asked: Asked, whole: bool) -> None:
    """The formulas of what an influence costs, against what goes through the model."""
    influence, traits = asked.influence, asked.influence.traits
    targets, candidates = (np.arange(M), np.arange(N)) if whole else (np.array([0, 2, 3]), np.array([1, 4, 5, 9]))
    if not traits.pairwise:
        targets = np.arange(M if traits.uses_target else 0)
    rows = targets if traits.pairwise else np.zeros(1, dtype=int)
    i, j = (part.astype(np.int32) for part in (np.tile(rows, len(candidates)), np.repeat(candidates, len(rows))))
    got = teaching.ask(influence, TARGETS, POOL, lms=[asked.lm], pairs=(i, j), asked=(targets, candidates))
    said = calls_of(influence, Question(len(targets), len(candidates), len(i), N))
    assert (got.ledger.lm_forwards, got.ledger.lm_backwards) == (said.forwards, said.backwards)
    assert (said.backwards > 0) == traits.gradients and (said.forwards > 0) == traits.needs_model
    assert (got.ledger.flops > 0) == traits.needs_model


def test_repeated_pairs_get_equal_values(asked: Asked) -> None:
    i, j = asked.every_pair()
    twice = asked.label(np.r_[i[:4], i[:4]], np.r_[j[:4], j[:4]])
    np.testing.assert_allclose(twice[:4], twice[4:], atol=TOLERANCE)


def test_rows_keep_their_values_wherever_they_stand(asked: Asked) -> None:
    i, j = asked.every_pair()
    block = asked.label(i, j)
    draw = np.random.default_rng(4)
    rows = draw.permutation(N)
    targets = draw.permutation(M) if asked.influence.traits.pairwise else np.zeros(1, dtype=int)
    pool = tuple(POOL[int(k)] for k in rows)
    helped = tuple(TARGETS[int(k)] for k in targets) if asked.influence.traits.pairwise else TARGETS
    new_i, new_j = np.argsort(targets)[i].astype(np.int32), np.argsort(rows)[j].astype(np.int32)
    np.testing.assert_allclose(asked.label(new_i, new_j, pool=pool, targets=helped), block, atol=TOLERANCE)


def test_the_same_seed_gives_the_same_bytes(asked: Asked) -> None:
    i, j = asked.every_pair()
    assert asked.label(i, j, seed=3).tobytes() == asked.label(i, j, seed=3).tobytes()


def test_a_pointwise_influence_ignores_targets(asked: Asked) -> None:
    if asked.influence.traits.pairwise:
        matrix = asked.label(*asked.every_pair()).reshape(N, M)
        assert np.ptp(matrix, axis=1).max() > 1e-4  # a pairwise one tells targets apart
        return
    j = np.arange(N, dtype=np.int32)
    zeros, others = np.zeros(N, dtype=np.int32), (j % 3).astype(np.int32)
    assert asked.label(zeros, j).tobytes() == asked.label(others, j).tobytes()


def test_the_seed_matters_to_random_alone(asked: Asked) -> None:
    i, j = asked.every_pair()
    same = np.array_equal(asked.label(i, j, seed=1), asked.label(i, j, seed=2))
    assert same != asked.influence.traits.seeded


def test_label_through_the_front_door(asked: Asked, tmp_path: Path) -> None:
    from toy_road import save_model, write_rows

    pool = write_rows(tmp_path / "p.jsonl", [{"id": row.id, "text": row.text} for row in POOL])
    target = write_rows(tmp_path / "t.jsonl", [{"id": row.id, "text": row.text} for row in TARGETS])
    np.save(tmp_path / "p.npy", toy_vectors(POOL))
    np.save(tmp_path / "t.npy", toy_vectors(TARGETS))
    model = save_model(tmp_path / "model") if asked.influence.traits.needs_model else None
    labels = nncift.label(
        pool,
        target=target,
        influence=asked.name,
        option=asked.options,
        model=model,
        labels="all",
        output=tmp_path / "labels.npz",
        dtype="float32",
        embedder=f"{tmp_path}/p.npy,{tmp_path}/t.npy",
    )
    assert labels.shape == ((M, N) if asked.influence.traits.pairwise else (1, N))
    assert len(labels) == (M * N if asked.influence.traits.pairwise else 12)
    assert np.isfinite(labels.dense()).all()


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return f"{write_influences(tmp_path, monkeypatch)}:Planted"


def test_a_class_of_the_users_own_runs_without_an_edit(planted: str, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "data", n=30, m=7, beta=12)
    options = corpus.options(influence=planted, budget=5, labels="all", output=str(tmp_path / "run"))
    assert len(nncift.select(corpus.pool, **options)) == 5


def test_a_new_influence_is_one_file_and_one_line(
    planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is written by the fixture; the line is all that the package is told."""
    monkeypatch.setitem(registry._NAMES["influence"], "planted", planted)
    corpus = make_corpus(tmp_path / "data", n=30, m=7, beta=12)
    options = corpus.options(influence="planted", budget=5, labels="40%", output=str(tmp_path / "run"))
    assert len(nncift.select(corpus.pool, **options)) == 5
    assert any(line.startswith("| `planted` | Rows of one topic") for line in influence_markdown())
    with pytest.raises(ConfigError, match="Did you mean 'planted'"):
        nncift.select(corpus.pool, **options | {"influence": "plantd"})


def test_options_reach_the_influence(planted: str, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "data", n=12, m=5, beta=4)

    def largest(*option: str) -> float:
        return float(
            nncift.label(
                corpus.pool,
                target=corpus.target,
                influence=planted,
                option=option,
                labels="all",
                output=tmp_path / "l.npz",
            ).y.max()
        )

    assert largest() < 1.5
    assert 5 <= largest("gap=5.5") < 6
    assert 3 <= largest("offset=3") < 4.5
    assert largest("shape=flat") == 0.25
    assert largest("flip=true") < 1.5


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("gapp=1", r"has no option 'gapp'\. Did you mean 'gap'\?"),
        ("gap=wide", r"--option gap is 'wide'; expected float"),
        ("gap=nan", r"--option gap is 'nan'; expected a finite number"),
        ("offset=1.5", r"--option offset is '1\.5'; expected int"),
        ("flip=maybe", r"--option flip is 'maybe'; expected true or false"),
        ("shape=stepp", r"--option shape is 'stepp'\. Did you mean 'step'\?"),
        ("gap", r"--option 'gap' is not of the form name=value"),
        ("=1", r"--option '=1' is not of the form name=value"),
    ],
)
def test_wrong_options_are_said_before_anything_is_done(
    planted: str, tmp_path: Path, option: str, message: str
) -> None:
    corpus = make_corpus(tmp_path / "data", n=12, m=5, beta=4)
    with pytest.raises(ConfigError, match=message):
        nncift.select(
            corpus.pool, target=corpus.target, influence=planted, option=(option,), output=str(tmp_path / "run")
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("delfit", r"unknown influence 'delfit'\. Did you mean 'delift'\?"),
        ("nowhere.at_all:Thing", "cannot import the influence"),
        ("nncift.errors:Nothing", "cannot import the influence"),
        ("json:JSONDecoder", "'json:JSONDecoder' is no influence: it must be a dataclass"),
        ("nncift.run:StageRecord", "is no influence: it must be a dataclass"),
        ("json:dumps", "is no influence: it must be a dataclass"),
    ],
)
def test_unknown_names_are_errors(tmp_path: Path, name: str, message: str) -> None:
    corpus = make_corpus(tmp_path / "data", n=12, m=5, beta=4)
    with pytest.raises(ConfigError, match=message):
        nncift.select(corpus.pool, influence=name, output=str(tmp_path / "run"))


def test_an_influence_without_options_says_so(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "data", n=12, m=5, beta=4)
    with pytest.raises(ConfigError, match=r"has no option 'depth'\. It has none"):
        nncift.select(corpus.pool, influence="random", option=("depth=2",), output=str(tmp_path / "run"))
