"""A finished run as its folder tells of it: read without a model, without its pool, and without changing a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nncift.config import SelectConfig
from nncift.data.files import load_pool
from nncift.data.rows import Pool
from nncift.data.shards import is_shard
from nncift.errors import ConfigError, RunError
from nncift.plain import DAMAGE
from nncift.recipe import read_recipe
from nncift.run import StageRecord, file_hash, read_records


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run folder holds.

    Attributes:
        folder: as it was named.
        config: its recipe.
        done: `done.json`.
        costs: `costs.json`.
        fidelity: `fidelity.json`; None where every influence is exact.
        records: its stages.
    """

    folder: Path
    config: SelectConfig
    done: dict[str, Any]
    costs: dict[str, Any]
    fidelity: dict[str, Any] | None
    records: dict[str, StageRecord]

    @classmethod
    def at(cls, path: str | Path) -> Finished:
        """The run in a folder.

        Raises:
            ConfigError: there is no run.
            RunError: it did not finish, or its subset is not what it was.
        """
        place = Path(path)
        if not (place / "recipe.yaml").is_file():
            raise ConfigError(
                f"{str(place)!r} is no run folder (it has no recipe.yaml). Name what `nncift select -o` named."
            )
        config, again = read_recipe(place / "recipe.yaml"), f"`nncift run {place / 'recipe.yaml'}`"
        if not (place / "done.json").is_file():
            raise RunError(f"the run in {str(place)!r} did not finish. Go on with {again}.")
        records, done = read_records(place), _read(place / "done.json")
        costs, fidelity = _read(place / "costs.json"), place / "fidelity.json"
        if not _stands(place, str(done.get("subset")), records):
            raise RunError(
                f"the subset of the run in {str(place)!r} is missing or not what it was. Make it with {again}."
            )
        return cls(place, config, done, costs, _read(fidelity) if fidelity.is_file() else None, records)

    @property
    def subset(self) -> Path:
        """The file of the chosen rows, or the folder of their shards."""
        return self.folder / Path(self.done["subset"]).name

    def rows(self) -> Pool:
        """The chosen rows, best first, read as the run read its pool."""
        layout = self.done.get("layout", self.config.format)  # runs of older versions did not keep what they found
        return load_pool(self.subset, layout=layout, role="subset")


def _stands(place: Path, name: str, records: Mapping[str, StageRecord]) -> bool:
    """Whether the subset is as a stage left it: its file, or each shard of its folder and nothing else there."""
    known = {file: digest for record in records.values() for file, digest in record.files.items()}
    if not (place / name).is_dir():
        return name in known and (place / name).is_file() and known[name] == file_hash(place / name)
    shards = {file for file in known if Path(file).parent == Path(name)}
    there = {f"{name}/{path.name}" for path in (place / name).iterdir() if is_shard(path.name)}
    return bool(shards) and shards == there and all(known[file] == file_hash(place / file) for file in shards)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, *DAMAGE) as error:
        raise RunError(f"{path} is missing or damaged. Make it again with `nncift run`.") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} is damaged. Make it again with `nncift run`.")
    return found
