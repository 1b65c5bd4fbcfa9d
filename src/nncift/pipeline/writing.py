"""The chosen rows on disk, the same of each phase, and the ranking: one file each, or a folder of shards."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.data.rows import Pool, ids_of, lines_of, numbers_of
from nncift.data.shards import shard_names
from nncift.data.views import take
from nncift.data.write import subset_suffix, write_lines, write_shards
from nncift.lm.atomic import remove_whole, whole_folder
from nncift.pipeline.keys import CODE
from nncift.run import RunFolder, StageRecord, Work
from nncift.selection import Picks

SELECTION = "selection"
"""What the ranking is called: `selection.jsonl`, one line a pick, or the folder of its shards."""

_WRITTEN = re.compile(rf"{SELECTION}(\.jsonl)?|subset(\.phase\d+)?(\.(jsonl|json|csv|parquet))?")
"""What is written of a choice is called so in a run folder."""


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
            write = partial(write_shards, pool, pool.order[order])
            done.files += _put(folder, stem, subset_suffix(pool), len(order), shard_rows, write)
        write = partial(write_lines, _entries(pool, picks))
        done.files += _put(folder, SELECTION, ".jsonl", len(picks.order), shard_rows, write)
        remove_others(folder, done.files)

    return work


def _parts(picks: Picks) -> Iterator[tuple[str, Int[ndarray, " k"]]]:
    """What is written: the subset, and each of its phases."""
    yield "subset", picks.order
    for phase in () if picks.phases is None else np.unique(picks.phases):
        yield f"subset.phase{phase}", picks.order[picks.phases == phase]


def _entries(pool: Pool, picks: Picks) -> Iterator[bytes]:
    """The lines of the ranking."""
    chosen = take(pool.examples, pool.order[picks.order])
    columns = zip(
        ids_of(chosen),
        numbers_of(chosen).tolist(),
        lines_of(chosen).tolist(),
        picks.gains.tolist(),
        picks.reasons,
        picks.order.tolist(),
        repeat(None, len(chosen)) if picks.phases is None else picks.phases.tolist(),
        strict=True,
    )
    for rank, (id_, number, line, gain, reason, position, phase) in enumerate(columns, start=1):
        entry = {"rank": rank, "id": id_, "row": number, "line": line, "gain": gain, "reason": reason}
        entry |= {} if phase is None else {"phase": phase}
        yield json.dumps(entry | {"position": position}, ensure_ascii=True, allow_nan=False).encode("ascii")


def _put(
    folder: RunFolder, stem: str, suffix: str, count: int, rows: int, write: Callable[[Sequence[Path], int], None]
) -> list[str]:
    """Has `count` rows written to `STEM.SUFFIX`, or with `rows` a file to shards in the folder `STEM`; the files."""
    if not rows:
        with folder.atomic(f"{stem}{suffix}") as part:
            write([part], max(1, count))
        return [f"{stem}{suffix}"]
    names = shard_names(stem, count, rows, suffix)
    with whole_folder(folder.path / stem) as part:
        write([part / name for name in names], rows)
    return [f"{stem}/{name}" for name in names]


def remove_others(folder: RunFolder, files: Iterable[str]) -> None:
    """Removes what is called as if it were written of a choice and is not of these files: what is of another layout, each
    as a whole."""
    kept = {Path(name).parts[0] for name in files}
    for path in sorted(folder.path.iterdir()):
        if path.name not in kept and _WRITTEN.fullmatch(path.name):
            remove_whole(path)
