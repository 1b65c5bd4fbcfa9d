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
_SHARE = r"(?:\d+(?:\.\d+)?|\.\d+)\s*%?"
_QUOTA = re.compile(rf"\s*[^=]+=\s*{_SHARE}\s*")
_TOLD_QUOTA = re.compile(rf"{_SHARE}[.:)]?")
_BY_COLUMN = ("where", "columns")  # of an experiment's data: their keys are columns
_BEARER = re.compile(r"(?i)(\bbearer\s+)(?!\[redacted\])[\w.~+/=-]{8,}")


def redact(text: str) -> str:
    """A text without the secrets in it.

    Use it for whatever is shown, logged or written and is not the user's own rows. Struck out are: the values of environment
    variables that are named as secrets are (`HF_TOKEN`, `OPENAI_API_KEY`, …), what has the shape of a key (`hf_…`, `sk-…`),
    the login of an address (`https://user:password@host`), and the value of `api_key=…`, `token=…` and the like, but for the
    share or number of rows in `--quota token=5%`, where that is a column.
    """
    return _NAMED.sub(_struck, _without_known(text))


def _without_known(text: str) -> str:
    """A text without what is a secret whatever it is called."""
    for value in _of_environment():
        text = text.replace(value, STRUCK)
    text = _SHAPES.sub(STRUCK, text)
    text = _LOGIN.sub(f"{STRUCK}@", text)
    return _BEARER.sub(rf"\1{STRUCK}", text)


def _struck(match: re.Match[str]) -> str:
    name, equals, value = match[1], match[2], match[0][len(match[1] + match[2]) :]
    if match.string[: match.start()].endswith("--quota ") and _TOLD_QUOTA.fullmatch(value):
        return match[0]
    return f"{name}{equals}{STRUCK}"


def is_quota(name: str, value: object) -> bool:
    """Whether an option is a share or a number of rows by column, such as `token=5%`: what stands before `=` is no name of a
    secret there."""
    return name == "quota" and isinstance(value, str) and _QUOTA.fullmatch(value) is not None


def redacted(value: Any) -> Any:
    """Plain values without the secrets in them; a text under a name such as `api_key` is one as a whole. A name of a column is
    none: in `quota`, and as a key in `where` and `columns` of an experiment's data."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {name: _entry(str(name), entry) for name, entry in value.items()}
    return type(value)(redacted(entry) for entry in value) if isinstance(value, list | tuple) else value


def _entry(name: str, value: Any) -> Any:
    if is_quota(name, value):
        return _without_known(value)
    if name in _BY_COLUMN and isinstance(value, Mapping):
        return {column: redacted(entry) for column, entry in value.items()}
    return STRUCK if isinstance(value, str) and value and _SECRET_NAME.search(name) else redacted(value)


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
