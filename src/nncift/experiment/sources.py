"""The rows of an experiment: prepared once for each data set, and told by their content."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nncift.errors import ConfigError, DataError, NnciftError
from nncift.experiment.grid import Cell, safe_name
from nncift.experiment.recipe import Recipe
from nncift.experiment.rows import prepare_rows
from nncift.run import file_hash

log = logging.getLogger(__name__)

DATA = "data"


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one data set.

    Attributes:
        files: by role, and under `matrix`, where they are.
        rows: by role how many there are.
        keys: by role, and under `matrix`, the hash of their content.
    """

    files: dict[str, str]
    rows: dict[str, int]
    keys: dict[str, str]


class Sources:
    """The data sets of an experiment, each prepared when it is first asked for.

    Args:
        recipe: says where rows come from.
        root: the folder that its files are relative to.
        folder: of the experiment; rows go to `data/<data set>/<role>.jsonl` in it.
    """

    def __init__(self, recipe: Recipe, *, root: Path, folder: Path) -> None:
        self.recipe, self.root, self.folder = recipe, root, folder
        self._found: dict[str, Source | NnciftError] = {}

    def of(self, name: str) -> Source:
        """The files of a data set.

        Raises:
            NnciftError: they cannot be made; the same again for every cell that asks.
        """
        if name not in self._found:
            try:
                self._found[name] = self._prepare(name)
            except NnciftError as error:
                self._found[name] = error
        found = self._found[name]
        if isinstance(found, NnciftError):
            raise found
        return found

    def refuse_none(self, cells: Iterable[Cell]) -> None:
        """Prepares all that the cells read.

        Raises:
            NnciftError: none of them can be: a wrong folder, most likely, and nothing that a cell should be blamed for.
        """
        names = list(dict.fromkeys(cell.data for cell in cells))
        errors = []
        for name in names:
            try:
                self.of(name)
            except NnciftError as error:
                errors.append(error)
        if errors and len(errors) == len(names):
            raise errors[0]

    def _prepare(self, name: str) -> Source:
        data, place = self.recipe.data[name], self.folder / DATA / safe_name([name])
        files: dict[str, str] = {}
        rows: dict[str, int] = {}
        keys: dict[str, str] = {}
        for role, spec in data.roles.items():
            out = place / f"{role}.jsonl"
            out.parent.mkdir(parents=True, exist_ok=True)
            made = prepare_rows(spec, root=self.root, out=out)
            files[role], rows[role], keys[role] = str(out), int(made["rows"]), str(made["key"])
            if (stated := data.expect.get(role)) not in (None, rows[role]):
                log.warning("the data set %s has %s %s rows, and its recipe expects %s", name, rows[role], role, stated)
        if data.matrix is not None:
            path = below(self.root, data.matrix)
            if not path.is_file():
                raise DataError(f"there are no influences at {path} (`matrix` of the data set {name!r}). Check --data.")
            files["matrix"], keys["matrix"] = str(path), file_hash(path)
        return Source(files, rows, keys)


def below(root: Path, name: str) -> Path:
    """A file of a recipe.

    Raises:
        ConfigError: it lies elsewhere on this machine, which is not the recipe's to name.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ConfigError(
            f"the file {name!r} of a recipe must be named relative to the data folder, below it (--data DIR)."
        )
    return root / name
