"""Recipes: options resolved and written down, read again and compared, and the names that runs get from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import yaml

from nncift.config import Options, SelectConfig, flag
from nncift.errors import ConfigError
from nncift.plain import Unsound, read_yaml
from nncift.redact import STRUCK, redacted
from nncift.registry import LAYERS, PACKAGED_MODELS, TOKENIZER, is_served, names
from nncift.version import __version__

_Options = TypeVar("_Options", bound=Options)
_VERBS = ("select", "evaluate")  # whose recipes can be replayed


def write_recipe(config: Options, path: Path, *, verb: str = "select") -> None:
    """Writes every option, resolved and without secrets, as a YAML file that `nncift run` replays."""
    body = {"nncift": __version__, "verb": verb, **redacted(asdict(config))}
    body |= {name: list(value) for name, value in body.items() if isinstance(value, tuple)}
    path.write_text(yaml.safe_dump(body, sort_keys=False, allow_unicode=True), encoding="utf-8")


def read_recipe(path: Path) -> SelectConfig:
    """Reads the recipe of a run folder.

    Raises:
        ConfigError: it is missing, not YAML, not a recipe of `select`, or has an option that does not exist.
    """
    verb, values = recipe_values(path)
    if verb != "select":
        raise ConfigError(f"{path} is the recipe of `{verb}`. Name the `recipe.yaml` of a run folder.")
    return config_of(SelectConfig, values, path)


def config_of(kind: type[_Options], values: Mapping[str, Any], path: Path) -> _Options:
    """The configuration that a recipe's values are.

    Raises:
        ConfigError: a value is unknown, missing or wrong; the message names the file.
    """
    try:
        return kind.of(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def recipe_values(path: Path) -> tuple[str, dict[str, Any]]:
    """The verb of a recipe, and its options as they stand there.

    Raises:
        ConfigError: it is missing, not YAML, or not a recipe.
    """
    if not _is_file(path):
        inside = path / "recipe.yaml"
        mend = f"Did you mean {inside}?" if _is_file(inside) else "A run folder holds one as `recipe.yaml`."
        raise ConfigError(f"no recipe at {str(path)!r}. {mend}")
    try:
        body = read_yaml(path)
    except Unsound as error:
        raise ConfigError(
            f"{path} is not YAML of plain values: {error}. Name the `recipe.yaml` of a run folder."
        ) from error
    if not isinstance(body, dict) or body.get("verb") not in _VERBS:
        raise ConfigError(
            f"{path} is not a recipe: it has no line `verb: select`. Name the `recipe.yaml` of a run folder."
        )
    if odd := [name for name in body if not isinstance(name, str)]:
        raise ConfigError(
            f"{path} has the name {odd[0]!r}, which YAML takes for no text; every name is that of an option."
        )
    return str(body["verb"]), {name: value for name, value in body.items() if name not in ("nncift", "verb")}


def _is_file(path: Path) -> bool:
    """Whether there is a regular file; a name that no file can have is none of one."""
    try:
        return path.is_file()
    except OSError:
        return False


def changed_options(config: SelectConfig, recipe: Path) -> str:
    """The flags that differ from those of a recipe, in words; empty where none does or there is no sound recipe."""
    return changed_values(resolved(config), recipe, verb="select")


def changed_values(config: Options, recipe: Path, *, verb: str) -> str:
    """`changed_options` of any verb; the options are resolved."""
    try:
        told, values = recipe_values(recipe)
        before = type(config).of(values)
    except ConfigError:
        return ""
    names = [item.name for item in fields(config) if item.name not in ("output", "memory")]
    now = redacted({name: getattr(config, name) for name in names})
    return ", ".join(flag(name) for name in names if told != verb or getattr(before, name) != now[name])


def refuse_struck(values: dict[str, Any], path: Path) -> None:
    """Refuses to replay a recipe that a secret was struck out of.

    Raises:
        ConfigError: an option holds what stands for a secret.
    """
    for name, value in values.items():
        if STRUCK in str(value):
            raise ConfigError(
                f"{path} does not hold the secret that {flag(name)} had: recipes keep none. Give the command again with it."
            )


def resolved(config: SelectConfig) -> SelectConfig:
    """The configuration with local files by their full path, so that a recipe works from any folder."""
    changed = {
        name: full_path(value) for name in ("pool", "target", "existing", "keep") if (value := getattr(config, name))
    }
    models = tuple(map(full_model, config.model))
    options = tuple(map(_full_option, config.option))
    if config.takes_over:
        changed["estimator"] = full_path(config.estimator)
    if config.embedder is not None and config.embedder not in names("embedder"):
        arrays = config.embedder.endswith(".npy")
        parts = config.embedder.split(",") if arrays else [config.embedder]
        changed["embedder"] = ",".join(map(full_path, parts))
    return replace(config, model=models, option=options, **changed)


def full_path(value: str) -> str:
    """The full path of a file or folder that is there; anything else stays as it is."""
    return str(Path(value).resolve()) if Path(value).exists() else value


def _full_option(entry: str) -> str:
    """An option of an influence; one that names an array by its full path."""
    name, equals, value = entry.partition("=")
    return f"{name}{equals}{full_path(value.strip())}" if value.strip().endswith(".npz") else entry


def full_model(name: str) -> str:
    """The full path of a language model that is a file or folder, its number of layers behind it, and that of a served one's
    tokenizer; any other as it is."""
    if is_served(name):
        address, cut, tokenizer = name.partition(TOKENIZER)
        return f"{address}{cut}{full_path(tokenizer)}" if cut else name
    whole, cut, layers = name.partition(LAYERS)
    return name if whole in PACKAGED_MODELS else f"{full_path(whole)}{cut}{layers}"


def default_name(config: SelectConfig) -> str:
    """A folder name for a run that was given none: the same for the same files, teacher, model and reused estimator, so that
    another budget or objective finds the labels that are there."""
    full = resolved(config)
    told = ("pool", "target", "existing", "influence", "option", "model", *["estimator"][: full.takes_over])
    digest = sha256(repr(tuple(getattr(full, name) for name in told)).encode())
    stem = re.sub(r"[^\w.-]+", "-", Path(config.pool.partition("#")[0]).stem)
    return f"{stem}-{config.influence.replace(':', '.')}-{digest.hexdigest()[:6]}"
