"""One forward per row for states and loss: the same numbers as the two that it saves, and as the definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nncift.errors import ModelError
from nncift.ledger import Ledger
from nncift.lm.head import decoder
from nncift.lm.hidden import pooled_states
from nncift.lm.model import LanguageModel
from nncift.lm.reading import read_rows, state_width
from nncift.lm.score import score_responses
from nncift.lm.tokens import Query
from toys import toy_lm, toy_queries

PROMPT_ALONE, UNFORESEEN, OPEN = Query((1, 9, 8), (), False), Query((), (9,), False), Query((), (9, 7, 30, 8), False)


@pytest.fixture(scope="module", params=["llama", "gemma3", "gpt2"])
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    return toy_lm(request.param, batch_tokens=64)


def definition(lm: LanguageModel, query: Query) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Mean state, last state, loss and doubt of one row, without padding, from whole logits in float64."""
    sequence = [*query.ids, *query.response]
    with torch.no_grad():
        hidden = decoder(lm.model)(input_ids=torch.tensor([sequence])).last_hidden_state[0].double().numpy()
        log_probs = torch.log_softmax(lm.model(input_ids=torch.tensor([sequence])).logits[0].double(), dim=-1)
    first = max(1, len(query.ids))
    scored = np.array([log_probs[t - 1, sequence[t]].item() for t in range(first, len(sequence))])
    if not len(scored):
        return hidden.mean(0), hidden[-1], 0.0, 0.0
    return hidden.mean(0), hidden[-1], -scored.mean(), float(np.sqrt(np.mean((1 - np.exp(scored)) ** 2)))


@pytest.mark.parametrize("tiled", [True, False])
def test_equals_the_definition(lm: LanguageModel, tiled: bool) -> None:
    queries = [*toy_queries(9), PROMPT_ALONE, UNFORESEEN, OPEN]
    model = lm if tiled else replace(lm, head=None)
    found = read_rows(model, queries)
    assert state_width(model) == 32 and found.mean_state.shape == found.last_state.shape == (12, 32)
    for k, query in enumerate(queries):
        mean, last, loss, doubt = definition(lm, query)
        np.testing.assert_allclose(found.mean_state[k], mean, atol=2e-5)
        np.testing.assert_allclose(found.last_state[k], last, atol=2e-5)
        np.testing.assert_allclose((found.loss[k], found.doubt[k]), (loss, doubt), atol=1e-4)
    assert found.scored.tolist() == [*(len(query.response) for query in queries[:9]), 0, 0, 3]
    assert (found.loss[:9] > 0.1).all() and ((found.doubt[:9] > 0.1) & (found.doubt[:9] <= 1)).all()
    assert (found.loss[9:11] == 0).all() and (found.doubt[9:11] == 0).all()
    assert {a.dtype for a in (found.mean_state, found.last_state, found.loss, found.doubt)} == {np.dtype(np.float32)}


def test_equals_the_two_passes_that_it_saves(lm: LanguageModel) -> None:
    queries = toy_queries(9)
    sequences = [(*query.ids, *query.response) for query in queries]
    found = read_rows(lm, queries)
    np.testing.assert_allclose(found.mean_state, pooled_states(lm, sequences, "mean"), atol=2e-5)
    np.testing.assert_allclose(found.last_state, pooled_states(lm, sequences, "last"), atol=2e-5)
    losses = [-one.mean() for one in score_responses(lm, [()] * len(queries), queries)]
    np.testing.assert_allclose(found.loss, losses, atol=1e-5)


@pytest.mark.parametrize("tiled", [True, False])
def test_every_row_is_one_forward_with_logits_for_its_response(lm: LanguageModel, tiled: bool) -> None:
    queries = [*toy_queries(7), PROMPT_ALONE, OPEN]
    lm.meter.ledger = ledger = Ledger()
    done: list[int] = []
    read_rows(lm if tiled else replace(lm, head=None), queries, on_progress=done.append)
    assert (ledger.lm_forwards, ledger.lm_prefixes, ledger.lm_backwards, sum(done)) == (9, 0, 0, 9)
    assert len(done) > 1 and ledger.lm_tokens == sum(map(len, queries))
    wanted = sum(len(query.response) for query in queries) - 1
    slots = ledger.lm_tokens + ledger.lm_padding
    assert ledger.head_tokens == (wanted if tiled else slots)
    assert ledger.flops == 2 * (lm.meter.trunk_weights * slots + lm.meter.head_weights * ledger.head_tokens)


def test_the_trunk_is_left_as_it_was(lm: LanguageModel) -> None:
    hooks = len(decoder(lm.model)._forward_hooks)
    read_rows(replace(lm, head=None), toy_queries(3))
    assert len(decoder(lm.model)._forward_hooks) == hooks


def test_company_and_order_do_not_matter(lm: LanguageModel) -> None:
    queries = [*toy_queries(11), PROMPT_ALONE]
    whole = read_rows(lm, queries)
    order = np.random.default_rng(1).permutation(len(queries))
    other = read_rows(replace(lm, placement=replace(lm.placement, batch_tokens=1)), [queries[k] for k in order])
    for name in ("mean_state", "last_state", "scored", "loss", "doubt"):
        np.testing.assert_allclose(getattr(other, name), getattr(whole, name)[order], atol=2e-5)
    assert np.abs(whole.mean_state - whole.last_state).max() > 1e-2


def test_nothing_asked(lm: LanguageModel) -> None:
    lm.meter.ledger = ledger = Ledger()
    assert read_rows(lm, []).mean_state.shape == (0, 32) and ledger == Ledger()


@pytest.mark.parametrize("where", ["trunk", "head"])
def test_numbers_that_are_none_are_said(where: str) -> None:
    lm = toy_lm(batch_tokens=64)
    with torch.no_grad():
        broken = decoder(lm.model).norm if where == "trunk" else lm.model.get_output_embeddings()  # pyright: ignore
        broken.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="returned NaN or infinity in float32"):
        read_rows(lm, toy_queries(3))
    if where == "head":
        assert np.isfinite(read_rows(lm, [PROMPT_ALONE]).mean_state).all()
