"""A recipe as strangers may read it: without secrets, and without the folders of the machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nncift.redact import STRUCK, is_quota, redact, redacted

_SECRET_NAMES = {
    "key",
    "apikey",
    "token",
    "secret",
    "password",
    "passwd",
    "credential",
    "credentials",
    "auth",
    "bearer",
}
_ADDRESS = re.compile(r"(?P<scheme>\b\w+://)(?P<who>[^/@\s]*@)?(?P<where>[^?#\s]*)(?P<query>[?#]\S*)?")


def public(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a recipe as plain values that may leave the machine.

    Beside what `redact` strikes out of everything that is written, these are all values under a name such as `key` or `auth`
    (also as an `--option`), and of an address who asks and with what. Of a local path the last part is left.

    Args:
        recipe: names and plain values.
    """
    return {name: _value(name, value) for name, value in recipe.items()}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return public(value)
    if isinstance(value, list | tuple):
        return [_value(name, one) for one in value]
    if not isinstance(value, str):
        return STRUCK if value is not None and _is_secret(name) else value
    if is_quota(name, value):
        return redacted({name: value})[name]
    inner, equals, said = value.partition("=")
    if equals and re.fullmatch(r"[\w-]+", inner):  # name=value
        return f"{inner}={_value(inner, said)}"
    return STRUCK if _is_secret(name) and value else ",".join(map(_told, value.split(",")))


def _is_secret(name: str) -> bool:
    """Whether a word of a name says so; `max_new_tokens` and `keep` do not."""
    return not _SECRET_NAMES.isdisjoint(re.split(r"[_\W]+", name.lower()))


def _told(text: str) -> str:
    """A name, path or address without what nobody else should know."""
    if "://" in text:
        text = _ADDRESS.sub(r"\g<scheme>\g<where>", text)
    elif Path(text).is_absolute() or text.startswith("~"):
        text = Path(text).name
    return redact(text)
