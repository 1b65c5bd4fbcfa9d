"""The estimator that cross-validation chooses among a few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from nncift import registry
from nncift.data.labels import Labels
from nncift.estimator.base import Fitted, Reads, Unsure, refuse_other_rows
from nncift.estimator.features import Features
from nncift.estimator.withheld import Trials, cross_validate
from nncift.kernel.base import Kernel

AMONG = ("gaussian-process", "means", "network")
"""Registered estimators that are tried. The first has the benefit of the doubt: it holds means as a special case, and where the
two err alike it still ranks what has no label (DELIFT at 1 %: candidate means .69, and .52 where means had that benefit)."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Why one of the estimators was taken.

    Attributes:
        name: of the one that was taken.
        explained: share of the variance of withheld labels that each explains, by name; nothing where none could be withheld.
        parts: how many parts of the labels were withheld.
        labels: how many labels these had.
    """

    name: str
    explained: dict[str, float]
    parts: int
    labels: int

    @classmethod
    def of(cls, trials: Trials, instead: str) -> Choice:
        """The first within one standard error of the best; `instead` where there was nothing to judge by."""
        name = trials.first()
        if name is None:
            return cls(instead, {}, 0, 0)
        return cls(name, {one: trials.explained(one) for one in trials.error}, trials.parts, trials.labels)

    def sentence(self) -> str:
        """In words."""
        if not self.explained:
            return f"`{self.name}`, as there are too few labels to choose by"
        best = max(self.explained, key=self.explained.__getitem__)
        others = ", ".join(f"{name} {_percent(share)}" for name, share in self.explained.items() if name != self.name)
        near = "" if best == self.name else f", within one standard error of {best}"
        return (
            f"`{self.name}`, which explains {_percent(self.explained[self.name])} of the variance of labels withheld in "
            f"{self.parts} part{'' if self.parts == 1 else 's'}{near} ({others})"
        )


@dataclass(frozen=True, slots=True)
class FittedAuto:
    """The chosen estimator, fitted to all labels, and why it was chosen.

    Attributes:
        choice: among which, and by how much.
        chosen: fitted.
        tried: estimated operations of the fits that were compared.
    """

    kind: ClassVar[str] = "auto"

    choice: Choice
    chosen: Fitted
    tried: int

    @property
    def pointwise(self) -> bool:
        """Whether it scores pool rows alone."""
        return self.chosen.pointwise

    @property
    def labels(self) -> int:
        """How many labels it was fitted to."""
        return self.chosen.labels

    @property
    def weights(self) -> int:
        """How many numbers the chosen one has learnt."""
        return self.chosen.weights

    @property
    def flops(self) -> int:
        """Estimated operations of all fits, the comparison's among them."""
        return self.chosen.flops + self.tried

    def kernel(self, target: Features | None, pool: Features) -> Kernel:
        """The kernel of the chosen one."""
        return self.chosen.kernel(target, pool)

    def summary(self) -> str:
        """What was chosen, and how it was fitted."""
        return f"{self.choice.sentence()}: {self.chosen.summary()}"

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        choice = {name: getattr(self.choice, name) for name in Choice.__slots__}
        return {"choice": choice, "tried": self.tried, "chosen": self.chosen.record()}

    def tensors(self) -> dict[str, Tensor]:
        """Those of the chosen one."""
        return self.chosen.tensors()

    @classmethod
    def restored(cls, record: dict[str, Any], tensors: dict[str, Tensor]) -> FittedAuto:
        """From what `record` and `tensors` gave."""
        choice = Choice(**record["choice"])
        if choice.name not in AMONG:  # a file chooses no code
            raise ValueError(f"{choice.name!r} is none of {', '.join(AMONG)}")
        chosen: Fitted = registry.load("estimator", choice.name).fitted.restored(record["chosen"], tensors)
        return _auto(choice, chosen, record["tried"])


@dataclass(frozen=True, slots=True)
class UnsureAuto(FittedAuto):
    """The same where the chosen one says how sure it is."""

    def candidate_sd(self, pool: Features) -> Float[ndarray, " n"]:
        """Standard deviations of candidates' mean influences, as the chosen one gives them."""
        assert isinstance(self.chosen, Unsure)
        return self.chosen.candidate_sd(pool)


@dataclass(frozen=True, slots=True)
class Auto:
    """Takes the estimator that says most of labels it was not shown.

    Use it where the influence or the rows are unlike those the default was chosen on, and seconds do not matter. The labels
    are cut into parts; the Gaussian process, row and column means and the network are fitted without each part and held
    against it. Whole candidates and whole targets are withheld with all their labels where the kernel has pairs of such, and
    each kind of pair counts as much as it does among the pairs that will be filled. The default stays unless another errs less
    by more than one standard error of the difference; what is taken is fitted to all labels.

    *Cost*: ten fits of each (fewer beyond 1,000 labels): about ten times those of the three. No language-model call.
    *Reference*: Hastie, Tibshirani and Friedman (2009), The Elements of Statistical Learning, section 7.10.
    """

    fitted: ClassVar[type[FittedAuto]] = FittedAuto
    reads: ClassVar[Reads] = "all"

    @property
    def factors(self) -> int:
        """Those of the largest that may be chosen."""
        return max(registry.load("estimator", name)().factors for name in AMONG)

    def fit(self, labels: Labels, target: Features | None, pool: Features, *, seed: int) -> FittedAuto:
        """Chooses, and fits what was chosen."""
        refuse_other_rows(labels, target, pool)
        estimators = {name: registry.load("estimator", name)() for name in AMONG}
        trials = cross_validate(estimators, labels, target, pool, seed=seed)
        choice = Choice.of(trials, instead=AMONG[0])
        return _auto(choice, estimators[choice.name].fit(labels, target, pool, seed=seed), trials.flops)


def _auto(choice: Choice, chosen: Fitted, tried: int) -> FittedAuto:
    return (UnsureAuto if isinstance(chosen, Unsure) else FittedAuto)(choice, chosen, tried)


def _percent(share: float) -> str:
    return f"{round(100 * share)} %"
