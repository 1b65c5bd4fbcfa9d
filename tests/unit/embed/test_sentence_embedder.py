"""Embeddings by a sentence-transformers model: what they equal, what they do not depend on, and how loading fails."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nncift.embed.base import first_bad_row, unit_rows
from nncift.embed.cache import embed_cached
from nncift.embed.sentence import SentenceEmbedder
from nncift.embed.weights import folder_hash
from nncift.errors import ModelError
from toy_encoder import DIMENSION, LIMIT, WORDS, make_toy_encoder

TEXTS = [
    " ".join(WORDS[start : start + count]) for start, count in [(0, 3), (4, 7), (9, 1), (2, 10), (5, 5), (1, 2), (8, 8)]
]


def test_vectors_equal_a_forward_pass_by_hand(toy_folder: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(toy_folder), AutoModel.from_pretrained(toy_folder).eval()
    expected = []
    for text in TEXTS:  # one at a time, so without padding; mean over tokens, then length 1
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=LIMIT)).last_hidden_state
        mean = states[0].double().mean(dim=0).numpy()
        expected.append(mean / np.linalg.norm(mean))
    found = SentenceEmbedder(str(toy_folder), batch_size=3).encode(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_vectors_depend_on_neither_batch_size_nor_order(toy_folder: Path) -> None:
    embedder = SentenceEmbedder(str(toy_folder), batch_size=2)
    plain = embedder.encode(TEXTS)
    assert np.linalg.norm(plain[:, None] - plain[None], axis=2)[np.triu_indices(len(TEXTS), 1)].min() > 0.05
    for batch_size in (1, 3, 64):
        other = SentenceEmbedder(str(toy_folder), batch_size=batch_size).encode(TEXTS)
        np.testing.assert_allclose(other, plain, atol=1e-5)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    shuffled = embedder.encode([TEXTS[k] for k in order])
    np.testing.assert_array_equal(shuffled, plain[order])  # the batches are the same ones, so the bits are too


def test_equal_texts_are_encoded_once_and_progress_counts_all(
    toy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = SentenceEmbedder(str(toy_folder), batch_size=2)
    encoded: list[str] = []
    inner = embedder._model.encode

    def spy(batch: list[str], **options: object) -> np.ndarray:
        encoded.extend(batch)
        return inner(batch, **options)

    monkeypatch.setattr(embedder._model, "encode", spy)
    done: list[int] = []
    vectors = embedder.encode([*TEXTS, *TEXTS[::-1], TEXTS[0]], on_progress=done.append)
    assert sorted(encoded) == sorted(TEXTS)
    assert sum(done) == 2 * len(TEXTS) + 1 and len(done) == 4
    np.testing.assert_array_equal(vectors[: len(TEXTS)], vectors[len(TEXTS) : -1][::-1])
    np.testing.assert_array_equal(vectors[0], vectors[-1])


def test_no_text_and_the_empty_text(toy_folder: Path) -> None:
    embedder = SentenceEmbedder(str(toy_folder))
    assert embedder.encode([]).shape == (0, DIMENSION)
    assert embedder.overlong([]).shape == (0,)
    np.testing.assert_allclose(np.linalg.norm(embedder.encode(["", "rain"]), axis=1), 1, atol=1e-6)


def test_overlong_is_exactly_what_changes_nothing_past_the_limit(toy_folder: Path) -> None:
    embedder = SentenceEmbedder(str(toy_folder))
    fits, over = "rain " * (LIMIT - 2), "rain " * (LIMIT - 1)
    assert embedder.overlong([over, fits, "", "a river"]).tolist() == [True, False, False, False]
    vectors = embedder.encode([over, over + "numbers", fits, fits[:-5]])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)  # what comes later is not read
    assert np.abs(vectors[2] - vectors[3]).max() > 1e-3  # what comes before is


def test_default_prompt_counts_towards_the_limit(toy_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(toy_folder, tmp_path / "prompted")
    settings = folder / "config_sentence_transformers.json"
    text = settings.read_text().replace('"default_prompt_name": null', '"default_prompt_name": "p"')
    settings.write_text(text.replace('"prompts": {', '"prompts": {"p": "say what ",'))
    plain, prompted = SentenceEmbedder(str(toy_folder)), SentenceEmbedder(str(folder))
    texts = ["rain " * (LIMIT - 2), "rain " * (LIMIT - 4)]
    assert prompted.overlong(texts).tolist() == [True, False] and not plain.overlong(texts).any()
    np.testing.assert_allclose(prompted.encode(["rain"]), plain.encode(["say what rain"]), atol=1e-5)
    assert prompted.fingerprint != plain.fingerprint


def test_weights_stored_in_half_precision_are_computed_in_single(toy_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = shutil.copytree(toy_folder, tmp_path / "half")
    AutoModel.from_pretrained(toy_folder, dtype=torch.bfloat16).save_pretrained(folder)
    half = SentenceEmbedder(str(folder))
    assert half._model.dtype == torch.float32
    np.testing.assert_allclose(half.encode(TEXTS), SentenceEmbedder(str(toy_folder)).encode(TEXTS), atol=0.05)


def test_fingerprint_names_the_weights_and_not_the_place(toy_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(toy_folder, tmp_path / "elsewhere")
    (copy / "README.md").write_text("a note")
    original = SentenceEmbedder(str(toy_folder))
    assert SentenceEmbedder(str(copy)).fingerprint == original.fingerprint
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert folder_hash(copy) != folder_hash(toy_folder)
    settings = shutil.copytree(toy_folder, tmp_path / "settings")
    pooling = settings / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text().replace("mean", "cls"))
    assert SentenceEmbedder(str(settings)).fingerprint != original.fingerprint


def test_a_fully_cached_run_never_loads_torch(toy_folder: Path, tmp_path: Path) -> None:
    embed_cached(SentenceEmbedder(str(toy_folder)), TEXTS, folder=tmp_path)
    code = (
        "import sys, pathlib\n"
        "from nncift.embed.cache import embed_cached\n"
        "from nncift.embed.choose import load_embedder\n"
        "toy, folder, *texts = sys.argv[1:]\n"
        "result = embed_cached(load_embedder(toy, device='cpu'), texts, folder=pathlib.Path(folder))\n"
        "print(result.computed, len(result.vectors), 'torch' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(toy_folder), str(tmp_path), *TEXTS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", str(len(TEXTS)), "False"]


def test_nan_weights_are_refused_with_the_text(tmp_path: Path) -> None:
    folder = make_toy_encoder(tmp_path)
    embedder = SentenceEmbedder(str(folder))
    with torch.no_grad():
        embedder._model[0].model.embeddings.word_embeddings.weight[5].fill_(float("nan"))  # the word "add"
    with pytest.raises(ModelError, match="NaN or infinity for the text 'add the'"):
        embedder.encode(["rain", "add the", "a river"])


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere", "one/two/three"])
def test_a_missing_folder_is_one_sentence(name: str) -> None:
    with pytest.raises(ModelError, match=r"there is no such folder\. Name a local folder, use `--embedder minilm`"):
        SentenceEmbedder(name)


def test_a_folder_without_weights_and_a_damaged_one(toy_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights"):
        SentenceEmbedder(str(tmp_path))
    folder = shutil.copytree(toy_folder, tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"cannot load the embedder .*nncift\[offline\]") as caught:
        SentenceEmbedder(str(folder)).encode(["rain"])
    assert "\n" not in str(caught.value)


@pytest.fixture
def hub_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and the hub out of reach."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_an_unreachable_hub_is_one_sentence(hub_offline: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot load the embedder 'nobody/nothing': .* Hugging Face cache") as caught:
        SentenceEmbedder("nobody/nothing")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["toys/encoder", "encoder"])
def test_an_unreachable_hub_does_not_matter_once_cached(hub_offline: Path, toy_folder: Path, name: str) -> None:
    namespace = "toys" if "/" in name else "sentence-transformers"
    repository = hub_offline / f"models--{namespace}--encoder"
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(toy_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    embedder = SentenceEmbedder(name)
    assert embedder.name == name and embedder.fingerprint == SentenceEmbedder(str(toy_folder)).fingerprint
    assert embedder.encode(["rain"]).shape == (1, DIMENSION)


def test_the_pickled_copy_of_the_weights_is_fetched_only_without_another(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    bare = shutil.copytree(toy_folder, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))

    def fake(folder: Path):
        def snapshot_download(name: str, *, ignore_patterns: list[str]) -> str:
            asked.append("pytorch_model*.bin" not in ignore_patterns)
            if asked[-1]:
                (folder / "pytorch_model.bin").write_bytes(b"")
            return str(folder)

        return snapshot_download

    monkeypatch.setattr("huggingface_hub.snapshot_download", fake(toy_folder))
    SentenceEmbedder("toys/encoder")
    assert asked == [False]
    monkeypatch.setattr("huggingface_hub.snapshot_download", fake(bare))
    SentenceEmbedder("toys/encoder")
    assert asked == [False, False, True]


def test_a_plain_transformer_is_averaged_and_says_so(toy_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="nncift"):
        plain = SentenceEmbedder(str(toy_folder.parent / "plain"))
    assert "no modules.json" in caplog.text
    np.testing.assert_allclose(plain.encode(TEXTS), SentenceEmbedder(str(toy_folder)).encode(TEXTS), atol=1e-5)


def test_static_embeddings_have_no_limit(tmp_path: Path, toy_folder: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    words = Tokenizer.from_file(str(toy_folder / "tokenizer.json"))
    words.no_truncation()
    weights = np.random.default_rng(3).normal(size=(words.get_vocab_size(), 5)).astype(np.float32)
    model = SentenceTransformer(modules=[StaticEmbedding(words, embedding_weights=weights)], device="cpu")
    model.save_pretrained(str(tmp_path / "static"), create_model_card=False)
    embedder = SentenceEmbedder(str(tmp_path / "static"))
    assert not embedder.overlong(["rain " * 1000]).any()
    vectors = embedder.encode(["", "rain", "a river"])
    assert not vectors[0].any()  # no token, no direction
    np.testing.assert_allclose(np.linalg.norm(vectors[1:], axis=1), 1, atol=1e-6)


def test_unit_rows_survive_the_extremes() -> None:
    rows = np.array([[3.0, 4.0], [1e200, 1e200], [1e-320, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(unit_rows(rows), [[0.6, 0.8], [0.5**0.5, 0.5**0.5], [1, 0], [0, 0]], rtol=1e-6)
    assert unit_rows(np.array([[1e30, 0]], dtype=np.float32)).tolist() == [[1, 0]]
    assert rows[0, 0] == 3.0
    assert first_bad_row(rows) is None
    assert first_bad_row(np.array([[0, 1], [2, np.inf], [np.nan, 0]])) == 1
