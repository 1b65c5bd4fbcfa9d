"""A matrix of influences that rows explain, and the files that `nncift fidelity` takes, made in the test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nncift.data.arrays import write_npz
from toy_road import write_rows

M, N, D = 12, 30, 5


@dataclass(frozen=True)
class Known:
    """Files of rows and vectors, and the exact matrix.

    Attributes:
        folder: holds `labels.npz`, `pool.jsonl`, `target.jsonl`.
        values: float32 [m, n], NaN where masked, in the order of the ids below.
        target_ids, pool_ids: in the order of `labels.npz`.
        embedder: as `--embedder` takes it.
    """

    folder: Path
    values: np.ndarray
    target_ids: list[str]
    pool_ids: list[str]
    embedder: str

    def options(self, **more: Any) -> dict[str, Any]:
        """Keyword arguments of `FidelityConfig`."""
        files = {name: str(self.folder / f"{name}.jsonl") for name in ("pool", "target")}
        return {"matrix": str(self.folder / "labels.npz"), "embedder": self.embedder, **files, **more}


def make_known(folder: Path, *, m: int = M, n: int = N, masked: int = 4, shuffle: int = 0, seed: int = 5) -> Known:
    """Writes everything; `shuffle` gives the same rows and influences in another order, in every file."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    vectors = {name: rng.normal(size=(count, D)) for name, count in (("target", m), ("pool", n))}
    unit = {name: rows / np.linalg.norm(rows, axis=1, keepdims=True) for name, rows in vectors.items()}
    values = unit["target"] @ unit["pool"].T + unit["pool"][:, 0] + 0.4 * unit["target"][:, 1:2]
    values = (0.1 * (values + 0.1 * rng.normal(size=(m, n)))).astype(np.float32)
    values.ravel()[rng.choice(m * n, masked, replace=False)] = np.nan
    words = rng.integers(1, 9, size=(m + n, 2))
    ids = {"target": [f"t{k:02}" for k in range(m)], "pool": [f"p{k:02}" for k in range(n)]}
    order = {name: np.arange(count) for name, count in (("target", m), ("pool", n))}
    for step, name in enumerate(order):
        if shuffle:
            order[name] = np.random.default_rng(shuffle + step).permutation(order[name])
        first = 0 if name == "target" else m
        rows = [
            {
                "id": ids[name][k],
                "prompt": f"question {ids[name][k]} " + "word " * words[first + k, 0],
                "completion": f"answer {ids[name][k]} " + "word " * words[first + k, 1],
            }
            for k in reversed(order[name])  # the files of rows are in an order of their own
        ]
        write_rows(folder / f"{name}.jsonl", rows)
        np.save(folder / f"{name}.npy", vectors[name][order[name][::-1]].astype(np.float32))
    filed = {name: [ids[name][k] for k in order[name]] for name in ids}
    values = values[np.ix_(order["target"], order["pool"])]
    arrays = {"values": values, "target_ids": np.array(filed["target"]), "pool_ids": np.array(filed["pool"])}
    write_npz(folder / "labels.npz", arrays)
    return Known(
        folder, values, filed["target"], filed["pool"], ",".join(str(folder / f"{x}.npy") for x in ("pool", "target"))
    )


def make_pointwise(folder: Path, *, n: int = N, seed: int = 3) -> Known:
    """One score for each candidate, and no target at all, as `nncift label -i selectit --labels all` writes it."""
    known = make_known(folder, n=n, masked=0, seed=seed)
    values = known.values[:1]
    nobody = np.array([], dtype=np.str_)
    write_npz(folder / "labels.npz", {"values": values, "target_ids": nobody, "pool_ids": np.array(known.pool_ids)})
    (folder / "target.jsonl").unlink()
    return Known(folder, values, [], known.pool_ids, known.embedder)


def brute_ranks(values: np.ndarray) -> np.ndarray:
    """Mean ranks, by counting."""
    return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])


def brute_spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson of the ranks; 0 where one side is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(brute_ranks(a), brute_ranks(b))[0, 1])
