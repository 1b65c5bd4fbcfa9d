"""YAML of whoever wrote it, as plain values: bounded in its size, its depth, its numbers and what its aliases unfold to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

LARGEST = 100_000
"""Characters of a file, about a second of reading; the longest recipe that is shipped has 5,300."""
_DEEPEST = 50
_MOST = 20_000  # values, those of an alias counted wherever it stands
_BITS = 256


class Unsound(Exception):
    """A text that is no YAML of plain values; the message says why and where."""


def read_yaml(path: Path, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """The value of a YAML file.

    Raises:
        Unsound: it cannot be read, or is no YAML of plain values.
    """
    try:
        if path.stat().st_size > 4 * LARGEST:
            raise Unsound(f"it has {path.stat().st_size:,} bytes, and no recipe has more than {LARGEST:,} characters")
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise Unsound(f"it cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise Unsound(f"it is not UTF-8 (byte {error.start + 1})") from error
    return parse_yaml(text, loader)


def parse_yaml(text: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """The value of YAML text: mappings, lists, texts, numbers, dates, true, false and null.

    Raises:
        Unsound: it is no YAML, names another type, or is too large, too deep or unfolds to too much.
    """
    if len(text) > LARGEST:
        raise Unsound(f"it has {len(text):,} characters, and no recipe has more than {LARGEST:,}")
    try:
        value = yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise Unsound(f"{place}{_cut(problem or error)}") from error
    except RecursionError as error:
        raise Unsound("it is nested too deeply") from error
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise Unsound(f"a value is not what it says it is: {_cut(error)}") from error
    if _unfolded(value, {}, 0) > _MOST:
        raise Unsound(f"with its aliases written out it has more than {_MOST:,} values")
    return value


def _unfolded(value: Any, known: dict[int, int], depth: int) -> int:
    """How many values it has, aliases written out."""
    if not isinstance(value, dict | list | tuple | set):
        _refuse_odd(value)
        return 1
    if depth > _DEEPEST:
        raise Unsound(f"it is nested deeper than {_DEEPEST} levels, or a value holds itself")
    if id(value) not in known:
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_unfolded(one, known, depth + 1) for one in inner)
    return known[id(value)]


def _refuse_odd(value: Any) -> None:
    """Refuses what no message could show, and no file hold."""
    if isinstance(value, int) and value.bit_length() > _BITS:
        raise Unsound("a number has too many digits")
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise Unsound("a text holds a lone surrogate") from error


DAMAGE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError, EOFError)
"""What reading raises of a file that holds something else than was written there."""


def _cut(said: object) -> str:
    """What a library says, on one line."""
    text = " ".join(str(said).split())
    return text if len(text) <= 200 else f"{text[:200]}…"


class StrictLoader(yaml.SafeLoader):
    """Plain values only; a key that stands twice is an error, and 1e11 is a number, as in YAML 1.2."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        keys = [key for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
        for key in (key for key in keys if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


StrictLoader.yaml_implicit_resolvers = {  # a copy: the resolvers of the base class belong to everybody
    first: [*resolvers] for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+$"), [*"+-0123456789"]
)
