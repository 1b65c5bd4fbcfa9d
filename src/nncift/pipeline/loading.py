"""Models of a worker that loads its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from nncift.cachedir import cache_folder, cache_in
from nncift.errors import RunError
from nncift.pipeline.models import Models
from nncift.pipeline.setup import Setup
from nncift.progress import Silent
from nncift.scale.executor import Seat

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class OwnModels:
    """Makes the models of a run on a worker's device.

    Attributes:
        setup: of the run.
        cache: the cache folder of the run.
        known: what results depend on of the language models here (`Models.lm_key`); None where none is needed.
    """

    setup: Setup
    cache: Path
    known: dict[str, Any] | None

    @classmethod
    def of(cls, models: Models) -> OwnModels:
        """Of the run that has these models here."""
        needed = models.setup.influence.traits.needs_model or models.setup.reads_states
        return cls(models.setup, cache_folder(), models.lm_key if needed else None)

    def make(self, seat: Seat, build: Callable[[Models], Made]) -> Made:
        """What is built of the models on a worker's device; none of them is loaded before it is asked for.

        Raises:
            RunError: the worker has others under the same names, or computes in another number format.
        """
        with nullcontext() if cache_folder() == self.cache else cache_in(self.cache):
            models = Models(_seated(self.setup, seat), Silent())
            if self.known is not None and models.lm_key != self.known:
                raise _strange(models, self.known)
            return build(models)


def _seated(setup: Setup, seat: Seat) -> Setup:
    """The run as a worker sees it: on its own device."""
    device = seat.device
    return setup if device is None else replace(setup, config=replace(setup.config, device=device))


def _strange(models: Models, known: dict[str, Any]) -> RunError:
    found = models.lm_key
    if found["models"] == known["models"]:
        return RunError(
            f"a worker computes in {found['dtype']} and this process in {known['dtype']}. Name one --dtype."
        )
    return RunError(
        f"the language model {', '.join(models.config.model)} is another one on a worker's machine than here: its files "
        "differ. Put the same files on every machine of the cluster."
    )
