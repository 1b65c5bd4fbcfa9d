"""Generated inputs: unit embeddings in clusters, and networks over them, all from one seed."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from nncift.kernel.factorised import FactorisedKernel
from nncift.seeds import generator

HIDDEN, CLUSTERS = 100, 40


def embeddings(n: int, d: int, name: str, *, clusters: int = CLUSTERS) -> Float32[ndarray, "n d"]:
    """Unit rows around the first so many of the centres that all embeddings of this width share.

    Noise is as long as a centre, so that the cosine within a cluster is about one half.
    """
    centres = generator(0, f"centres {d}").standard_normal((CLUSTERS, d), dtype=np.float32)
    rng = generator(0, name)
    rows = centres[rng.integers(clusters, size=n)]
    rows += rng.standard_normal((n, d), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def similarities(a: Float32[ndarray, "n d"], b: Float32[ndarray, "p d"]) -> Float32[ndarray, "n p"]:
    """Cosines moved to [0, 1], as peers want them."""
    return np.clip((1 + a @ b.T) / 2, 0, 1).astype(np.float32)


def start_network(d: int) -> dict[str, ndarray]:
    """Weights of the published shape at a random start."""
    rng, wide = generator(0, "network"), (2 * d + 1) ** -0.5
    return {
        "first": rng.uniform(-wide, wide, (HIDDEN, 2 * d + 1)).astype(np.float32),
        "first_bias": rng.uniform(-wide, wide, HIDDEN).astype(np.float32),
        "second": rng.uniform(-0.1, 0.1, HIDDEN).astype(np.float32),
        "second_bias": np.array([0.05], dtype=np.float32),
    }


def likeness_network(d: int) -> dict[str, ndarray]:
    """Weights that answer to how alike two rows are: relu(a · (e_i + e_j) − 1) for random a, the longer the sum the larger.

    A stand-in for a trained network that needs no training, and the harder case: every row is helped by other candidates,
    so that greedy does not run out of gains.
    """
    directions = generator(0, "likeness").standard_normal((HIDDEN, d), dtype=np.float32)
    return {
        "first": np.hstack([directions, np.zeros((HIDDEN, 1), dtype=np.float32), directions]),
        "first_bias": np.full(HIDDEN, -1, dtype=np.float32),
        "second": np.full(HIDDEN, 1 / HIDDEN, dtype=np.float32),
        "second_bias": np.zeros(1, dtype=np.float32),
    }


def projections(network: dict[str, ndarray], **rows: Float32[ndarray, "n d"]) -> dict[str, Float32[ndarray, "n h"]]:
    """Rows as a factorised kernel takes them: `target` through the target's half of the first layer, all else the pool's."""
    d = (network["first"].shape[1] - 1) // 2
    halves = {name: network["first"][:, d + 1 :] if name == "target" else network["first"][:, :d] for name in rows}
    bias = {name: network["first_bias"] if name == "target" else np.float32(0) for name in rows}
    return {name: part @ halves[name].T + bias[name] for name, part in rows.items()}


def kernel(
    pool: Float32[ndarray, "n h"], target: Float32[ndarray, "m h"], second: Float32[ndarray, " h"], bias: ndarray
) -> FactorisedKernel:
    """The kernel of projected rows."""
    return FactorisedKernel(pool, target, second, float(bias[0]))
