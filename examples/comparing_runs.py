"""Comparing runs: what three ways to choose have in common, and what only one of them takes.

    python examples/comparing_runs.py [POOL.jsonl TARGET.jsonl]

Prints a table of the rows that each two have in common and the best row that only one chose, and writes one page with all
of it (extra `report`). On the command line:

    nncift report runs/examples/similarity runs/examples/embedding runs/examples/random -o comparison.html
"""

import sys
from pathlib import Path

import nncift
from nncift.data.demo import write_demo
from nncift.report import write_report

pool, target = sys.argv[1:] or [(demo := write_demo(Path("runs/examples"))).pool, demo.target]
ways = {
    name: nncift.select(
        pool, target=target, budget="10%", influence=name, embedder="minilm", output=f"runs/examples/{name}"
    )
    for name in ("similarity", "embedding", "random")
}
chosen = {name: set(picked.ids) for name, picked in ways.items()}

print("rows in common".ljust(16) + "".join(name.rjust(12) for name in chosen))
for name, ids in chosen.items():
    print(name.ljust(16) + "".join(f"{len(ids & other)}".rjust(12) for other in chosen.values()))

for name, picked in ways.items():
    others = set().union(*(ids for other, ids in chosen.items() if other != name))
    alone = [rank for rank, row in enumerate(picked.ids) if row not in others]
    best = f", best {picked.ids[alone[0]]}: {picked.reasons[alone[0]]}" if alone else ""
    print(f"only {name}: {len(alone)} rows{best}")

print(f"page: {write_report(list(ways.values()), 'runs/examples/comparison.html')}")
