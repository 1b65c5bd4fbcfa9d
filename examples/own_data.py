"""Own data in ten lines: the tenth of a file of rows that represents the whole of it best.

    python examples/own_data.py [POOL.jsonl]

Prints the three best rows with the reason for each, and how much of the pool the choice stands for. Writes
`runs/examples/own_data/trl.jsonl` with a script that trains on it. Without a file it takes the rows of the built-in demo.
"""

import sys
from pathlib import Path

import nncift
from nncift.data.demo import write_demo

pool = sys.argv[1] if len(sys.argv) > 1 else write_demo(Path("runs/examples")).pool

picked = nncift.select(pool, budget="10%", embedder="minilm")
print(picked)
for row, gain, reason in zip(picked.rows[:3], picked.gains, picked.reasons, strict=False):
    print(f"  +{gain:.1f}  {row}\n        {reason}")

half = picked.resize("5%")  # a ranking's prefix: nothing is computed again
print(f"The first {len(half)} of the {len(picked)} rows have {half.gains.sum() / picked.gains.sum():.0%} of the value.")
print(f"For training: {half.export('runs/examples/own_data', trainer='trl')}")
