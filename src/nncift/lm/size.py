"""How large a transformer is, told from its files without loading it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nncift.cachedir import MODELS, cache_folder
from nncift.lm.identity import hub_snapshot
from nncift.lm.layers import whole_name
from nncift.registry import PACKAGED_MODELS

_STORED = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Size:
    """The numbers of a transformer that decide what it holds in memory.

    Attributes:
        weights: how many there are.
        layers: of them.
        width: numbers of a token between layers.
        inner: numbers of a token within the feed-forward part of a layer.
        heads: of the attention.
        cached: numbers that a layer keeps of a token that later ones look back at, keys and values together.
        words: of the vocabulary.
        context: tokens that it reads at most.
    """

    weights: int
    layers: int
    width: int
    inner: int
    heads: int
    cached: int
    words: int
    context: int


def model_size(name: str) -> Size | None:
    """The size of a language model by the name that `--model` takes; None where it is not on this disk, or a `.gguf` file."""
    whole, layers = whole_name(name)
    if whole in PACKAGED_MODELS:
        folder: Path | None = cache_folder() / MODELS / whole
    else:
        folder = Path(whole) if Path(whole).exists() else hub_snapshot(whole)
    return None if folder is None else size_of(folder, layers=layers)


def size_of(folder: Path, *, layers: int | None = None) -> Size | None:
    """The size of the transformer in a folder; None where its files do not tell.

    Args:
        folder: with `config.json` and the weights as safetensors or `.bin` files.
        layers: how many it is cut to; None for all.
    """
    try:
        body = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return _size(body, body.get("text_config") or body, _bytes(folder), layers, _most(folder))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _bytes(folder: Path) -> int:
    files = list(folder.glob("*.safetensors")) or list(folder.glob("*.bin"))
    return sum(file.stat().st_size for file in files)


def _most(folder: Path) -> int:
    """Tokens that an embedder reads at most by its own settings."""
    path = folder / "sentence_bert_config.json"
    said = json.loads(path.read_text(encoding="utf-8")).get("max_seq_length") if path.is_file() else None
    return int(said or 1 << 30)


def _size(body: dict[str, Any], text: dict[str, Any], stored: int, cut: int | None, most: int) -> Size:
    width, heads = int(text["hidden_size"]), int(text["num_attention_heads"])
    total = int(text["num_hidden_layers"])
    kept = min(cut or total, total)
    words = int(text["vocab_size"])
    dtype = str(body.get("dtype") or body.get("torch_dtype") or text.get("dtype") or "float32")
    weights = stored // _STORED.get(dtype, 4)
    beside = min(weights, words * width)  # the embeddings stay whole where layers are cut
    share = int(text.get("head_dim") or width // heads)
    return Size(
        weights=beside + (weights - beside) * kept // total,
        layers=kept,
        width=width,
        inner=int(text.get("intermediate_size") or 4 * width),
        heads=heads,
        cached=2 * share * int(text.get("num_key_value_heads") or heads),
        words=words,
        context=min(int(text.get("max_position_embeddings") or 512), most),
    )
