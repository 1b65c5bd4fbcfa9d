"""Cut models: their last hidden state is, bit for bit, what the whole model holds behind that layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nncift
from nncift.config import SelectConfig
from nncift.errors import ModelError
from nncift.evaluation.options import EvaluateConfig, resolved_evaluation
from nncift.lm.device import place
from nncift.lm.layers import cut_layers
from nncift.lm.load import load_language_model, load_tokenizer, model_fingerprint
from nncift.lm.score import score_responses
from nncift.recipe import read_recipe, resolved
from toys import toy_model, toy_queries, toy_tokenizer

CPU = place("cpu", "float32")


def behind(model: Any, layers: int, ids: torch.Tensor) -> torch.Tensor:
    """What stands behind a layer, before the final norm."""
    trunk, seen = model.get_decoder(), []
    stack = trunk.h if hasattr(trunk, "h") else trunk.layers
    handle = stack[layers - 1].register_forward_hook(lambda module, args, out: seen.append(out))
    with torch.no_grad():
        model(input_ids=ids, use_cache=False)
    handle.remove()
    return seen[0][0] if isinstance(seen[0], tuple) else seen[0]


def saved(folder: Path, kind: str = "gemma3") -> str:
    toy_model(kind).save_pretrained(folder)
    toy_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(("kind", "layers"), [("gemma3", 1), ("gemma3", 2), ("llama", 1), ("gpt2", 1)])
def test_the_last_layer_gives_what_it_gives_in_the_whole_model(kind: str, layers: int, tmp_path: Path) -> None:
    name = saved(tmp_path / "model", kind)
    whole, cut = (load_language_model(one, CPU) for one in (name, f"{name}#layers={layers}"))
    ids = torch.tensor([[1, *range(4, 27)]])  # longer than the sliding window
    assert torch.equal(behind(whole.model, layers, ids), behind(cut.model, layers, ids))
    final = cut.model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    norm = whole.model.get_decoder().ln_f if kind == "gpt2" else whole.model.get_decoder().norm
    torch.testing.assert_close(final, norm(behind(whole.model, layers, ids)))
    assert not torch.allclose(final, whole.model.get_decoder()(input_ids=ids).last_hidden_state)
    assert cut.weights < whole.weights and cut.name == f"{name}#layers={layers}"


@pytest.mark.parametrize("kind", ["gemma3", "llama", "gpt2"])
def test_a_cut_model_scores_shares_prefixes_and_writes(kind: str, tmp_path: Path) -> None:
    """What is found out on probes holds of the cut model too, caches of its configuration included."""
    name = saved(tmp_path / "model", kind)
    cut = load_language_model(f"{name}#layers=2", CPU)
    assert cut.shares_prefixes and cut.head is not None
    queries, prefix = toy_queries(), (1, 9, 8, 7, 6, 5, 4, 9, 8, 7)
    alone = [score_responses(cut, [prefix], [one])[0] for one in queries]
    for one, together in zip(alone, score_responses(cut, [prefix] * len(queries), queries), strict=True):
        np.testing.assert_allclose(one, together, atol=1e-5)
    written = cut.model.generate(torch.tensor([[1, 5, 6]]), max_new_tokens=12, do_sample=False, use_cache=True)
    plain = cut.model.generate(torch.tensor([[1, 5, 6]]), max_new_tokens=12, do_sample=False, use_cache=False)
    assert written.tolist() == plain.tolist()


def test_the_configuration_is_cut_with_the_layers() -> None:
    model = toy_model("gemma3")
    cut_layers("toy", model, 2)
    assert model.config.layer_types == ["sliding_attention", "full_attention"]
    assert model.config.num_hidden_layers == 2 == len(model.get_decoder().layers)


def test_all_layers_are_the_model_itself(tmp_path: Path) -> None:
    name = saved(tmp_path / "model")
    ids = torch.tensor([[1, 5, 6, 7]])
    whole, cut = (load_language_model(one, CPU).model(input_ids=ids).logits for one in (name, f"{name}#layers=3"))
    assert torch.equal(whole, cut)


def test_fingerprints_tell_them_apart(tmp_path: Path) -> None:
    name = saved(tmp_path / "model")
    known = [model_fingerprint(one) for one in (name, f"{name}#layers=1", f"{name}#layers=2")]
    assert len(set(known)) == 3 and None not in known
    assert load_language_model(f"{name}#layers=2", CPU).fingerprint == known[2]
    tokenizer, length = load_tokenizer(f"{name}#layers=2", max_length=99)
    assert (length, tokenizer("a")["input_ids"]) == (99, toy_tokenizer()("a")["input_ids"])


@pytest.mark.parametrize("count", ["0", "-1", "six", "", "2.5", "²"])
def test_a_count_that_is_none_is_told(count: str) -> None:
    with pytest.raises(ModelError, match="must be a whole number, 1 or more"):
        load_language_model(f"gemma-3-270m#layers={count}", CPU)


def test_too_many_layers_are_told(tmp_path: Path) -> None:
    name = saved(tmp_path / "model")
    for load in (lambda one: load_language_model(one, CPU), load_tokenizer):
        with pytest.raises(ModelError, match=r"is to keep 4 layers, and it has 3\. Ask for at most 3"):
            load(f"{name}#layers=4")


def test_missing_weights_are_told_without_the_count() -> None:
    with pytest.raises(ModelError, match=r"no model folder at './nowhere'"):
        load_language_model("./nowhere#layers=3", CPU)


def test_paths_are_made_full_and_names_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    for given, wanted in (
        ("model#layers=2", f"{tmp_path}/model#layers=2"),
        ("gemma-3-270m#layers=6", "gemma-3-270m#layers=6"),
        ("owner/name#layers=6", "owner/name#layers=6"),
    ):
        assert resolved(SelectConfig(pool="p", influence="delift", model=(given,))).model == (wanted,)
        assert resolved_evaluation(EvaluateConfig(subset=("s",), model=given)).model == wanted


def test_labels_of_a_cut_model_through_the_front_door(tmp_path: Path) -> None:
    name = saved(tmp_path / "model")
    pool = [{"prompt": f"q {k}?", "completion": "yes " * (1 + k)} for k in range(5)]
    options = {
        "target": pool[:3],
        "influence": "delift",
        "labels": "all",
        "dtype": "float32",
        "output": tmp_path / "l.npz",
    }
    few, whole = (nncift.label(pool, model=one, **options).dense() for one in (f"{name}#layers=1", name))
    assert few.shape == whole.shape == (3, 5)
    assert not (abs(few - whole) < 1e-6).any()


def test_the_receipt_of_a_run_names_it(tmp_path: Path) -> None:
    pool = [{"prompt": f"q {k}?", "completion": "yes " * (1 + k)} for k in range(5)]
    name = f"{saved(tmp_path / 'model')}#layers=1"
    options = {
        "target": pool[:3],
        "influence": "delift",
        "labels": "all",
        "embedder": f"{tmp_path}/p.npy,{tmp_path}/t.npy",
    }
    np.save(tmp_path / "p.npy", np.eye(5, 4, dtype=np.float32) + 0.1)
    np.save(tmp_path / "t.npy", np.eye(3, 4, dtype=np.float32) + 0.1)
    nncift.select(pool, model=name, budget=2, output=tmp_path / "run", **options)
    assert read_recipe(tmp_path / "run" / "recipe.yaml").model == (name,)
