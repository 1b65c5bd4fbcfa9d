"""The size of a transformer is told from its files as the loaded model has it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nncift.lm.device import place
from nncift.lm.load import load_language_model
from nncift.lm.size import model_size, size_of
from toy_encoder import DIMENSION, make_toy_encoder
from toy_road import save_model


@pytest.mark.parametrize("layers", [None, 1])
def test_a_language_model(tmp_path: Path, layers: int | None) -> None:
    folder = save_model(tmp_path / "model")
    name = f"{folder}#layers={layers}" if layers else str(folder)
    found, lm = model_size(name), load_language_model(name, place("cpu"))
    config = lm.model.config
    assert found is not None
    assert found.weights == pytest.approx(lm.weights, rel=0.35)  # tied and cut parts are counted roughly
    assert (found.layers, found.width, found.heads) == (
        layers or config.num_hidden_layers, config.hidden_size, config.num_attention_heads
    )  # fmt: skip
    assert (found.inner, found.words) == (config.intermediate_size, config.vocab_size)


def test_an_embedder_reads_no_more_than_its_settings_say(tmp_path: Path) -> None:
    folder = make_toy_encoder(tmp_path)
    found = size_of(folder)
    assert found is not None and found.width == DIMENSION and found.context == 16
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 7}))
    found = size_of(folder)
    assert found is not None and found.context == 7


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"hidden_size": "x"}'])
def test_what_does_not_tell_is_none(tmp_path: Path, body: str) -> None:
    (tmp_path / "config.json").write_text(body)
    assert size_of(tmp_path) is None


def test_what_is_not_here_is_none() -> None:
    assert model_size("nobody/no-model") is None
    assert model_size("./nowhere") is None
