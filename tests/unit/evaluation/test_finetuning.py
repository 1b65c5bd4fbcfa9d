"""Fine-tuning learns the responses and nothing else, and leaves no trace on the model."""

from __future__ import annotations

import gc
import random
import weakref
from hashlib import sha256

import numpy as np
import pytest
import torch

from nncift.errors import ConfigError, ModelError
from nncift.evaluation import finetuning
from nncift.evaluation.finetuning import FineTuning, collate, fine_tuned, response_loss
from nncift.lm.model import LanguageModel
from nncift.lm.score import score_responses
from nncift.lm.tokens import Query
from nncift.tuning.lora import attach
from toys import toy_lm, toy_queries

KINDS = ("llama", "gemma3", "gpt2")
QUICK = FineTuning(epochs=3, learning_rate=1e-2, batch=2)


def _hash(lm: LanguageModel) -> str:
    digest = sha256()
    for name, weight in sorted(lm.model.state_dict().items()):
        digest.update(name.encode() + weight.numpy().tobytes())
    return digest.hexdigest()


def _scores(lm: LanguageModel, rows: list[Query]) -> np.ndarray:
    return np.concatenate(score_responses(lm, [()] * len(rows), rows))


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_cross_entropy_of_response_tokens(kind: str) -> None:
    lm = toy_lm(kind)
    for query in (Query((1, 5, 6), (7, 8, 9, 2), False), Query((1, 5, 6), (7, 8, 9), False)):  # with and without EOS
        ids = torch.tensor([[*query.ids, *query.response]])
        logits = lm.model(input_ids=ids).logits[0, len(query.ids) - 1 : -1]
        wanted = torch.nn.functional.cross_entropy(logits, torch.tensor(query.response))
        torch.testing.assert_close(response_loss(lm, collate([query])), wanted)


def test_a_batch_is_the_mean_over_its_response_tokens_whatever_the_padding() -> None:
    lm = toy_lm()
    rows = toy_queries()
    batch = collate(rows)
    alone = sum(response_loss(lm, collate([row])) * len(row.response) for row in rows)
    wanted = alone / sum(len(row.response) for row in rows)
    torch.testing.assert_close(response_loss(lm, batch), wanted)
    wider = {
        name: torch.nn.functional.pad(value, (0, 5), value=-100 if name == "labels" else 0)
        for name, value in batch.items()
    }
    torch.testing.assert_close(response_loss(lm, wider), wanted)


def test_prompts_and_padding_are_masked() -> None:
    rows = [Query((1, 5), (7, 8, 9), False), Query((1, 5, 6), (7,), False)]
    batch = collate(rows)
    assert batch["labels"].tolist() == [[-100, -100, 7, 8, 9], [-100, -100, -100, 7, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]


def test_only_responses_are_learnt() -> None:
    lm = toy_lm()
    weights = attach(lm, rank=2, alpha=4, seed=0, where="all-linear")
    rows = toy_queries()
    ours = torch.autograd.grad(response_loss(lm, collate(rows)), list(weights.values()))
    total = torch.zeros(())
    for row in rows:
        logits = lm.model(input_ids=torch.tensor([[*row.ids, *row.response]])).logits[0, len(row.ids) - 1 : -1]
        total = total + torch.nn.functional.cross_entropy(logits, torch.tensor(row.response), reduction="sum")
    theirs = torch.autograd.grad(total / sum(len(row.response) for row in rows), list(weights.values()))
    assert max(float(gradient.abs().max()) for gradient in theirs) > 1e-3
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_the_rows_and_leaves_no_trace(kind: str) -> None:
    lm = toy_lm(kind)
    rows = toy_queries()
    before, attributes, config = _hash(lm), set(vars(lm.model)), lm.model.config.to_dict()
    plain = _scores(lm, rows)
    with fine_tuned(lm, rows, QUICK, seed=0):
        assert not lm.model.training
        assert _scores(lm, rows).mean() > plain.mean() + 0.3
        wrapped = [name for name, _ in lm.model.named_modules() if name.endswith("lora_A")]
        assert any("mlp" in name for name in wrapped) and not any("lm_head" in name for name in wrapped)
    assert _hash(lm) == before
    assert set(vars(lm.model)) == attributes and lm.model.config.to_dict() == config
    assert np.array_equal(_scores(lm, rows), plain)


def test_the_seed_decides_and_global_generators_stay() -> None:
    lm = toy_lm()
    rows = toy_queries()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state()  # noqa: NPY002

    def trained(seed: int) -> np.ndarray:
        with fine_tuned(lm, rows, QUICK, seed=seed):
            return _scores(lm, rows)

    one, other, again = trained(1), trained(2), trained(1)
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert random.getstate() == states[0] and np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), states[2])


def test_computing_activations_again_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = toy_lm()
    rows = toy_queries()
    with fine_tuned(lm, rows, QUICK, seed=0):
        kept = _scores(lm, rows)
    tokens = lm.meter.ledger.lm_tokens
    monkeypatch.setattr(finetuning, "_LARGE", 0)
    with fine_tuned(lm, rows, QUICK, seed=0):
        np.testing.assert_allclose(_scores(lm, rows), kept, atol=1e-5)
    assert lm.meter.ledger.lm_tokens == 2 * tokens
    assert not any(getattr(module, "gradient_checkpointing", False) for module in lm.model.modules())


def test_nothing_of_a_training_stays_in_memory() -> None:
    lm = toy_lm()
    gc.collect()
    gc.disable()
    try:
        with fine_tuned(lm, toy_queries(), QUICK, seed=0):
            weights = [weakref.ref(weight) for name, weight in lm.model.named_parameters() if "lora_" in name]
            assert weights and all(weight() is not None for weight in weights)
        assert all(weight() is None for weight in weights)
    finally:
        gc.enable()


def test_progress_and_costs_are_counted() -> None:
    lm = toy_lm()
    rows = toy_queries()
    told: list[int] = []
    with fine_tuned(lm, rows, QUICK, seed=0, on_progress=told.append):
        pass
    assert sum(told) == QUICK.epochs * len(rows) == lm.meter.ledger.lm_forwards == lm.meter.ledger.lm_backwards


def test_an_exploding_loss_is_told_and_the_model_is_given_back() -> None:
    lm = toy_lm()
    before = _hash(lm)
    with (
        pytest.raises(ModelError, match="--learning-rate"),
        fine_tuned(lm, toy_queries(), FineTuning(learning_rate=1e30, epochs=9, batch=1), seed=0),
    ):
        pass
    assert _hash(lm) == before


def test_a_second_gpu_is_refused_with_the_way_to_choose_it() -> None:
    from dataclasses import replace

    lm = toy_lm()
    lm = replace(lm, placement=replace(lm.placement, device="cuda:1"))
    with pytest.raises(ConfigError, match="CUDA_VISIBLE_DEVICES=1"), fine_tuned(lm, toy_queries(), QUICK, seed=0):
        pass


@pytest.mark.parametrize("where", ["forward", "backward", "step"])
def test_training_without_room_is_one_sentence_and_the_model_is_given_back(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = toy_lm()
    before = _hash(lm)

    def full(*args: object, **options: object) -> None:
        raise torch.OutOfMemoryError

    owner, name = {
        "forward": (lm.model.model.layers[0].mlp, "forward"),
        "backward": (torch.Tensor, "backward"),
        "step": (torch.optim.AdamW, "step"),
    }[where]
    monkeypatch.setattr(owner, name, full)
    told = r"cpu is out of memory in training with 2 rows a step\. Try --batch 1, a smaller --max-length or --quantize 4bit"
    with pytest.raises(ModelError, match=told), fine_tuned(lm, toy_queries(), QUICK, seed=0):
        pass
    monkeypatch.undo()
    assert _hash(lm) == before
