"""Which weights a model name stands for, told from the files without loading them: part of every cache key."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

_DECISIVE = {".safetensors", ".bin", ".gguf", ".json", ".jinja", ".model", ".txt", ".py"}
_SAMPLE = 1 << 20
_SMALL = 1 << 26


def identify(source: str | Path) -> str | None:
    """Hash of a model file, or of a folder's weights, configuration and tokenizer: names, sizes, small files whole, and of
    large ones the first, middle and last MiB.

    A fine-tuned, merged or otherwise quantised model differs in nearly every weight, so samples tell it apart at a
    thousandth of the cost of reading it.

    Returns:
        The hash, or None where `source` is not on this disk (a hub id that was never downloaded).
    """
    path = Path(source)
    if not path.exists():
        snapshot = hub_snapshot(str(source))
        if snapshot is None:
            return None
        path = snapshot
    digest = sha256()
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.suffix in _DECISIVE)
    for file in files:
        size = file.stat().st_size
        name = file.name if path.is_file() else file.relative_to(path).as_posix()
        digest.update(f"{name} {size}\n".encode())
        with file.open("rb") as stream:
            if size <= _SMALL:
                digest.update(stream.read())
                continue
            for start in (0, size // 2, size - _SAMPLE):
                stream.seek(start)
                digest.update(stream.read(_SAMPLE))
    return digest.hexdigest()


def identify_tokenizer(tokenizer: Any) -> str:
    """Hash of all that decides how a tokenizer splits text and words a conversation."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    splits = sorted(tokenizer.get_vocab().items()) if backend is None else backend.to_str()
    told = [splits, tokenizer.chat_template, tokenizer.special_tokens_map, type(tokenizer).__name__]
    return sha256(json.dumps(told, sort_keys=True, default=str).encode("utf-8", "surrogatepass")).hexdigest()


def hub_snapshot(name: str) -> Path | None:
    """The folder of a hub id in the hub's cache; None where its weights are not there."""
    from transformers.utils.hub import cached_file

    try:
        config = cached_file(name, "config.json", local_files_only=True, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError):
        return None
    folder = Path(config).parent if config else None
    whole = folder is not None and any(file.suffix in (".safetensors", ".bin", ".gguf") for file in folder.iterdir())
    return folder if whole else None
