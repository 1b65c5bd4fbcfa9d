"""Greedy maximisation of a set function under limits: one entry for all optimisers, and what follows when gains run out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.kernel.compiled import cores
from nncift.kernel.lines import DenseLines
from nncift.objective.functions import Chosen, SetFunction
from nncift.objective.lazy import lazy, lazy_dense
from nncift.objective.limits import Limits, Room
from nncift.objective.optimisers import naive, stochastic, threshold
from nncift.objective.picks import Picked
from nncift.objective.problem import Coverage, CoverageProblem
from nncift.objective.ranking import Ranking
from nncift.objective.sparse import SparseCoverage
from nncift.objective.spread import Spread, worth_sending
from nncift.seeds import generator

Optimizer = Literal["auto", "naive", "lazy", "stochastic", "threshold"]
"""The optimisers by name; `auto` is lazy where gains never grow and cost something, naive elsewhere."""


@dataclass(frozen=True, slots=True)
class Search:
    """How a choice is searched for.

    Attributes:
        optimizer: its name.
        epsilon: in (0, 1), what `stochastic` and `threshold` may lose of the guarantee.
        seed: of what `stochastic` draws.
        parts: random parts of the candidates that are searched one by one, and their picks together; 1 for none.
        threads: at most so many at once; 0 means all cores. The ranking does not depend on it.
        spread: workers elsewhere who search the parts; the ranking does not depend on them.
    """

    optimizer: Optimizer = "auto"
    epsilon: float = 0.1
    seed: int = 0
    parts: int = 1
    threads: int = 0
    spread: Spread | None = None

    def __post_init__(self) -> None:
        if self.parts < 1:
            raise ConfigError(f"parts is {self.parts}; it must be 1 or more.")
        if not 0 < self.epsilon < 1:
            raise ConfigError(f"epsilon is {self.epsilon}; it must lie between 0 and 1.")


def greedy(
    function: SetFunction,
    budget: float | Limits,
    *,
    rest: Float64[ndarray, " n"],
    search: Search | None = None,
    ties: Int64[ndarray, " n"] | None = None,
) -> Ranking:
    """Ranks candidates by their marginal gain, each step taking the largest; ties go to the lowest index.

    Where candidates have a cost, the choice by gain per cost and the one by gain alone are both made and the better one
    is taken. Once no gain is positive a coverage has nothing more to say: what is left follows `rest`, largest first, of
    equal ones by `ties`; the gain recorded is still the true one.

    Args:
        function: what to maximise.
        budget: how many candidates, or every limit; more than there are means all of them.
        rest: float64 [n], finite; the order of merit once no gain is positive, usually the mean influence.
        search: the optimiser; None for exact greedy.
        ties: int64 [n], a rank of each candidate among equals of `rest`; None for the lowest index.

    Raises:
        ConfigError: a limit is wrong, `rest` has another length or holds numbers that are not finite, or the optimiser
            needs a function of another kind.
        ModelError: the kernel holds numbers that are not finite (the message names candidates by position).

    *Cost*: lazy: one pass over the kernel, then some 25 to 35 gains of r terms per pick; memory 40 bytes per candidate.
    *Reference*: Nemhauser, Wolsey and Fisher 1978 (at least 1 − 1/e of the optimum where f is monotone and submodular);
    Minoux 1978 (lazy greedy); Leskovec et al. 2007 (the better of both for costs: (1 − 1/e) / 2 of the optimum).
    """
    limits = budget if isinstance(budget, Limits) else Limits(budget)
    search = search or Search()
    if rest.shape != (function.size,) or not np.isfinite(rest).all():
        raise ConfigError(
            f"rest has shape {rest.shape}; {function.size} finite numbers are needed, one for each candidate."
        )
    found = _ranking(function, limits, search, np.ones(function.size), rest, ties)
    if limits.cost is not None:
        by_cost = _ranking(function, limits, search, limits.cost, rest, ties)
        if function.value(by_cost.order) >= function.value(found.order):
            found = replace(by_cost, evaluations=found.evaluations + by_cost.evaluations)
    return found


def _ranking(
    function: SetFunction,
    limits: Limits,
    search: Search,
    weight: Float64[ndarray, " n"],
    rest: Float64[ndarray, " n"],
    ties: Int64[ndarray, " n"] | None,
) -> Ranking:
    """The choice by gain per weight, and what follows it."""
    kept = [] if limits.kept is None else limits.kept.tolist()
    covered = function.problem if isinstance(function, SparseCoverage) else function
    worth = covered.worth if isinstance(covered, CoverageProblem) else None
    scores = worth if isinstance(function, CoverageProblem) and not function.rows else None
    if scores is not None:
        merit, chosen, picked = scores / weight, function.begin(search.threads), Picked()
    elif search.parts > 1:
        merit, (chosen, picked) = rest, _in_parts(function, limits, search, weight)
    else:
        merit, (chosen, picked) = rest, _chosen(function, limits, search, weight)
    room, positive, before = Room(limits, function.size), len(picked.order), picked.before
    for j in kept + picked.order:
        room.take(j)
    order = np.arange(function.size) if ties is None else ties
    left = room.fitting()
    follow = left[np.lexsort((order[left], -merit[left]))]
    if limits.plain:
        follow = follow[: int(room.left[0])]
    else:
        follow = np.array([j for j in follow.tolist() if room.fits(j) and room.take(j)], dtype=np.int64)
    if scores is not None:
        before, added = scores[kept].tolist(), scores[follow]
        positive = int((added > 0).sum())
    elif worth is not None and not (worth < 0).any():
        added = np.zeros(len(follow))  # no gain is positive, and none can be negative
    else:
        added = np.array([_add(chosen, j) for j in follow.tolist()])
    return Ranking(
        np.concatenate([np.array(kept + picked.order, dtype=np.int64), follow]),
        np.concatenate([before, picked.added, added]),
        positive,
        ("mean influence" if scores is None else "their own score")
        + (", then the lowest id" if ties is None else ", then a drawn order"),
        kept=len(kept),
        optimizer=search.optimizer,
        evaluations=picked.evaluations,
    )


def _chosen(
    function: SetFunction,
    limits: Limits,
    search: Search,
    weight: Float64[ndarray, " n"],
    among: Int64[ndarray, " a"] | None = None,
) -> tuple[Chosen, Picked]:
    """What an optimiser picks behind the kept candidates, of all or of some."""
    chosen, room = function.begin(search.threads), Room(limits, function.size)
    kept = [] if limits.kept is None else limits.kept.tolist()
    before = [_add(chosen, j) for j in kept]
    for j in kept:
        room.take(j)
    if among is not None:
        room.open &= np.isin(np.arange(function.size), among)
    picked = _run(function, search, chosen, room, weight)
    picked.before = before
    return chosen, picked


def _run(function: SetFunction, search: Search, chosen: Chosen, room: Room, weight: Float64[ndarray, " n"]) -> Picked:
    name, stop = search.optimizer, function.exhaustible
    if name == "auto":
        name = "lazy" if function.submodular and chosen.batch < chosen.size else "naive"
    if name == "naive":
        return naive(chosen, room, weight, stop=stop)
    if not function.submodular or (name == "threshold" and not function.exhaustible):
        raise ConfigError(f"the optimiser `{name}` is not sound for this objective. Use --optimizer naive or auto.")
    if name == "stochastic":
        rng = generator(search.seed, "optimizer")
        return stochastic(chosen, room, weight, stop=stop, epsilon=search.epsilon, rng=rng)
    if name == "threshold":
        return threshold(chosen, room, weight, epsilon=search.epsilon)
    if isinstance(chosen, Coverage) and isinstance(chosen.problem.lines, DenseLines):
        return lazy_dense(chosen, chosen.problem.lines.values, room, weight, stop=stop)
    return lazy(chosen, room, weight, stop=stop)


def _in_parts(
    function: SetFunction, limits: Limits, search: Search, weight: Float64[ndarray, " n"]
) -> tuple[Chosen, Picked]:
    """The best of what is picked from each random part, and from all their picks together.

    *Reference*: Barbosa et al. 2015, The Power of Randomization: (1 − 1/e) / 2 of the optimum in expectation.
    """
    part = generator(search.seed, "parts").integers(search.parts, size=function.size)
    one = replace(search, parts=1, threads=1, spread=None)
    members = (np.flatnonzero(part == which) for which in range(search.parts))
    if search.spread is not None and isinstance(function, CoverageProblem) and worth_sending(function.lines):
        pieces = (_Part.of(function, limits, one, weight, some) for some in members)
        found = list(search.spread.each(_search_part, pieces))
    else:
        with ThreadPoolExecutor(search.threads or cores()) as executor:
            found = list(executor.map(lambda some: _chosen(function, limits, one, weight, some)[1], members))
    union = np.array(sorted({j for picked in found for j in picked.order}), dtype=np.int64)
    chosen, picked = _chosen(function, limits, search, weight, union)
    found.append(picked)
    kept = [] if limits.kept is None else limits.kept.tolist()
    values = [function.value(np.array(kept + picked.order, dtype=np.int64)) for picked in found]
    best = max(range(len(found)), key=lambda at: (values[at], at))  # of equal ones the union
    found[best].evaluations = sum(picked.evaluations for picked in found)
    if best < search.parts:
        chosen = function.begin(search.threads)
        for j in kept + found[best].order:
            chosen.add(j)
    return chosen, found[best]


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the candidates, which holds nothing of the others.

    Attributes:
        function: of its candidates and the kept ones.
        limits: of these.
        search: how.
        weight: of these.
        which: positions of these among all, ascending.
    """

    function: CoverageProblem
    limits: Limits
    search: Search
    weight: Float64[ndarray, " k"]
    which: Int64[ndarray, " k"]

    @classmethod
    def of(
        cls,
        function: CoverageProblem,
        limits: Limits,
        search: Search,
        weight: Float64[ndarray, " n"],
        some: Int64[ndarray, " a"],
    ) -> _Part:
        """Of some candidates."""
        which = some if limits.kept is None else np.union1d(some, limits.kept)
        return cls(function.only(which), limits.only(which), search, weight[which], which)


def _search_part(part: _Part) -> Picked:
    """What is picked from a part, by positions among all."""
    _, picked = _chosen(part.function, part.limits, part.search, part.weight)
    return replace(picked, order=part.which[picked.order].tolist() if picked.order else [])


def _add(chosen: Chosen, candidate: int) -> float:
    """Chooses a candidate; what it added."""
    added = float(chosen.gains(np.array([candidate]))[0])
    chosen.add(candidate)
    return added
