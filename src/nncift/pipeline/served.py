"""What can be had of a language model behind a server, told before anything is spent."""

from __future__ import annotations

from nncift import registry
from nncift.config import LabelConfig, SelectConfig
from nncift.errors import ConfigError
from nncift.influence.base import Influence
from nncift.lm.address import read_served


def is_behind_server(config: LabelConfig | SelectConfig) -> bool:
    """Whether a language model of the run is."""
    return any(map(registry.is_served, config.model))


def check_served(config: LabelConfig | SelectConfig, influence: Influence) -> None:
    """Raises:
    ConfigError: an address is none, or the influence needs more of a model than a server tells.
    """
    if not is_behind_server(config):
        return
    for name in filter(registry.is_served, config.model):
        read_served(name)
    traits = influence.traits
    if traits.needs_model and not traits.servable:
        of_them = "gradients" if traits.gradients else "states or answers"
        raise ConfigError(
            f"the influence `{traits.name}` needs {of_them} of the language model, and a server tells the log-probabilities "
            f"of given tokens alone. Name a --model on this machine, or use --influence {_servable()}."
        )
    if config.quantize:
        raise ConfigError("--quantize is for weights on this machine; a server has its own. Leave it out.")


def _servable() -> str:
    """The influences that a server can answer, in words."""
    names = [name for name in registry.names("influence") if registry.load("influence", name)().traits.servable]
    return f"{', '.join(names[:-1])} or {names[-1]}"
