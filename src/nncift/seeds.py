"""One seed per run, split into generators by name, so that no stage's draws depend on how many another stage took."""

from __future__ import annotations

from hashlib import sha256

import numpy as np


def derive(seed: int, name: str) -> int:
    """A 63-bit seed for one named purpose, the same on every machine."""
    return int.from_bytes(sha256(f"{seed}/{name}".encode()).digest()[:8], "big") >> 1


def generator(seed: int, name: str) -> np.random.Generator:
    """A NumPy generator of its own for one named purpose."""
    return np.random.default_rng(derive(seed, name))
