"""A language model cut to its first layers: the cheap stand-in that costs nothing to get, `NAME#layers=6`."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from torch import nn

from nncift.errors import ModelError
from nncift.registry import LAYERS


def whole_name(name: str) -> tuple[str, int | None]:
    """The model that a name is cut from, and how many of its layers it keeps; None where it keeps all.

    Raises:
        ModelError: the number of layers is none.
    """
    whole, cut, count = name.partition(LAYERS)
    if not cut:
        return name, None
    if not whole or not (count.isascii() and count.isdigit()) or not 0 < int(count) < 10_000:
        raise ModelError(
            f"the model {name!r} is to keep {count!r} layers; it must be a whole number, 1 or more. Write for example "
            f"{whole or 'gemma-3-270m'}{LAYERS}6."
        )
    return whole, int(count)


def cut_fingerprint(fingerprint: str, layers: int | None) -> str:
    """What tells the first layers of a model from the whole."""
    return fingerprint if layers is None else sha256(f"{fingerprint}{LAYERS}{layers}".encode()).hexdigest()


def check_layers(name: str, config: Any, layers: int | None) -> None:
    """Raises:
    ModelError: the model has fewer layers than are to be kept.
    """
    total = config.get_text_config().num_hidden_layers
    if layers is not None and layers > total:
        raise ModelError(f"the model {name!r} is to keep {layers} layers, and it has {total}. Ask for at most {total}.")


def cut_layers(name: str, model: Any, layers: int | None) -> None:
    """Drops all but the first layers, in place; embeddings, final norm and output head stay as they are.

    What stands before the final norm is then, bit for bit, what the whole model holds behind that layer.

    Args:
        name: as the user wrote it, for errors.
        model: a loaded `transformers` model.
        layers: how many stay; None for all.

    Raises:
        ModelError: the model has fewer, or its layers are no list in its trunk.
    """
    if layers is None:
        return
    check_layers(name, model.config, layers)
    trunk, total = model.get_decoder(), model.config.get_text_config().num_hidden_layers
    stacks = [key for key, child in trunk.named_children() if isinstance(child, nn.ModuleList) and len(child) == total]
    if len(stacks) != 1:
        raise ModelError(
            f"the layers of {name!r} cannot be told: its trunk has {len(stacks)} lists of {total} modules, and one is needed. "
            f"Leave out {LAYERS}{layers}."
        )
    setattr(trunk, stacks[0], getattr(trunk, stacks[0])[:layers])
    for config in {id(one): one for one in (model.config.get_text_config(), trunk.config)}.values():
        _cut_config(config, total, layers)


def _cut_config(config: Any, total: int, layers: int) -> None:
    """What the configuration says layer by layer, such as which attend through a sliding window, is cut with them: caches
    are made from it."""
    for key, value in vars(config).copy().items():
        if "layer" in key and isinstance(value, list) and len(value) == total:
            setattr(config, key, value[:layers])
    config.num_hidden_layers = layers
