"""What cells share: the run folder of a sibling with the same labels, and the trainings of another evaluation.

Nothing is taken for granted here. A copy is only an offer: the stage keys of a run, the content keys of an evaluation's cells
and the meta of a labels file decide what of it is used.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from nncift.config import LabelConfig, Options, SelectConfig
from nncift.experiment.grid import Cell
from nncift.lm.atomic import aside, aside_folder
from nncift.pipeline.asking import make_influence
from nncift.run import LOCK, content_key

_TEACHER = tuple(item.name for item in fields(LabelConfig))
_NOT_LABELS = ("pool", "target", "output", "batch_tokens", "executor", "workers")
_ESTIMATOR = ("estimator", "hidden", "features")
_CONTENT_KEYED = ("cells", "answers", "grades")


def label_key(config: Options, keys: Mapping[str, str]) -> str:
    """Equal for cells whose labels are the same: the same teacher with the same options on the same rows.

    Args:
        config: of a `select` or `label` cell.
        keys: by role the content of the rows.
    """
    told = {name: getattr(config, name) for name in _TEACHER if name not in _NOT_LABELS}
    if str(told["labels"]).strip().lower() == "all" and not _seeded(config):
        del told["seed"]  # nothing is drawn
    read = {role: key for role, key in keys.items() if role in ("pool", "target", "existing")}
    return content_key({"told": told, "rows": read})


def siblings(cell: Cell, config: Options, cells: Sequence[tuple[Cell, Options, str]], key: str) -> list[Cell]:
    """The `select` cells with the same labels, those with the same estimator first; for a cell that pays for all itself, those
    that did.

    Args:
        cell: what would like to have them.
        config: its configuration.
        cells: all that there are to choose from, each with its configuration and label key.
        key: the label key of the cell.
    """

    def unlike(entry: tuple[Cell, Options, str]) -> int:
        return sum(getattr(entry[1], name, None) != getattr(config, name, None) for name in _ESTIMATOR)

    found = [
        entry
        for entry in cells
        if entry[0].name != cell.name and entry[0].verb == "select" and entry[2] == key and entry[0].alone >= cell.alone
    ]
    return [one for one, _, _ in sorted(found, key=unlike)]


def lend_run(place: Path, from_: Iterable[Path]) -> Path | None:
    """Copies the first run folder that has come as far as its labels to a place where there is none yet.

    Returns:
        The folder that was copied; None where the place is taken, or nobody has anything.
    """
    if place.exists():
        return None
    lender = next((one for one in from_ if (one / "stages.json").is_file()), None)
    if lender is not None:
        with aside_folder(place) as part:  # a kill leaves this and no half of a run
            shutil.copytree(lender, part, dirs_exist_ok=True)
            part.replace(place)
    return lender


def lend_labels(place: Path, from_: Iterable[Path]) -> Path | None:
    """Copies the labels file of a run to a place where there is none yet; see `lend_run`."""
    if place.exists():
        return None
    lender = next((one / "labels.npz" for one in from_ if (one / "labels.npz").is_file()), None)
    if lender is not None:
        with aside(place) as part:
            shutil.copyfile(lender, part)
    return lender


def lend_trainings(place: Path, from_: Iterable[Path]) -> int:
    """Copies what other evaluations measured, where it is missing here; each file is named by all that it depends on.

    Returns:
        How many files.
    """
    place.mkdir(parents=True, exist_ok=True)
    (place / LOCK).touch()
    count = 0
    for lender in from_:
        for path in (path for kind in _CONTENT_KEYED for path in sorted((lender / kind).glob("*.json*"))):
            final = place / path.parent.name / path.name
            if path.suffix == ".part" or final.exists():
                continue
            with aside(final) as part:
                shutil.copyfile(path, part)
            count += 1
    return count


def _seeded(config: Options) -> bool:
    """Whether labels of an influence depend on the seed; those that a reused estimator will tell of may."""
    assert isinstance(config, LabelConfig | SelectConfig)
    return config.influence == "auto" or make_influence(config).traits.seeded
