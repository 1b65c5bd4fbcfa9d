"""The folder of an experiment: held by one process at a time, with the recipe and the machines that worked on it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from nncift.errors import ConfigError, RunError
from nncift.experiment.recipe import RECIPE, Recipe, load_recipe
from nncift.experiment.sources import DATA
from nncift.lm.atomic import PART, write_whole
from nncift.lm.device import describe_cpu
from nncift.redact import redacted
from nncift.run import LOCK, environment

ENVIRONMENT = "environment.json"


@contextmanager
def held(folder: Path, recipe: Recipe) -> Iterator[None]:
    """The folder, made if it is not there, and nobody else's until the block ends.

    Raises:
        RunError: another process works in it, it holds something else, or it cannot be written.
    """
    if folder.is_dir() and not (folder / RECIPE).is_file() and any(map(_strange, folder.iterdir())):
        raise RunError(f"{str(folder)!r} holds other files and no experiment. Choose another with -o.")
    if (folder / RECIPE).is_file():
        _refuse_other(folder, recipe)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write the folder {str(folder)!r}: {error.strerror}. Choose another with -o.") from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(
                f"the experiment in {str(folder)!r} is in use by another process. Wait for it, or choose another with -o."
            ) from error
        yield


def _strange(path: Path) -> bool:
    """Whether no experiment leaves this before its recipe is there."""
    return path.name not in (LOCK, DATA) and not (path.name.startswith(RECIPE) and path.name.endswith(PART))


def write_head(folder: Path, recipe: Recipe) -> None:
    """Writes the recipe, and this machine beside those that worked here before."""
    body = yaml.safe_dump(redacted(recipe.body), sort_keys=False, allow_unicode=True)
    write_whole(folder / RECIPE, body.encode("utf-8", "surrogatepass"))
    now = environment({"cpu": describe_cpu(), "cores": os.cpu_count()})
    earlier = [one for one in _machines(folder) if one != now]
    text = json.dumps(now | ({"earlier": earlier} if earlier else {}), indent=2, ensure_ascii=True)
    write_whole(folder / ENVIRONMENT, f"{text}\n".encode("ascii"))


def _refuse_other(folder: Path, recipe: Recipe) -> None:
    try:
        name = load_recipe(str(folder)).name
    except ConfigError:
        return  # of an older version, or mended by hand: the records' keys decide
    if name != recipe.name:
        raise RunError(
            f"{str(folder)!r} holds the experiment {name!r}, and this is {recipe.name!r}. Choose another with -o."
        )


def _machines(folder: Path) -> list[dict[str, Any]]:
    try:
        last = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
        return [{name: value for name, value in last.items() if name != "earlier"}, *last.get("earlier", [])]
    except (OSError, ValueError, AttributeError):
        return []
