"""LESS and gradient similarity: what they measure, what they cost, and what they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nncift.tuning.features
from nncift.data.files import load_pool
from nncift.data.rows import Example
from nncift.errors import ConfigError, DataError, ModelError
from nncift.influence import matching
from nncift.influence.base import Asked, Calls
from nncift.influence.gradsim import GradientSimilarity
from nncift.influence.less import Less
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import Query
from nncift.tuning.adam import adam_direction
from nncift.tuning.gradients import row_gradients
from nncift.tuning.lora import attach, detach, install
from nncift.tuning.losses import row_losses
from nncift.tuning.warmup import Recipe, train_adapter
from teaching import ask, size_of
from toys import toy_lm, toy_queries, toy_tokenizer

LESS = Less(epochs=2, rank=2, alpha=4, learning_rate=0.01, batch=4)


def _rows(role: str, count: int) -> tuple[Example, ...]:
    draw = np.random.default_rng(len(role) + count)
    words = ["river", "sum", "of", "rain", "two", "and", "ten"]

    def text(most: int) -> str:
        return " ".join(draw.choice(words, draw.integers(1, most)))

    return load_pool([{"id": f"{role}{k}", "prompt": text(6), "completion": text(5)} for k in range(count)]).examples


POOL, TARGETS = _rows("p", 7), _rows("t", 5)


@pytest.fixture
def lm() -> LanguageModel:
    return toy_lm(batch_tokens=200)


@pytest.mark.parametrize("teacher", [LESS, GradientSimilarity(rank=2)])
def test_hooks_count_what_calls_says(teacher: Any, lm: LanguageModel) -> None:
    answer = ask(teacher, TARGETS, POOL, lms=[lm])
    calls = teacher.calls(size_of(answer, targets=5))
    assert Calls(answer.ledger.lm_forwards, answer.ledger.lm_backwards) == calls
    assert calls.forwards == (2 * (7 + 7 + 5) if teacher is LESS else 12)
    assert np.isfinite(answer.y).all() and np.abs(answer.y).max() <= 1 + 1e-6
    assert answer.ledger.lm_prefixes == 0


def test_only_rows_that_are_asked_about_are_differentiated(lm: LanguageModel) -> None:
    pairs = np.array([1, 4, 1], dtype=np.int32), np.array([0, 3, 3], dtype=np.int32)
    whole = ask(LESS, TARGETS, POOL, lms=[lm])
    some = ask(LESS, TARGETS, POOL, lms=[lm], pairs=pairs, asked=(np.array([1, 4]), np.array([0, 3])))
    calls = LESS.calls(Asked(targets=2, candidates=2, pairs=3, pool=7))
    assert Calls(some.ledger.lm_forwards, some.ledger.lm_backwards) == calls
    np.testing.assert_allclose(some.y, whole.matrix[pairs], atol=1e-4)


def test_the_warm_up_takes_its_share() -> None:
    def warm(pool: int, share: float = 0.05) -> int:
        return replace(LESS, share=share).calls(Asked(targets=0, candidates=0, pairs=0, pool=pool)).forwards // 2

    assert [warm(7), warm(32), warm(33), warm(1000), warm(3498), warm(100, 1.0)] == [7, 32, 32, 50, 175, 100]


def test_a_row_has_influence_one_on_itself(lm: LanguageModel) -> None:
    twins = tuple(replace(row, id=f"twin of {row.id}") for row in TARGETS)
    matrix = ask(GradientSimilarity(), TARGETS, (*POOL, *twins), lms=[lm]).matrix
    np.testing.assert_allclose(np.diag(matrix[:, 7:]), 1.0, atol=1e-5)
    assert np.abs(matrix[:, :7]).max() < 0.999
    np.testing.assert_allclose(matrix[:, 7:], matrix[:, 7:].T, atol=1e-5)


def test_equals_exact_cosines_of_plain_gradients(lm: LanguageModel) -> None:
    """r holds the toy's adapter whole, so that nothing but rounding separates the two."""
    got = ask(GradientSimilarity(rank=2), TARGETS, POOL, lms=[lm], seed=3).matrix
    weights = attach(lm, rank=2, alpha=2, seed=3)

    def gradient(row: Example) -> torch.Tensor:
        ids = [1, *lm.tokenizer(f"{row.prompt}\n{row.response}", add_special_tokens=False)["input_ids"]]
        start = 2 + len(row.prompt)
        logits = lm.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
        loss = torch.nn.functional.cross_entropy(logits[start - 1 : -1], torch.tensor(ids[start:]))
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(weights.values()))])

    theirs, ours = torch.stack([gradient(row) for row in POOL]), torch.stack([gradient(row) for row in TARGETS])
    exact = torch.nn.functional.normalize(ours, dim=1) @ torch.nn.functional.normalize(theirs, dim=1).T
    np.testing.assert_allclose(got, exact.numpy(), atol=1e-3)


def _trained(lm: LanguageModel, folder: Path) -> tuple[dict[str, torch.nn.Parameter], Any]:
    recipe = Recipe(epochs=2, rank=2, alpha=4, learning_rate=0.01, batch=4)
    rows = {f"r{k}": query for k, query in enumerate(toy_queries(9, seed=2))}
    weights, checkpoints = train_adapter(lm, rows, recipe, seed=0, folder=folder)
    tensors = checkpoints[0].read()
    install(weights, tensors.adapter)
    return weights, (tensors, checkpoints[0].step)


def _gradients(lm: LanguageModel, weights: dict[str, torch.nn.Parameter], rows: list[Query]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    row_gradients(lm, list(weights), rows, sink=found.__setitem__)
    return found


def test_a_small_step_has_the_effect_that_the_product_tells(lm: LanguageModel, tmp_path: Path) -> None:
    """Δloss(v) ≈ -η ⟨∇loss(v), Γ(z)⟩: why a row's side is Adam's direction and a target's is not."""
    weights, (tensors, step) = _trained(lm, tmp_path)
    rows, targets = toy_queries(4, seed=8), toy_queries(5, seed=9)
    towards = {
        name: adam_direction(g, tensors.exp_avg[name].view(-1), tensors.exp_avg_sq[name].view(-1), step=step)
        for name, g in _gradients(lm, weights, rows).items()
    }
    slopes = _gradients(lm, weights, targets)
    eta = 2e-4
    with torch.no_grad():
        for z in range(len(rows)):
            told = -eta * sum(slopes[name].double() @ towards[name][z].double() for name in weights)
            losses = []
            for sign in (-1, 1):
                for name, weight in weights.items():
                    weight.copy_(tensors.adapter[name] + sign * eta * towards[name][z].view_as(weight))
                losses.append(row_losses(lm, targets).double())
            seen = (losses[0] - losses[1]) / 2
            strong = told.abs() > 0.2 * told.abs().max()
            np.testing.assert_allclose(seen[strong], told[strong], rtol=0.05)
            assert strong.sum() > 1


@pytest.mark.parametrize("aggregate", ["mean_of_cos", "cos_of_mean"])
def test_options_change_what_they_say(lm: LanguageModel, tmp_path: Path, aggregate: Any) -> None:
    plain = ask(LESS, TARGETS, POOL, lms=[lm], folder=tmp_path).matrix
    other = ask(replace(LESS, aggregate=aggregate), TARGETS, POOL, lms=[lm], folder=tmp_path)
    assert other.ledger.lm_forwards == 0  # the same features, read again
    assert np.array_equal(other.matrix, plain) == (aggregate == "mean_of_cos")
    for changed in (replace(LESS, direction="reference"), replace(LESS, r=64), replace(LESS, alpha=8.0)):
        assert not np.array_equal(ask(changed, TARGETS, POOL, lms=[lm], folder=tmp_path).matrix, plain)
    small = ask(replace(LESS, store="int8"), TARGETS, POOL, lms=[lm], folder=tmp_path).matrix
    np.testing.assert_allclose(small, plain, atol=5e-3)
    assert np.abs(small - plain).max() > 0


class _Killed(Exception):
    """Stands for a kill."""


@pytest.fixture
def chunks_of_two(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(nncift.tuning.features, "CHUNK", 2)
    yield


@pytest.mark.parametrize(("after", "saved"), [(1, False), (3, False), (9, True), (13, True)])
def test_a_kill_changes_no_byte(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks_of_two: None, after: int, saved: bool
) -> None:
    whole = ask(LESS, TARGETS, POOL, lms=[lm], folder=tmp_path / "whole")
    real, calls = row_losses, []

    def dies(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) > after:
            raise _Killed
        return real(*arguments)

    for room in ("warmup", "gradients"):
        monkeypatch.setattr(f"nncift.tuning.{room}.row_losses", dies)
    with pytest.raises(_Killed):
        ask(LESS, TARGETS, POOL, lms=[lm], folder=tmp_path / "killed")
    for room in ("warmup", "gradients"):
        monkeypatch.setattr(f"nncift.tuning.{room}.row_losses", real)
    again = ask(LESS, TARGETS, POOL, lms=[lm], folder=tmp_path / "killed")
    assert again.y.tobytes() == whole.y.tobytes()
    assert (0 < again.ledger.lm_forwards < whole.ledger.lm_forwards) == saved  # an epoch lasts four batches at least

    def content(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    third = ask(LESS, TARGETS, POOL, lms=[lm], folder=tmp_path / "killed")
    assert third.ledger.lm_forwards == 0 and third.y.tobytes() == whole.y.tobytes()


def test_the_adapter_is_gone_afterwards_whatever_happens(lm: LanguageModel) -> None:
    names = set(lm.model.state_dict())
    ask(LESS, TARGETS, POOL, lms=[lm])
    assert set(lm.model.state_dict()) == names
    weight = lm.model.get_input_embeddings().weight
    weight.data[:] = torch.nan
    with pytest.raises(ModelError, match="loss of NaN or infinity in float32"):
        ask(LESS, TARGETS, POOL, lms=[lm])
    assert set(lm.model.state_dict()) == names
    detach(lm)


def test_a_row_that_cannot_be_learnt_from_is_never_picked(lm: LanguageModel) -> None:
    """Without a beginning-of-sequence token a lone first token is predicted by nothing; a NaN is no gradient."""
    bare = replace(lm, tokenizer=toy_tokenizer(bos=False))
    with torch.no_grad():
        bare.model.get_input_embeddings().weight[bare.tokenizer.convert_tokens_to_ids("Q")] = torch.nan
    lone = load_pool([{"id": "x", "text": "a"}]).examples
    odd = (*lone, *load_pool([{"id": "y", "prompt": "Q", "completion": "rain"}]).examples)
    answer = ask(GradientSimilarity(), TARGETS, (*POOL[:4], *odd, *POOL[4:]), lms=[bare])
    assert (answer.matrix[:, 4:6] == -np.inf).all()
    assert np.isfinite(np.delete(answer.matrix, [4, 5], axis=1)).all()
    less = ask(LESS, TARGETS, (*POOL, odd[0]), lms=[bare])
    assert (less.matrix[:, 7] == -np.inf).all() and np.isfinite(less.matrix[:, :7]).all()
    for row in odd:
        with pytest.raises(DataError, match=f"target row '{row.id}' has no gradient"):
            ask(GradientSimilarity(), (*TARGETS, row), POOL, lms=[bare])


def test_a_row_with_adams_momentum_but_no_gradient_has_no_direction(lm: LanguageModel) -> None:
    """The target's own text as the whole of the vocabulary's mass: a head that is certain gives loss 0, gradient 0."""
    from nncift.influence.gradient_features import projected_gradients
    from nncift.tuning.projection import CountSketch

    weights = attach(lm, rank=2, alpha=4, seed=0)
    sketch = CountSketch({name: weight.numel() for name, weight in weights.items()}, buckets=50, seed=0)
    rows = [Query((), (9,), False), *toy_queries(2)]
    got = projected_gradients(lm, list(weights), rows, sketch, turn=lambda name, gradients: gradients + 1)
    assert not got[0].any() and got[1:].any(axis=1).all()


def test_long_rows_are_told_once(lm: LanguageModel) -> None:
    short = replace(lm, max_length=30)
    long = load_pool([{"id": "long", "prompt": "p" * 90, "completion": "river"}]).examples
    answer = ask(LESS, TARGETS, (*POOL, *long), lms=[short])
    assert "long" in answer.session.truncated() and answer.ledger.truncated == len(answer.session.truncated())


def test_matching_reads_in_tiles_of_any_size(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ask(LESS, TARGETS, POOL, lms=[lm]).matrix
    monkeypatch.setattr(matching, "_TILE", 2)
    np.testing.assert_allclose(ask(LESS, TARGETS, POOL, lms=[lm]).matrix, whole, atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"share": 0.0}, "share is 0.0; it must be above 0 and at most 1"),
        ({"share": 1.5}, "share is 1.5"),
        ({"epochs": 0}, "epochs is 0; it must be 1 or more"),
        ({"rank": 0}, "rank is 0"),
        ({"batch": -1}, "batch is -1"),
        ({"r": 0}, "r is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0"),
        ({"alpha": -1.0}, "alpha is -1.0"),
    ],
)
def test_options_that_cannot_work_are_refused(lm: LanguageModel, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ask(replace(LESS, **changed), TARGETS, POOL, lms=[lm])


def test_gradient_similarity_refuses_too(lm: LanguageModel) -> None:
    with pytest.raises(ConfigError, match="r is 0; it must be 1 or more"):
        ask(GradientSimilarity(r=0), TARGETS, POOL, lms=[lm])
