"""Task-specific: the rows of a large mixed pool that help with a few rows of what the model shall do.

    python examples/task_specific.py [POOL.jsonl TARGET.jsonl]

The pool is a pandas frame, and so is the choice: prints how much of each group (the column `skill`, else `task`) it holds,
beside the pool. Without files it takes the built-in demo: twelve skills in the pool, three of them in the target, and some
wrong answers. Writes `runs/examples/task_specific.jsonl`. Needs pandas.
"""

import sys
from pathlib import Path

import pandas as pd

import nncift
from nncift.data.demo import write_demo

files = sys.argv[1:] or [(demo := write_demo(Path("runs/examples"))).pool, demo.target]
pool, target = (pd.read_json(file, lines=True) for file in files)

picked = nncift.select(pool, target=target, budget=0.1, influence="similarity", embedder="minilm")
chosen = picked.as_input()  # a frame like the pool, best row first, every column and type kept
print(picked)

column = next((name for name in ("skill", "task") if name in pool), None)
if column:
    shares = pd.DataFrame(
        {name: rows[column].value_counts(normalize=True) for name, rows in [("pool", pool), ("chosen", chosen)]}
    )
    print(shares.fillna(0).sort_values("chosen", ascending=False).map("{:.0%}".format).to_string())

out = Path("runs/examples/task_specific.jsonl")
chosen.to_json(out, orient="records", lines=True, force_ascii=False)
print(f"{len(chosen)} of {len(pool)} rows in {out}")
