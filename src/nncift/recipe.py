"""Recipes: options resolved and written down, read again and compared, and the names that runs get from them."""

from __future__ import annotations

import re
from dataclasses import asdict, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from nncift.config import Options, SelectConfig, flag
from nncift.errors import ConfigError
from nncift.registry import LAYERS, PACKAGED_MODELS, names
from nncift.version import __version__

_VERBS = ("select", "evaluate")  # whose recipes can be replayed


def write_recipe(config: Options, path: Path, *, verb: str = "select") -> None:
    """Writes every option, resolved, as a YAML file that `nncift run` replays."""
    body = {"nncift": __version__, "verb": verb, **asdict(config)}
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
    return SelectConfig.of(values)


def recipe_values(path: Path) -> tuple[str, dict[str, Any]]:
    """The verb of a recipe, and its options as they stand there.

    Raises:
        ConfigError: it is missing, not YAML, or not a recipe.
    """
    if not path.is_file():
        inside = path / "recipe.yaml"
        mend = f"Did you mean {inside}?" if inside.is_file() else "A run folder holds one as `recipe.yaml`."
        raise ConfigError(f"no recipe at {str(path)!r}. {mend}")
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ConfigError(f"{path} is not YAML{where}. Name the `recipe.yaml` of a run folder.") from error
    if not isinstance(body, dict) or body.get("verb") not in _VERBS:
        raise ConfigError(
            f"{path} is not a recipe: it has no line `verb: select`. Name the `recipe.yaml` of a run folder."
        )
    return str(body["verb"]), {name: value for name, value in body.items() if name not in ("nncift", "verb")}


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
    names = [item.name for item in fields(config) if item.name != "output"]
    return ", ".join(flag(name) for name in names if told != verb or getattr(before, name) != getattr(config, name))


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
    """The full path of a language model that is a file or folder, its number of layers behind it; any other as it is."""
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
