"""A finished run whose estimator another run takes over, and the options that come with it."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from nncift import registry
from nncift.config import SelectConfig, flag
from nncift.embed.choose import default_embedder
from nncift.errors import ConfigError, RunError
from nncift.recipe import read_recipe, resolved
from nncift.run import StageRecord, as_left, file_hash, read_records

ESTIMATOR = "estimator.safetensors"
_SAME = ("influence", "option", "model", "embedder", "features", "dtype", "quantize", "max_length")
_USUAL = {item.name: item.default for item in fields(SelectConfig)}
_TARGET = ("target", "target_format")


@dataclass(frozen=True, slots=True)
class Donor:
    """A run folder with an estimator that was trained there.

    Attributes:
        folder: full path.
        config: its recipe.
        records: its stages.
    """

    folder: Path
    config: SelectConfig
    records: dict[str, StageRecord]

    @classmethod
    def at(cls, path: str | Path) -> Donor:
        """The run in a folder, or the one that it took its own estimator from.

        Raises:
            ConfigError: there is no such folder, it is no run, or every influence was computed there.
            RunError: it did not finish, or its estimator is not what it was.
        """
        place = Path(path).resolve()
        if not place.is_dir():
            raise ConfigError(
                f"--estimator {str(path)!r}: there is no such folder. Name a finished run folder that has an estimator, or one "
                f"of {', '.join(registry.names('estimator'))}."
            )
        if not (place / "recipe.yaml").is_file():
            raise ConfigError(
                f"--estimator {str(path)!r} is no run folder (it has no recipe.yaml). Name a finished run."
            )
        config, records = read_recipe(place / "recipe.yaml"), read_records(place)
        if not (place / "done.json").is_file():
            raise RunError(f"the run in {str(path)!r} did not finish. Go on with `nncift run {place / 'recipe.yaml'}`.")
        record = records.get("estimate")
        if record is None:
            raise ConfigError(
                f"the run in {str(path)!r} has no estimator: every influence was computed. Select there with --labels 5% to "
                "have one."
            )
        if not (place / ESTIMATOR).is_file() or file_hash(place / ESTIMATOR) != record.files.get(ESTIMATOR):
            raise RunError(
                f"the estimator of the run in {str(path)!r} is missing or not what it was. Make it again with "
                f"`nncift run {place / 'recipe.yaml'}`."
            )
        if "reused" not in record.facts:
            return cls(place, config, records)
        try:
            with as_left(place):
                first = cls.at(record.facts["reused"]["run"])
        except (ConfigError, RunError) as error:
            raise ConfigError(f"the run in {str(path)!r} reuses an estimator itself. {error}") from error
        if first.digest != record.files[ESTIMATOR]:
            raise ConfigError(
                f"the run in {str(path)!r} reuses what the estimator of {str(first.folder)!r} was before that run was done "
                f"again. Name that one: --estimator {first.folder}"
            )
        return first

    @property
    def digest(self) -> str:
        """Hash of the estimator's file."""
        return self.records["estimate"].files[ESTIMATOR]

    @property
    def name(self) -> str:
        """What trained the estimator: a registered name or `module:Class`."""
        return self.config.estimator

    @property
    def reads_states(self) -> bool:
        """Whether it reads a language model's states of rows."""
        return "states" in self.records

    @property
    def precomputed(self) -> bool:
        """Whether its embeddings came from files of vectors."""
        return (self.config.embedder or "").lower().endswith(".npy")

    @property
    def options(self) -> SelectConfig:
        """Its recipe with the embedder and the features as they turned out."""
        features = "states" if self.reads_states else "embedding"
        with as_left(self.folder):
            machine = json.loads((self.folder / "environment.json").read_text(encoding="utf-8"))
            embedder = self.config.embedder or default_embedder(str(machine["device"]))[0]
        return replace(self.config, features=features, embedder=embedder)

    @property
    def depends(self) -> dict[str, Any]:
        """What tells it from every other."""
        read = {name: self.records[name].key for name in ("embed", "states") if name in self.records}
        return {"estimator": self.digest, "rows": read}


def trained_by(path: str | Path) -> str:
    """The name of what trained the estimator of a run folder: of its own or of the run that it was taken from.

    Raises:
        ConfigError: it is no run folder.
    """
    place = Path(path)
    record = read_records(place).get("estimate")
    if record is not None and "reused" in record.facts:
        with as_left(place):
            return str(record.facts["reused"]["estimator"])
    return read_recipe(place / "recipe.yaml").estimator


def donor_of(config: SelectConfig) -> Donor | None:
    """The run whose estimator is to be reused; None where one is trained."""
    return Donor.at(config.estimator) if config.takes_over else None


def inherit(config: SelectConfig) -> SelectConfig:
    """The options with those of the run whose estimator is reused wherever nothing else was said, all written out; options
    that name no run stay as they are. Where no target is given either, it is that run's.

    Raises:
        ConfigError: there is no such run, it has no estimator, or an option contradicts its recipe.
        RunError: it is not whole.
    """
    donor = donor_of(config)
    if donor is None:
        return config
    if config.output is not None and Path(config.output).resolve() == donor.folder:
        raise ConfigError(
            f"the run in {config.output!r} cannot reuse its own estimator in its own place. Choose another -o."
        )
    theirs, mine = resolved(donor.options), resolved(config)
    taken: dict[str, Any] = {"estimator": str(donor.folder)}
    taken |= {name: _agreed(name, mine, theirs, donor) for name in _SAME}
    if config.target is None and donor.config.target is not None:
        taken |= {name: getattr(theirs, name) for name in _TARGET}
    return replace(mine, **taken)


def _agreed(name: str, mine: SelectConfig, theirs: SelectConfig, donor: Donor) -> Any:
    """The value of an option on which both runs have to agree."""
    given, wanted = getattr(mine, name), getattr(theirs, name)
    usual = "auto" if name == "influence" else _USUAL[name]
    if name == "embedder" and donor.precomputed:
        if given is None or not given.lower().endswith(".npy"):
            raise ConfigError(
                f"the run in {str(donor.folder)!r} was embedded by files of vectors: name those of the new rows, made in the "
                "same way: --embedder POOL.npy,TARGET.npy."
            )
        return given
    same = mine.teacher_options() == theirs.teacher_options() if name == "option" else given == wanted
    if given == usual or same:
        return wanted
    raise ConfigError(
        f"{flag(name)} is {_said(given)}, and the estimator in {str(donor.folder)!r} was trained with {_said(wanted)}. Leave "
        f"{flag(name)} out, or train anew with --estimator {donor.name}."
    )


def _said(value: Any) -> str:
    """A value as it would be said on the command line."""
    if isinstance(value, tuple):
        return " and ".join(map(repr, value)) or "none"
    return "none" if value is None else repr(value)
