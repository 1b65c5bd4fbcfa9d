"""Secrets do not leave the process: keys, tokens and passwords are struck out of whatever is told, logged or written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STRUCK = "[redacted]"
"""What stands where a secret stood."""

_SECRET_NAME = re.compile(
    r"(?i)(?:api[_-]?key|access[_-]?key|secret|token|password|passwd|credentials?|authorization)$"
)
_VARIABLE = re.compile(r"(?i)(?:^|_)(?:api)?(?:key|secret|token|password|passwd|credentials?)$")
_SHORTEST = 8  # characters of a variable's value: a shorter one would be found in every other word

_SHAPES = re.compile(
    r"(?<!\w)(?:hf_[A-Za-z0-9]{16,}|sk-(?=[\w-]*\d)[\w-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|AKIA[0-9A-Z]{16}"
    r"|xox[abp]-[\w-]{12,})"
)
_LOGIN = re.compile(r"(?<=://)[^\s/@'\"]+@")
_NAMED = re.compile(
    r"(?i)(?<![A-Za-z0-9])((?:[\w-]*[_-])?(?:api[_-]?key|access[_-]?key|(?<=[?&])key|secret|token|password|passwd|credentials?))"
    r"(\s*=\s*)(?!\[redacted\])[^\s&#'\",;]+"
)
_BEARER = re.compile(r"(?i)(\bbearer\s+)(?!\[redacted\])[\w.~+/=-]{8,}")


def redact(text: str) -> str:
    """A text without the secrets in it.

    Use it for whatever is shown, logged or written and is not the user's own rows. Struck out are: the values of environment
    variables that are named as secrets are (`HF_TOKEN`, `OPENAI_API_KEY`, …), what has the shape of a key (`hf_…`, `sk-…`),
    the login of an address (`https://user:password@host`), and the value of `api_key=…`, `token=…` and the like.
    """
    for value in _of_environment():
        text = text.replace(value, STRUCK)
    text = _SHAPES.sub(STRUCK, text)
    text = _LOGIN.sub(f"{STRUCK}@", text)
    text = _BEARER.sub(rf"\1{STRUCK}", text)
    return _NAMED.sub(rf"\1\2{STRUCK}", text)


def redacted(value: Any) -> Any:
    """Plain values without the secrets in them; a text under a name such as `api_key` is one as a whole."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {
            name: STRUCK if isinstance(entry, str) and entry and _SECRET_NAME.search(str(name)) else redacted(entry)
            for name, entry in value.items()
        }
    return type(value)(redacted(entry) for entry in value) if isinstance(value, list | tuple) else value


def _is_file(value: str) -> bool:
    try:
        return Path(value).exists()
    except (OSError, ValueError):  # too long for a name
        return False


def _of_environment() -> list[str]:
    """Secrets that the environment holds, longest first, so that none hides a part of another."""
    named = {value.strip() for name, value in os.environ.items() if _VARIABLE.search(name)}
    found = (value for value in named if len(value) >= _SHORTEST and not _is_file(value))  # a file of a key is none
    return sorted(found, key=len, reverse=True)
