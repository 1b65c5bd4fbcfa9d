"""The influence function of a run, made from its name and its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

import numpy as np

from nncift import registry
from nncift.config import LabelConfig, SelectConfig
from nncift.errors import ConfigError
from nncift.influence.base import Influence
from nncift.registry import did_you_mean


def make_influence(config: LabelConfig | SelectConfig) -> Influence:
    """The teacher with its options.

    Raises:
        ConfigError: it is unknown, is no influence, or has no such option or value.
    """
    cls = registry.load("influence", config.influence)
    if not _is_influence(cls):
        raise ConfigError(
            f"{config.influence!r} is no influence: it must be a dataclass with the attributes of "
            "nncift.influence.base.Influence and a method `start`."
        )
    return with_options(cls, config.teacher_options(), what=f"the influence `{config.influence}`", flag="--option")


def with_options(cls: type, options: Mapping[str, str], *, what: str, flag: str) -> Any:
    """A dataclass made from options in words.

    Args:
        cls: the class; one that is no dataclass has no options.
        options: by name.
        what: how errors call it.
        flag: the flag that gives options.

    Raises:
        ConfigError: it has no such option or value.
    """
    known = tuple(item.name for item in fields(cls)) if is_dataclass(cls) else ()
    hints = get_type_hints(cls) if known else {}
    values: dict[str, Any] = {}
    for name, text in options.items():
        if name not in known:
            hint = did_you_mean(name, known) if known else "It has none."
            raise ConfigError(f"{what} has no option {name!r}. {hint}")
        values[name] = _parse(text, hints[name], f"{flag} {name}")
    return cls(**values)


def _is_influence(found: Any) -> bool:
    return isinstance(found, type) and is_dataclass(found) and hasattr(found, "start")


def _parse(text: str, hint: Any, what: str) -> Any:
    choices = get_args(hint)
    if choices and all(isinstance(choice, str) for choice in choices):
        if text not in choices:
            raise ConfigError(f"{what} is {text!r}. {did_you_mean(text, choices)}")
        return text
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"{what} is {text!r}; expected true or false.")
        return text.lower() == "true"
    try:
        value = hint(text)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what} is {text!r}; expected {getattr(hint, '__name__', hint)}.") from error
    if isinstance(value, float) and not np.isfinite(value):
        raise ConfigError(f"{what} is {text!r}; expected a finite number.")
    return value
