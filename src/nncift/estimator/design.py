"""Which pairs get an exact influence: how many, and spread how."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import isqrt
from typing import Literal

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.errors import ConfigError

logger = logging.getLogger(__name__)

DesignKind = Literal["all", "block", "stripes", "pointwise"]
Price = Literal["pair", "row"]
"""What an exact influence costs: something for every pair, or something for every row and column and nothing for the pairs
between them."""
Pairs = tuple[Int[ndarray, "L"], Int[ndarray, "L"]]

PER_CANDIDATE = 10  # labels that share one encoded prefix; fewer waste the prefix, more leave other candidates unseen
_AUTO_SHARE = 0.05
_AUTO_ALL = 400  # so few pairs are labelled in a minute, and 5 % of them would teach nothing
_AUTO_POINTWISE = 64  # a tenth of fewer would not measure anything
_FORMS = "Valid forms: all, 5% (of the pairs), 2000 (pairs), u=5% (of the targets times the same of the pool), auto."


@dataclass(frozen=True, slots=True)
class LabelBudget:
    """How many pairs to label, as the user said it.

    Attributes:
        kind: `auto`, `all`, `share` of the pairs, `count` of pairs, or `block` (a share of either axis, the paper's u).
        amount: the share in (0, 1], or the number of pairs; 0 where the kind needs none.
    """

    kind: Literal["auto", "all", "share", "count", "block"]
    amount: float = 0.0

    def design(self, m: int, *, priced: Price = "pair") -> DesignKind:
        """How the pairs lie in a kernel of m targets."""
        if self.kind == "all":
            return "all"
        if m == 1:
            return "pointwise"
        return "block" if self.kind == "block" or priced == "row" else "stripes"

    def pairs(self, m: int, n: int) -> int:
        """How many pairs are asked for in a kernel of m targets and n candidates, before any is ruled out.

        Raises:
            ConfigError: more are asked for than the kernel has.
        """
        if self.kind == "count":
            if self.amount > m * n:
                raise ConfigError(
                    f"labels: {int(self.amount)} pairs are asked for, but {m} targets times {n} candidates are only "
                    f"{m * n}. Say `all`, or fewer."
                )
            return int(self.amount)
        if self.kind == "all":
            return m * n
        if self.kind == "block":
            targets, candidates = _block_sides(self.amount, m, n)
            return targets * candidates
        if self.kind == "share":
            return max(1, round(self.amount * m * n))
        if m == 1:
            return min(n, max(_AUTO_POINTWISE, round(_AUTO_SHARE * n)))
        if m * n <= _AUTO_ALL:
            return m * n
        return min(PER_CANDIDATE * n, max(1, round(_AUTO_SHARE * m * n)))


def parse_labels(text: str | int | None) -> LabelBudget:
    """Reads how many pairs to label.

    Arguments:
        text: `all`; `5%` of the pairs; `2000` (or the int) pairs; `u=5%` of the targets times 5 % of the pool, the
            paper's block; None or `auto` for 10 labels per candidate or 5 % of the pairs, whichever is fewer (all
            where there are at most 400 pairs; a
            pointwise influence: 5 % of the pool, at least 64).

    Raises:
        ConfigError: it has none of these forms, or is zero, negative or above 100 %.
    """
    if text is None:
        return LabelBudget("auto")
    if isinstance(text, bool) or not isinstance(text, (str, int)):
        raise ConfigError(f"labels is {text!r}, which is no number of pairs. {_FORMS}")
    word = str(text).strip().lower()
    if word in ("all", "auto"):
        return LabelBudget(word)
    match = re.fullmatch(
        r"(?P<block>u\s*=\s*)?(?P<number>[+-]?(\d{1,15}(\.\d*)?|\.\d+))\s*(?P<percent>%)?", word, re.ASCII
    )
    whole = match is not None and re.fullmatch(r"[+-]?\d+", match["number"]) is not None
    if match is None or (not match["percent"] and (match["block"] or not whole)):
        raise ConfigError(f"labels is {text!r}, which cannot be read. {_FORMS}")
    return _in_range(text, float(match["number"]), percent=bool(match["percent"]), block=bool(match["block"]))


def _in_range(text: str | int, number: float, *, percent: bool, block: bool) -> LabelBudget:
    if number <= 0:
        raise ConfigError(f"labels is {text!r}: at least one pair must be labelled. {_FORMS}")
    if percent and number > 100:
        raise ConfigError(f"labels is {text!r}: there are no more than 100 %. {_FORMS}")
    if not percent:
        return LabelBudget("count", number)
    return LabelBudget("block" if block else "share", number / 100)


def pairs_to_label(
    budget: LabelBudget,
    m: int,
    n: int,
    *,
    masked: Iterable[tuple[int, int]] | Int[ndarray, "p 2"] = (),
    rng: np.random.Generator,
    priced: Price = "pair",
) -> Pairs:
    """Draws the pairs whose exact influence is computed.

    `u=` labels every pair of a random share of the candidates with the same share of the targets (at least two of
    either). Where rows are what costs, every other budget is the block of at least so many pairs with the fewest rows:
    about as many candidates as targets, or all targets where there are fewer. Where pairs are what costs, it is dealt
    out in stripes: each candidate that is used gets about ten labels (as many as
    there are targets when those are fewer; more once every candidate is used), on different targets, and all targets
    get equally many, give or take one.

    Arguments:
        budget: how many, and in which design.
        m: targets; 1 for a pointwise influence, of whose candidates a plain random sample is drawn.
        n: candidates.
        masked: pairs (i, j) that are never labelled; pairs outside the kernel are an error.
        rng: what is drawn from.
        priced: what costs.

    Returns:
        i, j: int32 [L], sorted by (j, i), no pair twice. L is `budget.pairs(m, n)` (a whole block may hold a few more) less
        what the mask makes impossible; a warning says how many that is.

    Raises:
        ConfigError: more pairs are asked for than exist, or none is left.

    *Cost*: O(L + n + m) in stripes.
    """
    asked = budget.pairs(m, n)
    mask = _mask_keys(masked, m, n)
    if budget.design(m, priced=priced) == "block" and asked < m * n - len(mask):
        keys = _block(*_sides(budget, m, n), m, n, rng)
        keys = keys[~np.isin(keys, mask)]
    elif asked >= m * n - len(mask):
        keys = np.setdiff1d(np.arange(m * n), mask, assume_unique=True)
    else:
        keys = _stripes(asked, m, n, mask, rng)
    if len(keys) == 0:
        raise ConfigError(
            "labels: every pair that could be labelled has the same text on both sides. Use other targets."
        )
    if len(keys) < asked:
        logger.warning("%d of the %d pairs to label are masked and stay without a label", asked - len(keys), asked)
    keys = np.sort(keys)
    return (keys % m).astype(np.int32), (keys // m).astype(np.int32)


def _mask_keys(masked: Iterable[tuple[int, int]] | Int[ndarray, "p 2"], m: int, n: int) -> Int[ndarray, "p"]:
    """The masked pairs as sorted keys j·m + i, each once."""
    pairs = np.asarray(masked if isinstance(masked, ndarray) else list(masked), dtype=np.int64).reshape(-1, 2)
    i, j = pairs[:, 0], pairs[:, 1]
    if np.any((i < 0) | (i >= m) | (j < 0) | (j >= n)):
        raise ConfigError(f"a masked pair lies outside the kernel of {m} targets and {n} candidates.")
    return np.unique(j * m + i)


def _block_sides(share: float, m: int, n: int) -> tuple[int, int]:
    """Targets and candidates of a block: at least two of either, where there are two."""
    candidates = min(n, max(2, round(share * n)))
    return (1 if m == 1 else max(2, round(share * m))), candidates


def _sides(budget: LabelBudget, m: int, n: int) -> tuple[int, int]:
    """Targets and candidates of the block that a budget means."""
    if budget.kind == "block":
        return _block_sides(budget.amount, m, n)
    total = budget.pairs(m, n)
    targets = min(m, max(2, isqrt(total)))
    candidates = min(n, max(2, -(-total // targets)))
    if budget.kind == "auto":
        candidates = max(candidates, min(n, _AUTO_POINTWISE))
    return min(m, max(targets, -(-total // candidates))), candidates


def _block(targets: int, candidates: int, m: int, n: int, rng: np.random.Generator) -> Int[ndarray, "L"]:
    columns = rng.choice(n, candidates, replace=False)
    rows = rng.choice(m, targets, replace=False)
    return (columns[:, None] * m + rows[None, :]).ravel()


def _stripes(total: int, m: int, n: int, mask: Int[ndarray, "p"], rng: np.random.Generator) -> Int[ndarray, "L"]:
    """Deals shuffled decks of the targets to the candidates; what one cannot take goes to the next one first."""
    candidates, degrees = _degrees(total, m, n, mask, rng)
    forbidden: dict[int, set[int]] = {}
    for key in mask.tolist():
        forbidden.setdefault(key // m, set()).add(key % m)
    deck: deque[int] = deque()
    keys: list[int] = []
    for candidate, degree in zip(candidates.tolist(), degrees.tolist(), strict=True):
        barred = forbidden.get(candidate, set())
        taken: set[int] = set()
        left: list[int] = []
        while len(taken) < degree:
            if not deck:
                deck.extend(rng.permutation(m).tolist())
            target = deck.popleft()
            if target in taken or target in barred:
                left.append(target)
            else:
                taken.add(target)
        deck.extendleft(reversed(left))
        keys.extend(candidate * m + target for target in taken)
    return np.asarray(keys, dtype=np.int64)


def _degrees(total: int, m: int, n: int, mask: Int[ndarray, "p"], rng: np.random.Generator) -> Pairs:
    """The candidates that get labels, in random order, and how many each gets: as equal as the mask allows."""
    order = rng.permutation(n)
    room = m - np.bincount(mask // m, minlength=n)[order]
    reach = np.cumsum(room)
    used = max(total // min(PER_CANDIDATE, m), int(np.searchsorted(reach, total)) + 1)
    used = min(n, used)
    room = room[:used]
    degrees = np.zeros(used, dtype=np.int64)
    while (missing := total - int(degrees.sum())) > 0:
        open_ = np.flatnonzero(degrees < room)
        share, rest = divmod(missing, len(open_))
        degrees[open_] += np.minimum(share, room[open_] - degrees[open_])
        if share == 0:
            degrees[open_[:rest]] += 1
    return order[:used], degrees
