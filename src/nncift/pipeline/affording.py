"""How many pairs a budget in calls or in seconds buys: the most whose price fits."""

from __future__ import annotations

from collections.abc import Callable

from nncift.errors import ConfigError
from nncift.estimator.budget import LabelBudget
from nncift.influence.base import Asked, Calls, Influence, work
from nncift.pipeline.journal import Pairs

_FINE = 1000  # of the pairs found, by which they may fall short of the most: a draw for each halving costs time


def affordable(draw: Callable[[int], Pairs], price: Callable[[Pairs], float], amount: float, most: int) -> int:
    """How many pairs cost at most `amount`; a larger amount never buys fewer, and 0 is none.

    Args:
        draw: so many pairs, as they will be labelled.
        price: of drawn pairs, rising with their number.
        amount: in the unit of the price.
        most: pairs that there are.

    *Cost*: some twenty draws.
    """
    low, high = 0, 1
    while high < most and price(draw(high)) <= amount:
        low, high = high, min(2 * high, most)
    if high == most and price(draw(most)) <= amount:
        return most
    while high - low > max(1, low // _FINE):
        middle = (low + high) // 2
        if price(draw(middle)) <= amount:
            low = middle
        else:
            high = middle
    return low


def buy_calls(
    budget: LabelBudget,
    influence: Influence,
    draw: Callable[[int], Pairs],
    asked: Callable[[Pairs], Asked],
    calls: Callable[[Asked], Calls],
    *,
    most: int,
) -> LabelBudget:
    """The pairs that so many language-model calls buy, a backward pass counting as two.

    Raises:
        ConfigError: the influence makes no calls, or these do not reach for a pair.
    """
    name = influence.traits.name
    if not influence.traits.needs_model:
        raise ConfigError(
            f"labels: the influence `{name}` calls no language model, so that calls say nothing. Say a number of pairs, a "
            "percentage, or a time such as 10min."
        )

    def price(pairs: Pairs) -> float:
        return work(calls(asked(pairs)))

    count = affordable(draw, price, budget.amount, most)
    if count == 0:
        raise ConfigError(
            f"labels: {budget.amount:,.0f} calls are too few for one exact influence of `{name}`, which takes "
            f"{price(draw(1)):,.0f}. Raise them."
        )
    return LabelBudget("count", count)
