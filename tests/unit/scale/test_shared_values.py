"""Shards of a kernel's candidates are whole by themselves: whoever walks over them or searches them finds the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from nncift.kernel.corrected import CorrectedKernel
from nncift.kernel.deep import DeepKernel
from nncift.kernel.factorised import FactorisedKernel
from nncift.kernel.lines import ClosedLines, Lines, SomeLines
from nncift.kernel.lowrank import LowRankKernel
from nncift.objective.base import Kernels
from nncift.objective.coverage import FacilityLocation
from nncift.objective.greedy import Search, greedy
from nncift.objective.limits import Limits
from nncift.objective.spread import shards
from nncift.objective.survey import survey
from nncift.run import Work
from nncift.scale.executor import open_executor
from nncift.scale.sending import Sender

N, M, R = 61, 13, 5


def matrix(seed: int, rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def low_rank() -> LowRankKernel:
    rng = np.random.default_rng(1)
    return LowRankKernel(0.25, rng.standard_normal(M), rng.standard_normal(N), matrix(2, M, R), matrix(3, N, R))


def corrected() -> CorrectedKernel:
    rng = np.random.default_rng(4)
    at = rng.choice(N * M, 70, replace=False)
    masked = np.stack([at[60:] % M, at[60:] // M], axis=1)
    return CorrectedKernel(low_rank(), at[:60] % M, at[:60] // M, rng.standard_normal(60), masked)


LINES: dict[str, Callable[[], Lines]] = {
    "low rank": lambda: low_rank().lines(),
    "network": lambda: FactorisedKernel(matrix(5, N, R), matrix(6, M, R), matrix(7, 1, R)[0], 0.1).lines(),
    "deep": lambda: DeepKernel(
        matrix(5, N, R), matrix(6, M, R), (matrix(8, 4, R),), (matrix(9, 1, 4)[0],), matrix(7, 1, 4)[0], 0.1
    ).lines(),
    "corrected": lambda: corrected().lines(),
    "closed": lambda: ClosedLines(corrected().lines(), np.arange(N) % 9 == 4),
    "some": lambda: SomeLines(corrected().lines(), np.random.default_rng(0).permutation(N)[:47]),
}


class Away:
    """Workers elsewhere: what they are sent shares no memory with what is here."""

    workers = 2

    def __init__(self) -> None:
        self.sent = 0

    def each(self, do: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.sent += 1
            yield do(item)


@pytest.mark.parametrize("name", LINES)
def test_picked_lines_are_the_lines(name: str) -> None:
    lines = LINES[name]()
    n = lines.shape[0]
    which = np.random.default_rng(2).permutation(n)[: n // 3]
    picked = lines.pick(which)
    assert picked.shape == (len(which), M)
    np.testing.assert_array_equal(picked.take(np.arange(len(which))), lines.take(which))
    again = picked.pick(np.array([3, 1]))
    np.testing.assert_array_equal(again.take(np.array([1, 0])), lines.take(which[[1, 3]]))


@pytest.mark.parametrize("name", LINES)
def test_a_survey_in_shards_is_the_survey(name: str) -> None:
    lines, away = LINES[name](), Away()
    alone, spread = survey(lines), survey(lines, spread=away)
    assert away.sent == len(shards(lines.shape[0], 2)) == 8
    for field in ("sums", "counts", "best", "lowest", "highest"):
        np.testing.assert_array_equal(getattr(spread, field), getattr(alone, field), err_msg=field)


def limits() -> list[Limits]:
    rng = np.random.default_rng(3)
    group = rng.integers(0, 3, N)
    return [
        Limits(9),
        Limits(7, kept=np.array([50, 3]), closed=np.array([0, 11, 20])),
        Limits(14.0, cost=rng.uniform(1, 3, N), kept=np.array([8])),
        Limits(12, group=group, quota=np.array([2, 3, 4])),
    ]


@pytest.mark.parametrize("limit", limits(), ids=["plain", "kept", "cost", "groups"])
def test_parts_that_are_sent_are_searched_alike(limit: Limits) -> None:
    kernels = Kernels(corrected().lines(), masked=corrected().masked)
    function, away = FacilityLocation().problem(kernels), Away()
    alone = greedy(function, limit, rest=kernels.means, search=Search(parts=3))
    sent = greedy(function, limit, rest=kernels.means, search=Search(parts=3, spread=away))
    assert away.sent in (3, 6)  # with costs by gain per cost too
    np.testing.assert_array_equal(sent.order, alone.order)
    np.testing.assert_array_equal(sent.gains, alone.gains)
    assert (sent.positive, sent.kept) == (alone.positive, alone.kept)


def test_stored_lines_stay_here() -> None:
    away = Away()
    kernels = Kernels.dense(matrix(1, N, M))
    greedy(FacilityLocation().problem(kernels), 5, rest=kernels.means, search=Search(parts=3, spread=away))
    survey(kernels.target, spread=away)
    assert away.sent == 0


def test_a_sender_says_what_it_sent() -> None:
    sender = Sender(lambda: open_executor("threads", workers=2))
    done = Work()
    sender.tell(done)
    assert not done.facts
    alone = survey(corrected().lines())
    found = survey(corrected().lines(), spread=sender)
    np.testing.assert_array_equal(found.sums, alone.sums)
    sender.tell(done)
    told = done.facts.pop("shards")
    assert (told["executor"], told["workers"], told["shards"]) == ("threads", 2, 8) and told["peak_memory"] > 0
    assert done.cpu_elsewhere == 0  # threads of this process, whose own clock counts them
    sender.tell(done)
    assert not done.facts
    sender.close()
