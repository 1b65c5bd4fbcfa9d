"""`make gpu-check`: what the owner of a GPU runs to see that CUDA does what the CPU does, and how fast.

    python benchmarks/gpu_check.py [--model gemma-3-270m] [--devices cuda:0,cuda:1] [--tolerance-only]

On short generated rows it computes DELIFT labels of a language model, and checks that
- float32 on CUDA agrees with float32 on the CPU within 1e-5, bfloat16 within 5e-3 of float32;
- two runs on one device are the same bytes;
- 4-bit weights load and give finite labels whose order is much that of float32 (Spearman 0.7);
- two devices give the labels of one within 1e-5 (of one kind: its bytes);
- vectors of the sentence encoder on CUDA agree with those on the CPU within 1e-5;
and prints scores a second, texts a second and the peak of the GPU's memory. Without a GPU nothing is checked, and it ends
with 2; with `--devices cpu,cpu` it shows what it would do on two devices that are none.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

import nncift
from nncift.cachedir import cache_in
from nncift.embed.choose import load_embedder
from nncift.errors import NnciftError

ROWS, TARGETS = 48, 12
FLOAT32, BFLOAT16, ORDER = 1e-5, 5e-3, 0.7


class Checks:
    """What was checked, line by line."""

    def __init__(self) -> None:
        self.failed = 0

    def say(self, good: bool, what: str, found: str) -> None:
        """One line; a bad one is counted."""
        self.failed += not good
        print(f"{'ok  ' if good else 'BAD '} {what}: {found}", flush=True)

    @contextmanager
    def part(self, what: str) -> Iterator[None]:
        """A part that cannot be done is a bad line, and the next one is tried."""
        try:
            yield
        except (NnciftError, RuntimeError, ImportError) as error:
            self.say(False, what, f"{type(error).__name__}: {error}")


def write(folder: Path) -> tuple[str, str]:
    """Rows of a few kinds, whose answers follow from their questions."""
    rng = np.random.default_rng(0)
    for name, count in (("pool", ROWS), ("target", TARGETS)):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as stream:
            for k in range(count):
                a, b = rng.integers(2, 99, 2)
                kinds = [
                    (f"What is {a} plus {b}?", f"{a + b}"),
                    (f"Count from {a} to {a + 4}.", ", ".join(str(n) for n in range(a, a + 5))),
                    (f"Write the number {a} twice.", f"{a} {a}"),
                ]
                prompt, completion = kinds[k % len(kinds)]
                stream.write(json.dumps({"id": f"{name}{k}", "prompt": prompt, "completion": completion}) + "\n")
    return str(folder / "pool.jsonl"), str(folder / "target.jsonl")


class Labels:
    """Labels of one model under several placements."""

    def __init__(self, folder: Path, model: str) -> None:
        self.folder, self.model = folder, model
        self.pool, self.target = write(folder)
        self.runs = 0

    def of(self, device: str, **options: Any) -> tuple[np.ndarray, float]:
        """All labels, and pairs a second, loading included."""
        self.runs += 1
        place = self.folder / f"{self.runs}.npz"
        started = time.perf_counter()
        with cache_in(self.folder / f"cache{self.runs}"):
            found = nncift.label(
                self.pool, target=self.target, output=place, influence="delift", labels="all", model=(self.model,),
                device=device, max_length=256, **options,
            )  # fmt: skip
        return found.y, len(found.y) / (time.perf_counter() - started)


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(values)).astype(float) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def check_labels(checks: Checks, labels: Labels, devices: list[str], *, speed: bool) -> None:
    first = devices[0]
    on_cpu, _ = labels.of("cpu", dtype="float32")
    exact, pace = labels.of(first, dtype="float32")
    gap = float(np.abs(exact - on_cpu).max())
    checks.say(gap <= FLOAT32, f"labels in float32, {first} and CPU", f"at most {gap:.1e} apart (limit {FLOAT32:.0e})")
    again, _ = labels.of(first, dtype="float32")
    same = again.tobytes() == exact.tobytes()
    checks.say(same, f"two runs on {first}", "the same bytes" if same else "other bytes")
    with checks.part("bfloat16"):
        half, quick = labels.of(first, dtype="bfloat16")
        gap = float(np.abs(half - exact).max())
        checks.say(
            gap <= BFLOAT16, f"labels in bfloat16, {first}", f"at most {gap:.1e} from float32 (limit {BFLOAT16:.0e})"
        )
        if speed:
            print(f"     {pace:,.0f} pairs a second in float32, {quick:,.0f} in bfloat16, loading included")
    with checks.part("4-bit"):
        four, _ = labels.of(first, quantize="4bit")
        alike = spearman(four, exact)
        good = bool(np.isfinite(four).all()) and alike >= ORDER
        checks.say(good, f"labels in 4 bits, {first}", f"Spearman {alike:.2f} with float32 (limit {ORDER})")
    if len(devices) < 2:
        print("     one device: two are not checked")
        return
    with checks.part("two devices"):
        both, pace = labels.of(",".join(devices[:2]), dtype="float32")
        gap = float(np.abs(both - exact).max())
        found = "the bytes of one device" if both.tobytes() == exact.tobytes() else f"at most {gap:.1e} from one device"
        checks.say(gap <= FLOAT32, f"labels on {devices[0]} and {devices[1]}", f"{found} (limit {FLOAT32:.0e})")
        if speed:
            print(f"     {pace:,.0f} pairs a second in float32 on two devices, loading included")


def check_vectors(checks: Checks, device: str) -> None:
    texts = [f"row {k}: " + "word " * (k % 90) for k in range(512)]
    vectors, pace = {}, 0.0
    for name in ("cpu", device):
        embedder = load_embedder("minilm", device=name)
        embedder.encode(texts[:8])  # loads
        started = time.perf_counter()
        vectors[name] = embedder.encode(texts)
        pace = len(texts) / (time.perf_counter() - started)
    gap = float(np.abs(vectors["cpu"] - vectors[device]).max())
    checks.say(
        gap <= FLOAT32, f"vectors, {device} and CPU", f"at most {gap:.1e} apart; {pace:,.0f} texts a second on {device}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--devices", help="with commas between; else all GPUs that PyTorch sees")
    parser.add_argument("--tolerance-only", action="store_true", help="print no speeds")
    options = parser.parse_args()
    devices = options.devices.split(",") if options.devices else [f"cuda:{k}" for k in range(torch.cuda.device_count())]
    if not devices:
        print("No CUDA device is visible to PyTorch: nothing was checked.")
        return 2
    for device in dict.fromkeys(devices):
        if device.startswith("cuda"):
            print(f"{device}: {torch.cuda.get_device_name(device)}")
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        check_labels(checks, Labels(Path(folder), options.model), devices, speed=not options.tolerance_only)
        with checks.part("vectors"):
            check_vectors(checks, devices[0])
    if devices[0].startswith("cuda"):
        print(f"     peak of {devices[0]}: {torch.cuda.max_memory_allocated(devices[0]) / 1e9:.1f} GB")
    else:
        print("No GPU was among the devices: of CUDA nothing was checked.")
        return 2
    print(f"{checks.failed} of the checks are bad." if checks.failed else "All good.")
    return int(bool(checks.failed))


if __name__ == "__main__":
    sys.exit(main())
