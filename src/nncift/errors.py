"""The exceptions a user can meet: each says what is wrong, where, and how to mend it; the command line exits with 2."""

from __future__ import annotations

from nncift.redact import redact


class NnciftError(Exception):
    """Base of every error that a user can mend; the command line prints its message without a traceback."""

    def __str__(self) -> str:
        return redact(super().__str__())


class ConfigError(NnciftError):
    """An option has a value that cannot work, or the options contradict each other."""


class DataError(NnciftError):
    """A file of rows cannot be used at all (single bad rows are rejected, not raised)."""


class ModelError(NnciftError):
    """A language model or an embedder cannot be loaded or gave numbers that cannot be used."""


class MissingExtraError(NnciftError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f'{purpose} needs the package `{package}`. Install it with:  pip install "nncift[{extra}]"')


class RunError(NnciftError):
    """A run folder is damaged, in use, or belongs to something else."""
