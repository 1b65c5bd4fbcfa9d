"""The chosen rows on disk: one file, or a folder of shards, and the same of each phase."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.data.rows import Pool
from nncift.data.shards import shard_names
from nncift.data.write import subset_suffix, write_rows, write_shards
from nncift.lm.atomic import remove_whole, whole_folder
from nncift.pipeline.keys import CODE
from nncift.run import RunFolder, StageRecord, Work
from nncift.selection import Picks

_SUBSET = re.compile(r"subset(\.phase\d+)?(\.(jsonl|json|csv|parquet))?")
"""What a subset is called in a run folder."""


def subset_name(pool: Pool, shard_rows: int) -> str:
    """The file of the chosen rows, in the type of the pool's file, or the folder of their shards."""
    return "subset" if shard_rows else f"subset{subset_suffix(pool)}"


def write_depends(selected: StageRecord, shard_rows: int) -> dict[str, Any]:
    """All that the written subset depends on."""
    return {"code": CODE["write"], "selection": selected.key, "shard_rows": shard_rows}


def write_stage(folder: RunFolder, pool: Pool, picks: Picks, shard_rows: int) -> Callable[[Work], None]:
    """The work of the stage, for `RunFolder.stage`."""

    def work(done: Work) -> None:
        for stem, order in _parts(picks):
            positions = pool.order[order]
            if shard_rows:
                done.files += _write_folder(folder, stem, pool, positions, shard_rows)
            else:
                name = f"{stem}{subset_suffix(pool)}"
                with folder.atomic(name) as part:
                    write_rows(pool, positions, part)
                done.files.append(name)
        remove_others(folder, done.files)

    return work


def _parts(picks: Picks) -> Iterator[tuple[str, Int[ndarray, " k"]]]:
    """What is written: the subset, and each of its phases."""
    yield "subset", picks.order
    for phase in () if picks.phases is None else np.unique(picks.phases):
        yield f"subset.phase{phase}", picks.order[picks.phases == phase]


def _write_folder(folder: RunFolder, stem: str, pool: Pool, positions: Int[ndarray, " k"], rows: int) -> list[str]:
    names = shard_names(stem, len(positions), rows, subset_suffix(pool))
    with whole_folder(folder.path / stem) as part:
        write_shards(pool, positions, [part / name for name in names], rows)
    return [f"{stem}/{name}" for name in names]


def remove_others(folder: RunFolder, files: Iterable[str]) -> None:
    """Removes what is called as a subset and is not of these files: one of another layout, each as a whole."""
    kept = {Path(name).parts[0] for name in files}
    for path in sorted(folder.path.glob("subset*")):
        if path.name not in kept and _SUBSET.fullmatch(path.name):
            remove_whole(path)
