"""Pooled hidden states: the weights by hand, and padding, company and budget that must not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nncift.errors import ModelError
from nncift.ledger import Ledger
from nncift.lm.head import decoder
from nncift.lm.hidden import Pooling, pooled_states, token_weights
from nncift.lm.model import LanguageModel
from toys import toy_lm

LENGTHS = (3, 11, 1, 7, 29, 3, 12)
POOLINGS: tuple[Pooling, ...] = ("weighted", "mean", "last")


@pytest.fixture(scope="module", params=["llama", "gemma3", "gpt2"])
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    return toy_lm(request.param, batch_tokens=64)


def sequences() -> list[tuple[int, ...]]:
    draw = np.random.default_rng(3)
    return [tuple(draw.integers(4, 60, size=length).tolist()) for length in LENGTHS]


def alone(lm: LanguageModel, ids: tuple[int, ...], pooling: Pooling) -> np.ndarray:
    """The definition, token by token, without batch or mask."""
    with torch.inference_mode():
        hidden = decoder(lm.model)(input_ids=torch.tensor([ids])).last_hidden_state[0].double().numpy()
    last = len(ids)
    total = sum(range(1, last + 1))
    weights = {"weighted": [t / total for t in range(1, last + 1)], "mean": [1 / last] * last}
    weights["last"] = [0.0] * (last - 1) + [1.0]
    return sum(weight * state for weight, state in zip(weights[pooling], hidden, strict=True))


def test_weights_by_hand() -> None:
    mask = torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0]])
    third = 1 / 3
    expected = {
        "weighted": [[1 / 6, 2 / 6, 3 / 6, 0, 0], [1, 0, 0, 0, 0]],
        "mean": [[third, third, third, 0, 0], [1, 0, 0, 0, 0]],
        "last": [[0, 0, 1, 0, 0], [1, 0, 0, 0, 0]],
    }
    for pooling in POOLINGS:
        np.testing.assert_allclose(token_weights(mask, pooling).numpy(), expected[pooling], atol=1e-7)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_equals_the_definition(lm: LanguageModel, pooling: Pooling) -> None:
    found = pooled_states(lm, sequences(), pooling)
    assert found.dtype == np.float32 and found.shape == (len(LENGTHS), 32)
    expected = np.array([alone(lm, ids, pooling) for ids in sequences()])
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_company_and_order_do_not_matter(lm: LanguageModel) -> None:
    rows = sequences()
    whole = pooled_states(lm, rows, "weighted")
    order = np.random.default_rng(1).permutation(len(rows))
    np.testing.assert_allclose(pooled_states(lm, [rows[k] for k in order], "weighted"), whole[order], atol=2e-5)
    for k in (0, 4):
        np.testing.assert_allclose(pooled_states(lm, [rows[k]], "weighted"), whole[[k]], atol=2e-5)
    assert np.abs(whole[0] - whole[5]).max() > 1e-2  # equally long, and not the same


def test_every_sequence_is_one_forward_without_logits(lm: LanguageModel) -> None:
    lm.meter.ledger = ledger = Ledger()
    done: list[int] = []
    pooled_states(lm, sequences(), "weighted", on_progress=done.append)
    assert (ledger.lm_forwards, ledger.lm_prefixes, ledger.lm_backwards) == (len(LENGTHS), 0, 0)
    assert ledger.lm_tokens == sum(LENGTHS) and ledger.head_tokens == 0
    assert sum(done) == len(LENGTHS)


def test_nothing_asked(lm: LanguageModel) -> None:
    assert len(pooled_states(lm, [], "mean")) == 0


def test_numbers_that_are_none_are_said() -> None:
    lm = toy_lm(batch_tokens=64)
    with torch.no_grad():
        decoder(lm.model).norm.weight.fill_(float("nan"))  # pyright: ignore
    with pytest.raises(ModelError, match="returned NaN or infinity in float32"):
        pooled_states(lm, sequences(), "mean")
