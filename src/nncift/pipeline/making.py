"""From the names of influences and estimators to the things themselves, and to what they are told by in keys."""

from __future__ import annotations

import inspect
from hashlib import sha256
from pathlib import Path

from nncift import registry
from nncift.errors import ConfigError
from nncift.estimator.base import Estimator, Layered
from nncift.estimator.network import parse_hidden
from nncift.influence.base import Influence
from nncift.pipeline.donor import trained_by


def influence_key(name: str, influence: Influence) -> str:
    """What a teacher is told by in keys."""
    return class_key(name, type(influence)) if ":" in name else influence.traits.name


def class_key(name: str, cls: type) -> str:
    """A registered name, or a user's `module:Class` with the hash of its file: what changes is another thing."""
    place = inspect.getsourcefile(cls) if ":" in name else None
    return f"{name} {sha256(Path(place).read_bytes()).hexdigest()}" if place else name


def make_estimator(name: str, *, hidden: str | None = None) -> Estimator:
    """The estimator behind a name; behind a run folder that which trained its estimator.

    Args:
        name: registered, or a user's `module:Class`.
        hidden: its hidden layers in words; None for its own.

    Raises:
        ConfigError: it is unknown, is no estimator, has no hidden layers to choose, or is one of a run that cannot tell new
            rows apart.
    """
    run, name = name, trained_by(name) if registry.is_folder("estimator", name) else name
    made = registry.load("estimator", name)()
    if not hasattr(made, "fit"):
        raise ConfigError(
            f"{name!r} is no estimator: it must be a dataclass with the method `fit`, and defaults for all."
        )
    if name != run and getattr(made, "reads", "all") == "nothing":
        raise ConfigError(
            f"the estimator of the run in {run!r} is `{name}`, which reads no text: new rows are all the same to it. "
            "Train one that reads: --estimator gaussian-process."
        )
    if hidden is None:
        return made
    layout = parse_hidden(hidden)
    if not isinstance(made, Layered):
        raise ConfigError(
            f"the estimator {name!r} has no hidden layers. Leave out --hidden, or say --estimator network."
        )
    return made.with_hidden(layout)
