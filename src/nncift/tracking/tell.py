"""Telling a tracker of finished folders; what a tracker cannot do never makes a run fail."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from nncift.errors import ConfigError, MissingExtraError
from nncift.progress import Reporter
from nncift.registry import did_you_mean
from nncift.tracking import trackers
from nncift.tracking.story import recipe_of, story_of

log = logging.getLogger(__name__)

TRACKERS: Mapping[str, trackers.Tell] = MappingProxyType(
    {"tensorboard": trackers.tensorboard, "trackio": trackers.trackio, "wandb": trackers.wandb}
)
"""By the name of the package and of the extra that installs it."""


def check_tracker(to: str | None) -> None:
    """Refuses what could not be told, before anything is spent.

    Raises:
        ConfigError: there is no such tracker.
        MissingExtraError: it is not installed.
    """
    if to is None:
        return
    if to not in TRACKERS:
        raise ConfigError(f"--track is {to!r}. {did_you_mean(to, tuple(TRACKERS))}")
    if find_spec(to) is None:
        raise MissingExtraError(to, to, f"--track {to}")


def track(folder: str | Path, to: str, *, group: str | None = None) -> str:
    """Tells a tracker of a finished run or evaluation: recipe, costs, fidelity, curves of labels and gains, scores, page.

    Use it to compare runs beside one's trainings. The recipe is told without secrets and folders of the machine. The page holds
    rows of the data; without the page no text of any row is told.

    Args:
        folder: of `nncift select` or `nncift evaluate`.
        to: `tensorboard`, `trackio` or `wandb`; their own environment variables say where that is.
        group: what it is one of, such as an experiment.

    Returns:
        Where to see it: an address, or a command.

    Raises:
        ConfigError: there is no such tracker, or the folder holds neither.
        MissingExtraError: the tracker is not installed.
        RunError: the folder is not finished, or damaged.
    """
    check_tracker(to)
    return TRACKERS[to](story_of(Path(folder), group=group))


def track_after(folders: Sequence[Path], to: str | None, reporter: Reporter, *, group: str | None = None) -> None:
    """The same behind a finished command, for each folder that has a story; one note where it does not work, and no more is
    tried. Nothing where no tracker is named."""
    if to is None:
        return
    told = [folder for folder in folders if recipe_of(folder)]
    reporter.begin("track", len(told), "runs")
    where = "none"
    try:
        for folder in told:
            where = track(folder, to, group=group)
            reporter.advance(1)
    except Exception as error:  # whatever a tracker, its service or its network raises
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        log.warning("%s was not told of it (%s). The same command tries again and computes nothing anew", to, why)
    reporter.end(where)
