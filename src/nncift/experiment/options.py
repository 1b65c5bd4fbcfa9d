"""Which options a recipe may give to which verb, and what the experiment itself sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from nncift.config import LabelConfig, Options, SelectConfig
from nncift.errors import ConfigError
from nncift.evaluation.options import EvaluateConfig
from nncift.registry import did_you_mean
from nncift.rehearsal.options import FidelityConfig

VERBS: dict[str, type[Options]] = {
    "select": SelectConfig,
    "label": LabelConfig,
    "fidelity": FidelityConfig,
    "evaluate": EvaluateConfig,
}
ROLES = ("pool", "target", "test", "existing", "keep")
"""Rows that a data set may have; each is the option of that name of the verbs that know it."""
HINTS = ("weights", "encoder_weights", "judge_weights")
"""What only a plan reads: weights of the language model, of the sentence encoder, and of a local judge."""

_OWN = (*ROLES, "subset", "matrix", "predictions", "output")
_NEVER_MISSING = ("pool",)


def known_options(verb: str) -> tuple[str, ...]:
    """The options of a verb that a recipe may give."""
    return tuple(item.name for item in fields(VERBS[verb]) if item.name not in _OWN)


def roles_of(verb: str) -> tuple[str, ...]:
    """The roles of rows that a verb reads."""
    names = {item.name for item in fields(VERBS[verb])}
    return tuple(role for role in ROLES if role in names)


def part_for(verb: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the options of an axis value or a data set say to a verb; what is said to it alone counts more."""
    known = {*known_options(verb), *roles_of(verb)}
    plain = {name: value for name, value in values.items() if name in known}
    return plain | dict(values.get(verb) or {})


def check_options(where: str, values: Mapping[str, Any], verbs: Iterable[str]) -> None:
    """Refuses what none of the verbs knows.

    Args:
        where: how errors call the place, such as "the axis value `how: exact`".
        values: options, and under the name of a verb what is for that verb alone.
        verbs: of the steps that run over the axis.

    Raises:
        ConfigError: an option is unknown (the nearest is suggested), is one that the experiment sets, or a hint is no number.
    """
    verbs = tuple(dict.fromkeys(verbs))
    known = tuple(dict.fromkeys(name for verb in verbs for name in known_options(verb)))
    for name, value in values.items():
        if name in VERBS:
            _check_part(where, name, value, verbs)
        elif name in HINTS:
            _check_hint(where, name, value)
        else:
            _check_option(where, name, value, known, (*known, *HINTS, *verbs))


def _check_part(where: str, verb: str, value: Any, verbs: tuple[str, ...]) -> None:
    if verb not in verbs:
        raise ConfigError(
            f"{where} speaks to `{verb}`, and no such step runs over it (only {', '.join(verbs)}). Leave it out."
        )
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: `{verb}` is {value!r}; it must hold options of `nncift {verb}`, name: value.")
    for name, inner in value.items():
        _check_option(f"{where}, `{verb}`", name, inner, known_options(verb), known_options(verb))


def _check_hint(where: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ConfigError(f"{where}: {name} is {value!r}; it must be a number above 0, such as 2.7e8.")


def _check_option(where: str, name: str, value: Any, known: tuple[str, ...], near: tuple[str, ...]) -> None:
    if name in known:
        return
    if name in ROLES and name not in _NEVER_MISSING and value is None:
        return  # the data set has such rows, and this value does without them
    if name in _OWN:
        mend = (
            "Leave it out." if name in _NEVER_MISSING or name not in ROLES else "Say `null` to do without, or nothing."
        )
        raise ConfigError(f"{where} sets `{name}`, which the experiment itself does. {mend}")
    raise ConfigError(f"{where} has the unknown option {name!r}. {did_you_mean(name, near)}")
