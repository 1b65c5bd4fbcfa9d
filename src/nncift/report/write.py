"""Writes the page of one run, or of several beside one another, and lets a finished run end with it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from nncift.errors import ConfigError, MissingExtraError
from nncift.lm.atomic import write_whole
from nncift.progress import Reporter
from nncift.report.reading import open_run
from nncift.selection import Selection

log = logging.getLogger(__name__)

NAME = "report.html"
"""The page in a run folder."""

_BESIDE = Path("comparison.html")
_PACKAGES = ("bokeh", "jinja2")


def write_report(runs: Sequence[str | Path | Selection], output: str | Path | None = None) -> Path:
    """Writes one HTML page that tells of finished runs and needs no network.

    Use it to look at what was chosen and why, or to compare choices: `nncift report RUN [RUN2 ...]` is the same.

    Args:
        runs: run folders, or their selections (one that was resized is taken for its run).
        output: the page; without it `report.html` in the folder of a single run, `comparison.html` for several.

    Returns:
        The page.

    Raises:
        MissingExtraError: the extra `report` is not installed.
        ConfigError: no run is named, or a folder holds no recipe.
        RunError: a run did not finish, or its folder is damaged.

    *Cost*: no call of a language model and no training; seconds, the reading of a large pool aside.
    """
    if not runs:
        raise ConfigError("no run to report on. Name a run folder.")
    _need_extra()
    from nncift.report.page import page

    opened = [
        open_run(run.folder, run if run.subset else None) if isinstance(run, Selection) else open_run(run)
        for run in runs
    ]
    path = Path(output) if output else opened[0].folder / NAME if len(opened) == 1 else _BESIDE
    write_whole(path, page(opened).encode())
    return path


def report_after(picked: Selection, reporter: Reporter) -> Path | None:
    """The last stage of a run: its page, or one note why there is none. The run itself is done and stays so."""
    (picked.folder / NAME).unlink(missing_ok=True)  # a page of other options would tell of another run
    reporter.begin("report", 0, "")
    path = None
    try:
        path = write_report([picked])
    except MissingExtraError as error:
        log.warning("%s", error)
    except Exception as error:  # a page must not make a finished run look failed; `nncift report` raises the same
        told = f"{type(error).__name__}: {error}"
        log.warning("no %s (%s). `nncift report %s` tries again", NAME, told, picked.folder)
    reporter.end(str(path or "none"))
    return path


def _need_extra() -> None:
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise MissingExtraError(package, "report", "the report")
