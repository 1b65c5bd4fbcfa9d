"""What is said of labels: how many pairs get an exact influence, and by which design they are spread."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isqrt
from typing import Literal, cast, get_args

from nncift.errors import ConfigError
from nncift.registry import did_you_mean

NamedDesign = Literal["block", "stripes", "spread", "cross"]
"""The designs that are drawn without a fitted estimator."""
AskedDesign = Literal["block", "stripes", "spread", "cross", "adaptive"]
"""The designs that can be asked for by name."""
DesignKind = Literal["all", "block", "stripes", "pointwise", "spread", "cross", "adaptive"]
"""How the labels lie in the kernel; `all` and `pointwise` follow from the budget and from the influence."""
Price = Literal["pair", "row"]
"""What an exact influence costs: something for every pair, or something for every row and column and nothing for the pairs
between them."""

PER_CANDIDATE = 5
"""Labels of a candidate where not all can have some: they share one encoded prefix, which fewer would waste, and more would
leave other candidates unseen."""
_AUTO_PER_CANDIDATE = 10
_AUTO_SHARE = 0.05
_AUTO_ALL = 400  # so few pairs are labelled in a minute, and 5 % of them would teach nothing
_AUTO_POINTWISE = 64  # a tenth of fewer would not measure anything
_FORMS = (
    "Valid forms: all, 5% (of the pairs), 2000 (pairs), u=5% (of the targets times the same of the pool), 5000calls (of the "
    "language model), 600s, 10min or 2h (of labelling), auto."
)
_SECONDS = {"s": 1, "min": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class LabelBudget:
    """How many pairs to label, as the user said it.

    Attributes:
        kind: `auto`, `all`, `share` of the pairs, `count` of pairs, `block` (a share of either axis, the paper's u), `calls`
            of the language model (a backward pass is two), or `seconds` of labelling.
        amount: the share in (0, 1], or the number of pairs, calls or seconds; 0 where the kind needs none.
    """

    kind: Literal["auto", "all", "share", "count", "block", "calls", "seconds"]
    amount: float = 0.0

    def design(self, m: int, *, priced: Price = "pair") -> DesignKind:
        """How the pairs lie in a kernel of m targets where no design is asked for by name."""
        if self.kind == "all":
            return "all"
        if m == 1:
            return "pointwise"
        return "block" if self.kind == "block" or priced == "row" else "stripes"

    def pairs(self, m: int, n: int) -> int:
        """How many pairs are asked for in a kernel of m targets and n candidates, before any is ruled out.

        Raises:
            ConfigError: more are asked for than the kernel has, or what a pair costs has to be known.
        """
        if self.kind in ("calls", "seconds"):
            raise ConfigError(
                f"labels in {self.kind} take an influence whose price is known, as in `nncift select`. Say a number of pairs "
                "or a percentage here."
            )
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
            targets, candidates = self.sides(m, n)
            return targets * candidates
        if self.kind == "share":
            return max(1, round(self.amount * m * n))
        if m == 1:
            return min(n, max(_AUTO_POINTWISE, round(_AUTO_SHARE * n)))
        if m * n <= _AUTO_ALL:
            return m * n
        return min(_AUTO_PER_CANDIDATE * n, max(1, round(_AUTO_SHARE * m * n)))

    def sides(self, m: int, n: int) -> tuple[int, int]:
        """Targets and candidates of the block that is meant: at least two of either, where there are two."""
        if self.kind == "block":
            candidates = min(n, max(2, round(self.amount * n)))
            return (1 if m == 1 else max(2, round(self.amount * m))), candidates
        total = self.pairs(m, n)
        targets = min(m, max(2, isqrt(total)))
        candidates = min(n, max(2, -(-total // targets)))
        if self.kind == "auto":
            candidates = max(candidates, min(n, _AUTO_POINTWISE))
        return min(m, max(targets, -(-total // candidates))), candidates


def parse_labels(text: str | int | None) -> LabelBudget:
    """Reads how many pairs to label.

    Args:
        text: `all`; `5%` of the pairs; `2000` (or the int) pairs; `u=5%` of the targets times 5 % of the pool, the
            paper's block; `5000calls` of the language model, a backward pass counting as two; `600s`, `10min` or `2h` of
            labelling; None or `auto` for as many as it takes (`estimator.schedule`), and where labels are not drawn in
            rounds for 10 per candidate or 5 % of the pairs, whichever is fewer (all where there are at most 400 pairs; a
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
    if (
        priced := re.fullmatch(r"(?P<number>\d{1,15}(\.\d*)?|\.\d+)\s*(?P<unit>calls?|s|min|h)", word, re.ASCII)
    ) is not None:
        return _priced(text, float(priced["number"]), priced["unit"])
    match = re.fullmatch(
        r"(?P<block>u\s*=\s*)?(?P<number>[+-]?(\d{1,15}(\.\d*)?|\.\d+))\s*(?P<percent>%)?", word, re.ASCII
    )
    whole = match is not None and re.fullmatch(r"[+-]?\d+", match["number"]) is not None
    if match is None or (not match["percent"] and (match["block"] or not whole)):
        raise ConfigError(f"labels is {text!r}, which cannot be read. {_FORMS}")
    return _in_range(text, float(match["number"]), percent=bool(match["percent"]), block=bool(match["block"]))


def _priced(text: str | int, number: float, unit: str) -> LabelBudget:
    """So many calls, or so much time."""
    if number <= 0 or (unit not in _SECONDS and number != int(number)):
        raise ConfigError(f"labels is {text!r}: calls are a whole number, and nothing is labelled for none. {_FORMS}")
    return LabelBudget("seconds", number * _SECONDS[unit]) if unit in _SECONDS else LabelBudget("calls", number)


def _in_range(text: str | int, number: float, *, percent: bool, block: bool) -> LabelBudget:
    if number <= 0:
        raise ConfigError(f"labels is {text!r}: at least one pair must be labelled. {_FORMS}")
    if percent and number > 100:
        raise ConfigError(f"labels is {text!r}: there are no more than 100 %. {_FORMS}")
    if not percent:
        return LabelBudget("count", number)
    return LabelBudget("block" if block else "share", number / 100)


def parse_design(text: str) -> AskedDesign:
    """Reads the name of a label design.

    Args:
        text: `block` (random candidates times random targets), `stripes` (about five targets for each candidate that is
            used), `spread` (every candidate and every target equally often), `cross` (some targets with all candidates
            and some candidates with all targets) or `adaptive` (stripes, continued where an estimator is least sure).

    Raises:
        ConfigError: no design has this name; the nearest is suggested.
    """
    known = get_args(AskedDesign)
    word = text.strip().lower() if isinstance(text, str) else ""
    if word in known:
        return cast(AskedDesign, word)
    raise ConfigError(f"the label design is {text!r}, which does not exist. {did_you_mean(word, known)}")
