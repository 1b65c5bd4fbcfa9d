"""An influence function of one's own: how many bytes a row saves the compressor that has to write a target row.

    python examples/custom_influence.py [POOL.jsonl TARGET.jsonl]

What language models do in DELIFT (is the target's answer likelier behind this example?), zlib does here. A tenth of the
pairs is computed and an estimator learns the rest from embeddings; prints how well it agrees with pairs it was not shown, and
the choice. On the command line, with this folder on PYTHONPATH:

    nncift select pool.jsonl --target dev.jsonl --influence custom_influence:Compression --option level=6
"""

import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

import nncift
from nncift.data.demo import write_demo
from nncift.influence.base import Context, Direct, Progress, Traits


@dataclass(frozen=True, slots=True)
class Compression:
    """Share of a target row's compressed bytes that the pool row in front of it saves. *Cost*: two compressions a pair."""

    traits: ClassVar[Traits] = Traits(
        name="compression", pairwise=True, objective="facility-location", uses_target=True
    )
    level: int = 9  # --option level=6

    def start(self, context: Context) -> Direct:
        def size(text: str) -> int:
            return len(zlib.compress(text.encode("utf-8", "replace"), self.level))

        def values(i: np.ndarray, j: np.ndarray, on_progress: Progress) -> np.ndarray:
            pairs = [(context.targets[a].text, context.pool[b].text) for a, b in zip(i, j, strict=True)]
            on_progress(len(pairs))
            saved = [1 - (size(row + target) - size(row)) / size(target) for target, row in pairs]
            return np.array(saved, dtype=np.float32)

        return Direct(values)


if __name__ == "__main__":
    pool, target = sys.argv[1:] or [(demo := write_demo(Path("runs/examples"))).pool, demo.target]
    picked = nncift.select(
        pool, target=target, budget="10%", influence="custom_influence:Compression", embedder="minilm", labels="10%"
    )
    print(picked.fidelity["sentence"])
    print(picked)
    for row, reason in zip(picked.rows[:3], picked.reasons, strict=False):
        print(f"  {row}\n    {reason}")
