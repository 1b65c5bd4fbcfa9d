"""What a run leaves for people and programs: the chosen rows, why, what it cost, and what was not as asked."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from nncift.data.rows import Pool
from nncift.data.write import subset_suffix, write_rejected, write_rows
from nncift.pipeline.inputs import Axes, describe_rejected
from nncift.pipeline.labelling import kernel_shape
from nncift.pipeline.setup import Setup
from nncift.run import RunFolder, StageRecord, Work
from nncift.selection import Picks, source_positions


def input_notes(setup: Setup) -> dict[str, str]:
    """What there is to say about the rows before anything is computed."""
    axes = setup.axes
    notes = {"rejected": describe_rejected(setup.pools())}
    if axes.sampled_from > axes.m:
        notes["targets"] = f"{axes.m:,} of {axes.sampled_from:,} target rows are used (--max-targets)"
    same = (axes.masked[:, 0] < axes.m) & (axes.masked[:, 1] < axes.n)
    twins = int(same.sum()) - (axes.m if axes.own_target else 0)
    if twins > 0:
        where = "another pool row" if axes.own_target else "a target row"
        notes["same-text"] = f"{twins:,} pairs have a pool row with the text of {where}; they get no label"
    if setup.target is not None and not setup.influence.traits.pairwise:
        notes["unused"] = f"`{setup.influence.traits.name}` does not look at a target; --target plays no part"
    return {kind: text for kind, text in notes.items() if text}


def write_rejects(folder: RunFolder, setup: Setup) -> None:
    """Writes `rejected.jsonl`: file, line, reason and row of everything that cannot be used."""
    with folder.atomic("rejected.jsonl") as part:
        write_rejected((row for _, pool in setup.pools() for row in pool.rejected), part)


def subset_name(pool: Pool) -> str:
    """The file of the chosen rows, in the type of the pool's file."""
    return f"subset{subset_suffix(pool)}"


def write_picks(folder: RunFolder, pool: Pool, picks: Picks, done: Work) -> None:
    """Writes `selection.jsonl` and the subset."""
    positions = source_positions(pool, picks.order)
    with folder.atomic("selection.jsonl") as part, part.open("w", encoding="utf-8") as stream:
        columns = zip(positions, picks.order, picks.gains, picks.reasons, strict=True)
        for rank, (position, place, gain, reason) in enumerate(columns, start=1):
            row = pool[position]
            entry = {
                "rank": rank,
                "id": row.id,
                "row": row.number,
                "line": row.line,
                "gain": float(gain),
                "reason": reason,
            }
            stream.write(json.dumps(entry | {"position": int(place)}, ensure_ascii=True, allow_nan=False) + "\n")
    with folder.atomic(subset_name(pool)) as part:
        write_rows(pool, positions, part)
    done.files += ["selection.jsonl", subset_name(pool)]
    done.facts |= {"positive": picks.positive, "merit": picks.merit}


def read_picks(folder: RunFolder, record: StageRecord) -> Picks:
    """The ranking that `write_picks` wrote."""
    with (folder.path / "selection.jsonl").open(encoding="utf-8") as stream:
        entries = [json.loads(line) for line in stream]
    return Picks(
        np.array([entry["position"] for entry in entries], dtype=np.int64),
        np.array([entry["gain"] for entry in entries]),
        tuple(entry["reason"] for entry in entries),
        record.facts["positive"],
        record.facts["merit"],
    )


def costs(setup: Setup, stages: dict[str, StageRecord]) -> dict[str, Any]:
    """Counters and seconds by stage, their sum, and the calls that labelling every pair would have taken."""
    by_stage = {name: record.costs for name, record in stages.items()}
    names = next(iter(by_stage.values()))
    total = {name: round(sum(spent[name] for spent in by_stage.values()), 3) for name in names}
    if not setup.influence.traits.needs_model:
        return {"stages": by_stage, "total": total, "exact": None}
    calls = exact_calls(setup.axes)
    return {
        "stages": by_stage,
        "total": total,
        "exact": {"lm_forwards": calls, "share": total["lm_forwards"] / calls},
    }


def exact_calls(axes: Axes) -> int:
    """Language-model calls for every pair of a kernel: one per pair, and one per target without example."""
    rows, columns = kernel_shape(axes)
    return rows * columns - len(axes.masked) + len(axes.rows)
