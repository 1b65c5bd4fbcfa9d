"""Numbers at their edges, for every registered influence, estimator and objective: a defined result or one clear error, and
nothing that is no number in any file."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy import ndarray

import nncift
import teaching
from nncift import registry
from nncift.data.labels import Labels
from nncift.data.rows import Example
from nncift.errors import ConfigError, ModelError, NnciftError
from nncift.estimator.base import Estimator, Fitted
from nncift.estimator.features import Features
from nncift.estimator.fidelity import measure
from nncift.lm.device import Placement
from nncift.lm.load import prepare
from nncift.lm.model import LanguageModel
from nncift.objective.base import Rule
from toy_road import write_rows
from toys import toy_lm, toy_model, toy_tokenizer

INFLUENCES = registry.names("influence")
ESTIMATORS = registry.names("estimator")
OBJECTIVES = registry.names("objective")
WITH_MODEL = [name for name in INFLUENCES if registry.load("influence", name)().traits.needs_model]
PACKAGES = {"bm25": "bm25s"}
TOLERANCE = 1e-5

GIVEN = '''
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from nncift.influence.base import Traits

BAD = {"nan": np.nan, "inf": np.inf, "minus": -np.inf, "huge": 3e38, "tiny": 1e-42}


@dataclass(frozen=True, slots=True)
class Given:
    """Values that a test says. *Cost*: nothing."""
    traits: ClassVar[Traits] = Traits(name="given", pairwise=True, objective="top-mean", uses_target=True, free=True)
    kind: str = "constant"

    def start(self, context):
        return Session(self.kind, context)


@dataclass(frozen=True, slots=True)
class Paid(Given):
    """The same, labelled pair by pair. *Cost*: nothing."""
    traits: ClassVar[Traits] = Traits(name="paid", pairwise=True, objective="top-mean", uses_target=True)


class Session:
    def __init__(self, kind, context):
        self.kind, self.context = kind, context

    def prepare(self, targets, *, on_progress):
        return {}

    def label(self, i, j, prepared, *, on_progress):
        on_progress(len(i))
        return np.array([self.value(int(a), int(b)) for a, b in zip(i, j)], dtype=np.float32)

    def value(self, i, j):
        if self.kind == "constant":
            return 0.5
        if self.kind in ("huge", "tiny"):
            return BAD[self.kind] * (-1) ** (i + j)
        return BAD[self.kind] if (i, j) == (1, 3) else np.sin(i + 3.0 * j)

    def block(self, columns):
        rows = range(len(self.context.targets))
        return np.array([[self.value(i, j) for i in rows] for j in range(columns.start, columns.stop)], dtype=np.float32)

    def truncated(self):
        return {}
'''


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return toy_lm(batch_tokens=512)


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "given_values.py").write_text(GIVEN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "given_values", raising=False)
    return "given_values"


def numbers(value: Any) -> Iterator[float]:
    """Every number inside of a JSON value."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers(part)
    elif isinstance(value, float):
        yield value


def refuse(word: str) -> float:
    raise AssertionError(f"{word} in a file")


def sound(folder: Path) -> None:
    """Every number in the files of a run is one; a pair without a label is NaN in the dense `values` alone."""
    files = [path for path in folder.iterdir() if path.suffix in (".json", ".jsonl")]
    assert len(files) > 3
    for path in files:
        for line in path.read_text(encoding="utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            assert all(map(np.isfinite, numbers(json.loads(line, parse_constant=refuse))))
    if (folder / "labels.npz").exists():
        with np.load(folder / "labels.npz") as stored:
            assert not (np.isnan(stored["y"]) | np.isposinf(stored["y"])).any()


# ---- influences


def some_rows(role: str, *texts: tuple[str, str]) -> tuple[Example, ...]:
    from nncift.data.files import load_pool

    named = [{"id": f"{role}{k:02d}", "prompt": a, "completion": b} for k, (a, b) in enumerate(texts)]
    return load_pool(named).by_id().examples


WORDS = tuple((f"ask {k} {'x' * k}?", "yes " * (1 + k % 3)) for k in range(7))
TWINS = (*WORDS, *WORDS[:3])


def influence_of(name: str, folder: Path, targets: tuple[Example, ...], pool: tuple[Example, ...]) -> Any:
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name], reason=f"{PACKAGES[name]} is not installed")
    return registry.load("influence", name)(**teaching.needed_options(name, folder, targets, pool))


def values_of(
    name: str, lm: LanguageModel, folder: Path, targets: tuple[Example, ...], pool: tuple[Example, ...]
) -> ndarray:
    """[m, n]; the numbers are what a run may keep."""
    got = teaching.ask(influence_of(name, folder, targets, pool), targets, pool, lms=[lm])
    assert got.y.dtype == np.float32 and not (np.isnan(got.y) | np.isposinf(got.y)).any()
    return got.matrix


@pytest.mark.parametrize("name", INFLUENCES)
def test_equal_texts_have_equal_influence(name: str, lm: LanguageModel, tmp_path: Path) -> None:
    targets, pool = some_rows("t", *WORDS[:4], WORDS[0]), some_rows("p", *TWINS)
    values = values_of(name, lm, tmp_path, targets, pool)
    assert np.isfinite(values).all()
    traits = registry.load("influence", name)().traits
    if not (traits.seeded or traits.needs_embeddings or name == "recorded"):  # a toy's vectors and labels go by id
        np.testing.assert_allclose(values[:, 7:], values[:, :3], atol=TOLERANCE)


@pytest.mark.parametrize("name", INFLUENCES)
def test_a_pool_of_one_row_and_targets_that_are_the_pool(name: str, lm: LanguageModel, tmp_path: Path) -> None:
    one, rows = some_rows("p", WORDS[2]), some_rows("p", *WORDS)
    assert np.isfinite(values_of(name, lm, tmp_path, some_rows("t", *WORDS[:3]), one)).all()
    assert np.isfinite(values_of(name, lm, tmp_path, rows, rows)).all()
    assert np.isfinite(values_of(name, lm, tmp_path, one, one)).all()


def spoilt(how: str) -> LanguageModel:
    """A model whose numbers are none: in a weight, in what it computes, or past what half precision holds."""
    model = toy_model("llama")
    with torch.no_grad():
        if how == "nan":
            model.model.layers[1].mlp.down_proj.weight[3, 5] = torch.nan
        elif how == "infinity":
            model.get_output_embeddings().weight[7] = torch.inf
        else:
            model = model.half()
            for weight in model.parameters():
                weight.mul_(60000 if weight.dim() > 1 else 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        placement = Placement("cpu", "float16" if how == "overflow" else "float32", "a test", 512)
        return prepare("spoilt", model, toy_tokenizer(), placement, fingerprint=how, max_length=1024)


@pytest.mark.parametrize("how", ["nan", "infinity", "overflow"])
@pytest.mark.parametrize("name", WITH_MODEL)
def test_a_model_without_numbers_is_one_error(name: str, how: str, tmp_path: Path) -> None:
    targets, pool = some_rows("t", *WORDS[:4]), some_rows("p", *WORDS)
    mend = r"float16\. Try `--dtype float32`\." if how == "overflow" else r"float32\. Its weights are damaged\."
    with pytest.raises(ModelError, match=f"'spoilt' returned NaN or infinity in {mend}"):
        values_of(name, spoilt(how), tmp_path, targets, pool)


# ---- the road


def corpus(folder: Path, pool: list[str], target: list[str]) -> dict[str, Any]:
    """Rows with these texts, and vectors of them: equal texts have equal ones."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for role, texts in (("pool", pool), ("target", target), ("existing", ["old 1", "old 2"])):
        rows = [{"id": f"{role}{k:03d}", "prompt": text, "completion": "yes"} for k, text in enumerate(texts)]
        paths[role] = str(write_rows(folder / f"{role}.jsonl", rows))
        seeds = [int.from_bytes(text.encode()[:8].ljust(8, b"."), "big") for text in texts]
        np.save(
            folder / f"{role}.npy",
            np.array([np.random.default_rng(seed).normal(size=6) for seed in seeds], dtype=np.float32),
        )
    names = [str(folder / f"{role}.npy") for role in paths]
    return paths | {"vectors": names}


def choose(folder: Path, rows: dict[str, Any], objective: str | None = None, **options: Any) -> nncift.Selection:
    """A run, whose files hold numbers alone."""
    rule = registry.load("objective", objective)() if objective else None
    roles = ["pool", "target", *(["existing"] if rule is not None and getattr(rule, "needs_existing", False) else [])]
    taken = [path for path, role in zip(rows["vectors"], ("pool", "target", "existing"), strict=True) if role in roles]
    if "existing" in roles:
        options["existing"] = rows["existing"]
    options = {"target": rows["target"], "objective": objective, "embedder": ",".join(taken)} | options
    picked = nncift.select(rows["pool"], output=str(folder), **options)
    assert len(set(picked.ids)) == len(picked) and np.isfinite(picked.gains).all()
    sound(folder)
    return picked


TEXTS = [f"say {k} words" for k in range(9)]
ASKED = [f"ask {k} times" for k in range(4)]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_budgets_at_every_edge(objective: str, tmp_path: Path) -> None:
    rows = corpus(tmp_path / "data", TEXTS, ASKED)
    whole = [choose(tmp_path / "all", rows, objective, influence="similarity", budget=b) for b in (9, "100%")]
    assert [len(picked) for picked in whole] == [9] * 2 and len({tuple(picked.ids) for picked in whole}) == 1
    one = choose(tmp_path / "one", rows, objective, influence="similarity", budget=1)
    assert one.ids == whole[0].ids[:1]
    for wrong in (0, 10, "101%", -1, "nan"):
        with pytest.raises(ConfigError, match="--budget"):
            choose(tmp_path / "wrong", rows, objective, influence="similarity", budget=wrong)


@pytest.mark.parametrize("kind", ["constant", "huge", "tiny", "nan", "inf", "minus"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_an_objective_is_given(objective: str, kind: str, given: str, tmp_path: Path) -> None:
    """Constant, extreme and absent numbers of an influence that is free and asked in blocks."""
    rows = corpus(tmp_path / "data", TEXTS, ASKED)

    def picked() -> nncift.Selection:
        return choose(tmp_path / "run", rows, objective, influence=f"{given}:Given", option=(f"kind={kind}",), budget=4)

    if kind in ("constant", "tiny", "huge"):
        if (objective, kind) == ("log-determinant", "huge"):
            with pytest.raises(ConfigError, match="is not positive semi-definite"):
                picked()
        else:
            assert len(picked()) == 4
        return
    with pytest.raises(ModelError, match=r"not finite|is nan|is inf|NaN"):
        picked()
    assert not (tmp_path / "run" / "done.json").exists()


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("case", ["one row", "one target", "the pool", "one text", "covers itself"])
def test_pools_and_targets_of_few_or_equal_rows(objective: str, case: str, tmp_path: Path) -> None:
    pool, target = {
        "one row": (TEXTS[:1], ASKED),
        "one target": (TEXTS, ASKED[:1]),
        "the pool": (TEXTS, TEXTS),
        "one text": ([TEXTS[0]] * 6, [ASKED[0]] * 2),
        "covers itself": ([TEXTS[0]] * 5, [TEXTS[0]] * 2),
    }[case]
    rows = corpus(tmp_path / "data", list(pool), list(target))
    budget = min(3, len(pool))
    assert len(choose(tmp_path / "run", rows, objective, influence="similarity", budget=budget)) == budget


@pytest.mark.parametrize("kind", ["nan", "inf"])
def test_labels_that_are_none_end_the_run(kind: str, given: str, tmp_path: Path) -> None:
    rows = corpus(tmp_path / "data", TEXTS, ASKED)
    with pytest.raises(ModelError, match=rf"of row 'pool003' on target 'target001' is {kind}"):
        choose(
            tmp_path / "run",
            rows,
            "top-mean",
            influence=f"{given}:Paid",
            option=(f"kind={kind}",),
            budget=4,
            labels="all",
        )
    assert not (tmp_path / "run" / "labels.npz").exists()


# ---- estimators


def features(count: int, side: str, *, scale: float = 1.0, equal: bool = False, seed: int = 0) -> Features:
    block = np.random.default_rng(seed).normal(size=(count, 6))
    block = np.broadcast_to(block[0], block.shape) if equal else block
    return Features(
        {"embedding": np.ascontiguousarray(scale * block, dtype=np.float32)}, tuple(f"{side}{k}" for k in range(count))
    )


def labels_of(m: int, n: int, values: Any, share: float = 1.0) -> Labels:
    i, j = np.nonzero(np.random.default_rng(3).uniform(size=(m, n)) <= share)
    y = np.broadcast_to(np.asarray(values, dtype=np.float32), (m, n))[i, j]
    return Labels(i.astype(np.int32), j.astype(np.int32), np.ascontiguousarray(y), (m, n))


def filled(fitted: Fitted, target: Features | None, pool: Features) -> ndarray:
    return fitted.kernel(target, pool).fill()


def drawn(m: int, n: int, scale: float = 1.0) -> ndarray:
    return scale * np.random.default_rng(5).normal(size=(m, n))


CASES: dict[str, tuple[Labels, Features, Features]] = {
    "constant": (labels_of(5, 24, 0.25), features(5, "t", seed=1), features(24, "p", seed=2)),
    "zero": (labels_of(5, 24, 0.0), features(5, "t", seed=1), features(24, "p", seed=2)),
    "one target": (labels_of(1, 24, drawn(1, 24)), features(1, "t"), features(24, "p", seed=2)),
    "one candidate": (labels_of(24, 1, drawn(24, 1)), features(24, "t"), features(1, "p", seed=2)),
    "equal rows": (
        labels_of(5, 24, drawn(5, 24)),
        features(5, "t", equal=True),
        features(24, "p", equal=True, seed=2),
    ),
    "no width": (labels_of(5, 24, drawn(5, 24)), features(5, "t", scale=0.0), features(24, "p", scale=0.0)),
    "wide": (labels_of(5, 24, drawn(5, 24)), features(5, "t", scale=1e6), features(24, "p", scale=1e6, seed=2)),
    "narrow": (labels_of(5, 24, drawn(5, 24)), features(5, "t", scale=1e-20), features(24, "p", scale=1e-20, seed=2)),
    "large labels": (labels_of(5, 24, drawn(5, 24, 1e15)), features(5, "t"), features(24, "p", seed=2)),
    "small labels": (labels_of(5, 24, drawn(5, 24, 1e-15)), features(5, "t"), features(24, "p", seed=2)),
    "few labels": (labels_of(5, 24, drawn(5, 24), 0.1), features(5, "t"), features(24, "p", seed=2)),
}


DEAR = ("constant", "few labels", "wide")
"""Cases in which an estimator that tries others is measured too."""


@pytest.mark.filterwarnings("ignore:The .*:UserWarning")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_an_estimator_learns_is_finite(name: str, case: str) -> None:
    labels, target, pool = CASES[case]
    estimator: Estimator = registry.load("estimator", name)()
    values = filled(estimator.fit(labels, target, pool, seed=0), target, pool)
    assert values.shape == labels.shape[::-1] and np.isfinite(values).all()
    if name == "auto" and case not in DEAR:
        return
    told = measure(labels, target, pool, design_kind="all", estimator=estimator, seed=0)
    json.dumps(told.record(), allow_nan=False)
    assert told.sentence() and "nan" not in told.sentence()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_constant_scores_of_rows_are_learnt(name: str) -> None:
    labels, _, pool = CASES["constant"]
    rows = labels.take(labels.i == 0)
    values = filled(
        registry.load("estimator", name)().fit(replace(rows, shape=(1, 24)), None, pool, seed=0), None, pool
    )
    assert values == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_labels_that_are_no_numbers_teach_nobody(name: str, bad: float) -> None:
    values = drawn(5, 24)
    values[2, 7] = bad
    target, pool = features(5, "t"), features(24, "p", seed=2)
    with pytest.raises(NnciftError, match="no number that can be learnt"):
        registry.load("estimator", name)().fit(labels_of(5, 24, values), target, pool, seed=0)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_constant_labels_on_the_road(name: str, given: str, tmp_path: Path) -> None:
    rows = corpus(tmp_path / "data", TEXTS, ASKED)
    options: dict[str, Any] = {"influence": f"{given}:Paid", "estimator": name, "labels": "24", "budget": 4}
    found = choose(tmp_path / "run", rows, "facility-location", **options)
    assert len(found) == 4 and found.fidelity is not None


def test_rules_and_functions_are_all_asked() -> None:
    """The lists are those of the registry, so that what is added is covered."""
    assert {isinstance(registry.load("objective", name)(), Rule) for name in OBJECTIVES} == {True, False}
    assert set(WITH_MODEL) < set(INFLUENCES) and len(ESTIMATORS) > 3
