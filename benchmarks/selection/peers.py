"""The libraries that the table compares with, from the extra `peers`."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType

from nncift.errors import MissingExtraError

PACKAGES = {"submodlib": "submodlib-py", "apricot": "apricot-select"}


def peer(module: str) -> ModuleType:
    """A peer's module.

    Raises:
        MissingExtraError: it is not installed.
    """
    refuse_missing([module])
    return importlib.import_module(module)


def refuse_missing(modules: list[str]) -> None:
    """Refuses before anything is measured.

    Raises:
        MissingExtraError: one of the modules is not installed.
    """
    for module in modules:
        if find_spec(module) is None:
            raise MissingExtraError(PACKAGES[module], "peers", f"the benchmark against {module}")
