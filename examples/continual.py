"""Continual learning: the rows of a new pool that add to what the model was trained on already.

    python examples/continual.py [POOL.jsonl EXISTING.jsonl]

`existing` changes the objective to `flcg` (facility location, conditional gain): what an existing row covers already is not
chosen again. Prints which rows are chosen for that reason, beside the choice that knows of no existing rows. Without files
it takes the built-in demo, whose target (three of twelve skills) stands for what the model knows.
"""

import json
import sys
from pathlib import Path

import nncift
from nncift.data.demo import write_demo

files = sys.argv[1:] or [(demo := write_demo(Path("runs/examples"))).pool, demo.target]
pool, existing = ([json.loads(line) for line in Path(file).read_text("utf-8").splitlines()] for file in files)

fresh = nncift.select(pool, budget=0.1, embedder="minilm")
added = nncift.select(pool, existing=existing, budget=0.1, embedder="minilm")
print(f"without existing rows: {fresh}\nwith existing rows:    {added}")

before = set(fresh.ids)
print(f"{len(before & set(added.ids))} rows are in both. Chosen only because of what is known already:")
rows = added.as_input()  # the pool's own dicts, best first
for name, row, reason in zip(added.ids, rows, added.reasons, strict=True):
    if name not in before:
        print(f"  {name} {row.get('skill', '')}: {reason}")
