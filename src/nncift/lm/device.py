"""Where a language model runs and in which number format, chosen by a table whose every line says why."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from nncift.errors import ConfigError
from nncift.registry import did_you_mean

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True, slots=True)
class Placement:
    """A device and a number format, with the reason in words.

    Attributes:
        device: `cuda`, `cuda:1`, `mps` or `cpu`.
        dtype: `bfloat16`, `float16` or `float32`.
        reason: one sentence for the log and the run folder.
        batch_tokens: how many tokens go through the model at once.
    """

    device: str
    dtype: str
    reason: str
    batch_tokens: int

    @property
    def torch_dtype(self) -> torch.dtype:
        """The format as PyTorch names it."""
        return DTYPES[self.dtype]


def place(device: str = "auto", dtype: str = "auto", *, batch_tokens: int = 0) -> Placement:
    """Chooses device and format; what the user names wins over the table.

    Args:
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`; of several with commas between, which workers share, the first.
        dtype: `auto`, `bfloat16`, `float16` or `float32`.
        batch_tokens: tokens per forward; 0 takes 16,384 on a GPU and 2,048 on a CPU, past which two cores gain nothing.

    Raises:
        ConfigError: the device is not there, or the format is unknown.
    """
    if dtype != "auto" and dtype not in DTYPES:
        raise ConfigError(f"unknown --dtype {dtype!r}. {did_you_mean(dtype, ('auto', *DTYPES))}")
    for further in device.split(",")[1:]:
        _checked(further)
    device = device.split(",")[0]
    device = best_device() if device == "auto" else _checked(device)
    native, reason = _native_format(device.partition(":")[0])
    chosen = native if dtype == "auto" else dtype
    if dtype not in ("auto", native):
        reason = f"{dtype} as asked ({native} would be native here)"
    return Placement(device, chosen, reason, batch_tokens or (2048 if device == "cpu" else 16384))


def devices(asked: str, placed: str) -> tuple[str, ...]:
    """The devices that workers share: those that are named, or every GPU that PyTorch sees.

    Args:
        asked: what the user named: one device, several with commas between, or `auto`.
        placed: the device that `place` chose.
    """
    named = tuple(asked.split(","))
    if len(named) > 1:
        return named
    return tuple(f"cuda:{k}" for k in range(torch.cuda.device_count())) if placed == "cuda" else (placed,)


def best_device() -> str:
    """The fastest kind of device on this machine."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _checked(device: str) -> str:
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"unknown --device {device!r}. Known: auto, cpu, cuda, cuda:N, mps.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "no CUDA device is visible to PyTorch. Use `--device cpu`, or install a CUDA build of PyTorch."
        )
    if kind == "cuda" and number and not (number.isdigit() and int(number) < torch.cuda.device_count()):
        raise ConfigError(f"device {device!r} does not exist: PyTorch sees {torch.cuda.device_count()} CUDA device(s).")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("no Apple GPU (mps) is available to PyTorch. Use `--device cpu`.")
    return device


def _native_format(kind: str) -> tuple[str, str]:
    if kind == "cuda":
        if torch.cuda.is_bf16_supported():
            return "bfloat16", "the GPU multiplies bfloat16 natively"
        return "float16", "the GPU has no bfloat16 units"
    if kind == "mps":
        if torch.backends.mps.is_macos_or_newer(14, 0):
            return "bfloat16", "macOS 14 or newer runs bfloat16 on the Apple GPU"
        return "float32", "this macOS has no bfloat16, and float16 overflows in some models"
    if _cpu_has_bf16():
        return "bfloat16", "the CPU has bfloat16 instructions"
    return "float32", "the CPU has no bfloat16 instructions, and emulating them is slower than float32"


def _cpu_has_bf16() -> bool:
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check is not None and check() for check in checks)


def describe_cpu() -> str:
    """Cores and instruction set in a few words, for `doctor` and the run folder."""
    return (
        f"{os.cpu_count()} logical cores, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    )
