"""What a training run needs to go on where it stopped, and what gradients at its checkpoints need: adapter and optimiser as
one safetensors file that vouches for itself."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from nncift.errors import RunError
from nncift.lm.atomic import write_whole
from nncift.tuning.lora import install

log = logging.getLogger(__name__)

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class Tensors:
    """What a checkpoint holds, by weight name, on the CPU.

    Attributes:
        adapter: the weights.
        exp_avg: Adam's first moments.
        exp_avg_sq: Adam's second moments.
    """

    adapter: dict[str, Tensor]
    exp_avg: dict[str, Tensor]
    exp_avg_sq: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The end of one epoch, on disk.

    Attributes:
        path: the safetensors file: `adapter/NAME`, `step/NAME`, `exp_avg/NAME` and `exp_avg_sq/NAME` for every weight,
            float32, beside the two numbers below.
        step: steps taken so far.
        learning_rate: average over the steps of the epoch.
    """

    path: Path
    step: int
    learning_rate: float

    def state(self) -> dict[str, Tensor]:
        """What `restore_training` takes.

        Raises:
            RunError: the file was removed or changed after it was found.
        """
        state = read_tensors(self.path)
        if state is None:
            raise RunError(
                f"the checkpoint {str(self.path)!r} is gone or damaged. Run again; it is then computed again."
            )
        return state

    def read(self) -> Tensors:
        """Reads the tensors; three times the adapter in memory. Raises what `state` raises."""
        state = self.state()

        def part(what: str) -> dict[str, Tensor]:
            return {
                name.removeprefix(f"{what}/"): tensor for name, tensor in state.items() if name.startswith(f"{what}/")
            }

        return Tensors(part("adapter"), part("exp_avg"), part("exp_avg_sq"))


def keep_checkpoint(
    path: Path,
    adapter: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    learning_rate: float,
) -> Checkpoint:
    """Writes the end of an epoch."""
    numbers = {"step": torch.tensor(step), "learning_rate": torch.tensor(learning_rate, dtype=torch.float64)}
    write_tensors(path, training_state(adapter, optimizer) | numbers)
    return Checkpoint(path, step, learning_rate)


def find_checkpoint(path: Path) -> Checkpoint | None:
    """What `keep_checkpoint` wrote, or None where there is none or it is damaged."""
    state = read_tensors(path)
    return None if state is None else Checkpoint(path, int(state["step"]), float(state["learning_rate"]))


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
    except (SafetensorError, ValueError, AttributeError, TypeError) as error:
        reason = str(error)
    log.warning("%s is damaged (%s) and is computed again", path.name, reason)
    return None


def _read(blob: bytes) -> tuple[str | None, str]:
    """The hash that a safetensors file says it has, and the hash of its data and of the names and shapes that go with it."""
    start = 8 + int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8:start])
    metadata = header.pop("__metadata__", None) or {}
    hashed = sha256(json.dumps(header, sort_keys=True).encode())
    hashed.update(memoryview(blob)[start:])
    return metadata.get("sha256"), hashed.hexdigest()


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
