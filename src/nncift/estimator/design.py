"""Which pairs get an exact influence: the designs by name, and continuing one."""

from __future__ import annotations

import logging

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.estimator.budget import DesignKind, LabelBudget, Price
from nncift.estimator.cross import cross
from nncift.estimator.openings import Openings, PairList, Pairs, by_count, fewest_that_hold, find_openings
from nncift.estimator.shares import spread, stripes

logger = logging.getLogger(__name__)


def pairs_to_label(
    budget: LabelBudget,
    m: int,
    n: int,
    *,
    masked: PairList = (),
    rng: np.random.Generator,
    priced: Price = "pair",
    design: DesignKind | None = None,
    among: Int[ndarray, "c"] | None = None,
    taken: Pairs | None = None,
) -> Pairs:
    """Draws the pairs whose exact influence is computed.

    Designs:
        `block`: every pair of random candidates with random targets (at least two of either). `u=` says the share of either
            axis; any other budget is the block of at least so many pairs with the fewest rows: about as many candidates as
            targets, or all targets where there are fewer. For influences whose rows cost, and the paper's choice.
        `stripes`: each candidate that is used gets about five labels (as many as there are targets when those are fewer; more
            once every candidate is used), on different targets, and all targets get equally many, give or take one. For
            influences that share work between the pairs of a candidate.
        `spread`: random pairs, of which all candidates and all targets get equally many, give or take one.
        `cross`: landmark targets with all candidates and landmark candidates with all targets, about half of the pairs
            each; at the end of either arm one landmark may meet only some.

    Rounds: with `taken`, what is balanced is the union of all rounds. In `stripes` the targets stay equal, and candidates
    with no label, then those with the fewest, are used first; in `spread` whatever has the fewest labels gets the next ones,
    and the targets stay equal, give or take one, as long as the labels leave most pairs free (one more where a candidate
    and a target that both lack a label have met already); a `block` and a `cross` grow.

    Args:
        budget: how many new pairs; a share is one of the whole kernel.
        m: targets; 1 for a pointwise influence, of whose candidates a plain random sample is drawn.
        n: candidates.
        masked: pairs (i, j) that are never labelled, in any order; pairs outside the kernel are an error.
        rng: what is drawn from.
        priced: what costs; decides where no design is named.
        design: how the pairs lie; None for `block` where the budget is `u=` or rows cost, and `stripes` elsewhere.
        among: int [c], candidates that may be labelled; None for all. The others are withheld.
        taken: targets i and candidates j of the pairs that have a label from earlier rounds and are not drawn again.

    Returns:
        i, j: int32 [L], sorted by (j, i), no pair twice. L is `budget.pairs(m, n)` (a whole block may hold a few more) less
        what masked, taken and withheld pairs make impossible; a warning says how many that is.

    Raises:
        ConfigError: more pairs are asked for than exist, none is left, or the design does not fit the budget.

    *Cost*: O(L + n + m + masked + taken) but for a few repairs of the balance, each of as much.
    """
    asked = budget.pairs(m, n)
    kind = _checked(design, budget, m, priced)
    openings = find_openings(m, n, masked=masked, taken=taken, among=among)
    if asked >= len(openings):
        keys = openings.every()
    elif kind == "block":
        keys = _block(budget, asked, openings, rng)
    elif kind == "cross":
        keys = cross(asked, openings, rng)
    elif kind == "spread":
        keys = spread(asked, openings, rng)
    else:
        keys = stripes(asked, openings, rng)
    if len(keys) == 0:
        raise ConfigError(_nothing_left(taken, among))
    if len(keys) < asked:
        why = " or ".join(["masked"] + ["labelled already"] * (taken is not None) + ["withheld"] * (among is not None))
        logger.warning("%d of the %d pairs to label are %s and stay without a label", asked - len(keys), asked, why)
    keys = np.sort(keys)
    return (keys % m).astype(np.int32), (keys // m).astype(np.int32)


def _checked(design: DesignKind | None, budget: LabelBudget, m: int, priced: Price) -> DesignKind:
    """The design that is meant, where it fits."""
    if m == 1 or design is None:
        return budget.design(m, priced=priced)
    if design == "adaptive":
        raise ConfigError(
            "the label design `adaptive` continues from labels by a fitted estimator. Say stripes or spread."
        )
    if design == "all" and budget.kind != "all":
        raise ConfigError("the label design `all` is meant by labels: all. Say that, or name another design.")
    if design == "pointwise":
        raise ConfigError(f"the label design `pointwise` needs one target, and there are {m}. Say stripes or spread.")
    return design


def _nothing_left(taken: Pairs | None, among: Int[ndarray, "c"] | None) -> str:
    if taken is None and among is None:
        return "labels: every pair that could be labelled has the same text on both sides. Use other targets."
    return (
        "labels: every pair that may be labelled has a label already or is masked. Withhold fewer candidates, or stop."
    )


def _block(budget: LabelBudget, asked: int, openings: Openings, rng: np.random.Generator) -> Int[ndarray, "L"]:
    """The open pairs of a random block; one of earlier rounds grows, because its rows are paid for."""
    m, columns = openings.m, openings.columns
    if openings.column_count[columns].any():
        return _grown_block(asked, openings, rng)
    whole = budget.kind == "block" or len(columns) == openings.n
    targets, candidates = budget.sides(m, openings.n) if whole else LabelBudget("count", asked).sides(m, len(columns))
    chosen = columns[rng.choice(len(columns), min(candidates, len(columns)), replace=False)]
    keys = (chosen[:, None] * m + rng.choice(m, targets, replace=False)[None, :]).ravel()
    keys = keys[openings.is_open(keys)]
    return keys if len(keys) else _grown_block(asked, openings, rng)  # it fell on nothing but masked pairs


def _grown_block(asked: int, openings: Openings, rng: np.random.Generator) -> Int[ndarray, "L"]:
    """The smallest block with at least `asked` open pairs that starts from the rows and columns that have labels."""
    m, columns = openings.m, openings.columns
    rows = by_count(np.minimum(openings.row_count, 1), rng)
    columns = columns[by_count(np.minimum(openings.column_count[columns], 1), rng)]

    def block(size: int) -> Int[ndarray, "q"]:
        targets, candidates = LabelBudget("count", size).sides(m, len(columns))
        return (columns[:candidates, None] * m + rows[None, :targets]).ravel()

    return fewest_that_hold(asked, openings, block)
