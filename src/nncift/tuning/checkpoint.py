"""What a training run needs to go on where it stopped: adapter and optimiser as one safetensors file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from nncift.lm.atomic import write_whole
from nncift.tuning.warmup import install

log = logging.getLogger(__name__)

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors and their hash to a file that is there whole or not at all."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    _, hashed = _read(to_bytes(held))
    write_whole(path, to_bytes(held, metadata={"sha256": hashed}))


def read_tensors(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a file, or None where there is none or it is damaged; then they must be computed again."""
    try:
        blob = path.read_bytes()
        known, hashed = _read(blob)
        if known == hashed:
            return from_bytes(blob)
        reason = "its bytes have changed"
    except FileNotFoundError:
        return None
    except (SafetensorError, ValueError, AttributeError) as error:
        reason = str(error)
    log.warning("%s is damaged (%s) and is computed again", path.name, reason)
    return None


def _read(blob: bytes) -> tuple[str | None, str]:
    """The hash that a safetensors file says it has, and the hash of its data."""
    start = 8 + int.from_bytes(blob[:8], "little")
    metadata = json.loads(blob[8:start]).get("__metadata__") or {}
    return metadata.get("sha256"), sha256(blob[start:]).hexdigest()


def training_state(adapter: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Weights of an adapter and the moments that Adam keeps of them, by name."""
    state: dict[str, Tensor] = {}
    for name, weight in adapter.items():
        state[f"adapter/{name}"] = weight.detach()
        for moment, value in optimizer.state[weight].items():
            state[f"{moment}/{name}"] = value
    return state


def restore_training(
    adapter: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]
) -> None:
    """Puts back what `training_state` gave; steps that follow give the same bytes as if nothing had come between."""
    install(adapter, {name: state[f"adapter/{name}"] for name in adapter})
    for name, weight in adapter.items():
        moments = {moment: state[f"{moment}/{name}"] for moment in _MOMENTS}
        optimizer.state[weight] = {
            moment: value if moment == "step" else value.to(weight.device) for moment, value in moments.items()
        }
