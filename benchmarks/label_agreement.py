"""How well labels agree with those of another file of the same texts: pairs are matched by the ids of their rows.

    python benchmarks/label_agreement.py LABELS.npz MATRIX.npz

Either file is one as `nncift label` writes it, or a matrix `values` [targets, candidates] with `target_ids` and `pool_ids`.
Prints one line, and with --json the figures.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from nncift.data.arrays import read_npz
from nncift.errors import DataError
from nncift.estimator.agreement import row_spearman, rows_of, spearman

Pairs = dict[tuple[str, str], float]
"""Influences by the ids of target and candidate."""


@dataclass(frozen=True)
class Agreement:
    """Two files of labels on the pairs that both have.

    Attributes:
        pairs: how many these are.
        pearson, spearman: correlations over all of them.
        within_target: mean over targets of Spearman within a target.
        mean_difference, largest_difference: of absolute values, in label units.
        spread: standard deviation of the first file's labels.
    """

    pairs: int
    pearson: float
    spearman: float
    within_target: float
    mean_difference: float
    largest_difference: float
    spread: float

    def sentence(self) -> str:
        """In words."""
        return (
            f"{self.pairs:,} pairs in both: Pearson {self.pearson:.4f}, Spearman {self.spearman:.4f} (within a target "
            f"{self.within_target:.4f}); they differ by {self.mean_difference:.2g} on average, "
            f"{self.largest_difference:.2g} at most, where labels spread by {self.spread:.2g}"
        )


def read_pairs(path: Path) -> Pairs:
    """The finite influences of a file.

    Raises:
        DataError: it has neither a matrix nor pairs, or no ids.
    """
    arrays = read_npz(path)
    if not {"target_ids", "pool_ids"} <= arrays.keys() or not (
        {"values"} <= arrays.keys() or {"i", "j", "y"} <= arrays.keys()
    ):
        raise DataError(f"{path} has no `target_ids` and `pool_ids` with `values`, or with `i`, `j` and `y`.")
    targets, pool = arrays["target_ids"].tolist() or [""], arrays["pool_ids"].tolist()
    if {"i", "j", "y"} <= arrays.keys():
        i, j, y = arrays["i"], arrays["j"], arrays["y"]
    else:
        i, j = (axis.ravel() for axis in np.indices(arrays["values"].shape))
        y = arrays["values"].ravel()
    kept = np.isfinite(y)
    named = zip(i[kept].tolist(), j[kept].tolist(), y[kept].astype(np.float64).tolist(), strict=True)
    return {(str(targets[a]), str(pool[b])): value for a, b, value in named}


def agreement(mine: Pairs, other: Pairs) -> Agreement:
    """Compares what both have.

    Raises:
        DataError: that is fewer than two pairs.
    """
    common = sorted(mine.keys() & other.keys())
    if len(common) < 2:
        raise DataError(f"the files have {len(common)} pairs in common: their rows have other ids.")
    x, y = (np.array([pairs[pair] for pair in common]) for pairs in (mine, other))
    target = np.unique([pair[0] for pair in common], return_inverse=True)[1]
    rows = [row for row in rows_of(target, 2) if np.ptp(x[row]) > 0]
    apart = np.abs(x - y)
    return Agreement(
        len(common),
        float(np.corrcoef(x, y)[0, 1]),
        spearman(x, y),
        float(row_spearman(x, y, rows).mean()) if rows else float("nan"),
        float(apart.mean()),
        float(apart.max()),
        float(x.std()),
    )


def main() -> None:
    """Prints the sentence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("matrix", type=Path)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = agreement(read_pairs(asked.labels), read_pairs(asked.matrix))
    print(json.dumps(asdict(found)) if asked.json else found.sentence())


if __name__ == "__main__":
    main()
