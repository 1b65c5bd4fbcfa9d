"""The pace of requests, on a clock that the test winds, and work in threads."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from nncift.lm.sending import RateLimit, arriving


class FakeClock:
    """Time that passes only where somebody sleeps, as if every sleeper were alone."""

    def __init__(self, *, lazy: float = 1.0) -> None:
        self.now, self.slept, self.lazy = 100.0, 0.0, lazy

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Some sleep is shorter than asked for (`lazy` below 1)."""
        assert seconds > 0
        self.now += max(seconds * self.lazy, 1e-6)
        self.slept += seconds * self.lazy


@pytest.mark.parametrize(("per_minute", "lazy"), [(30, 1.0), (7, 1.0), (7, 0.6), (0.5, 1.0)])
def test_requests_leave_evenly_and_never_faster_than_the_limit(per_minute: float, lazy: float) -> None:
    clock = FakeClock(lazy=lazy)
    limit = RateLimit(per_minute, clock=clock, sleep=clock.sleep)
    left = []
    for _ in range(17):
        limit.wait()
        left.append(clock())
    assert left[0] == 100.0  # the first goes at once
    gaps = [later - sooner for sooner, later in itertools.pairwise(left)]
    assert min(gaps) >= 60 / per_minute - 1e-3
    assert left[-1] - left[0] == pytest.approx(16 * 60 / per_minute, abs=0.01)


def test_time_that_was_not_used_is_not_saved_up() -> None:
    clock = FakeClock()
    limit = RateLimit(60, clock=clock, sleep=clock.sleep)
    limit.wait()
    clock.now += 1000
    limit.wait()
    assert clock.slept == 0
    limit.wait()
    assert clock.slept == pytest.approx(1)


def test_without_a_limit_nobody_waits() -> None:
    clock = FakeClock()
    limit = RateLimit(0, clock=clock, sleep=clock.sleep)
    for _ in range(100):
        limit.wait()
    assert clock.slept == 0


def test_threads_share_one_limit() -> None:
    limit = RateLimit(60 / 0.03)
    left: list[float] = []

    def work(number: int) -> None:
        limit.wait()
        left.append(time.monotonic())

    list(arriving(work, 9, threads=4, stop=threading.Event()))
    assert max(left) - min(left) >= 8 * 0.03 - 0.02


@pytest.mark.parametrize(("count", "threads"), [(0, 3), (1, 3), (11, 1), (11, 3), (3, 11)])
def test_every_piece_arrives_once_in_the_callers_thread(count: int, threads: int) -> None:
    together, most, lock = [0], [0], threading.Lock()

    def work(number: int) -> int:
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
        time.sleep(0.002)
        with lock:
            together[0] -= 1
        return number * number

    arrived = list(arriving(work, count, threads=threads, stop=threading.Event()))
    assert sorted(arrived) == [(number, number * number) for number in range(count)]
    assert most[0] <= threads


def test_after_the_stop_nothing_new_begins_and_what_is_under_way_arrives() -> None:
    stop, begun = threading.Event(), []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.01)
        return number

    arrived = []
    for number, _ in arriving(work, 50, threads=3, stop=stop):
        arrived.append(number)
        if len(arrived) == 4:
            stop.set()
    assert sorted(arrived) == sorted(begun) and 4 <= len(begun) < 25


def test_an_error_in_a_thread_is_the_callers_and_ends_the_work() -> None:
    stop = threading.Event()

    def work(number: int) -> int:
        if number == 2:
            raise KeyError("the third")
        return number

    with pytest.raises(KeyError, match="the third"):
        list(arriving(work, 1000, threads=1, stop=stop))
    assert stop.is_set()


def test_a_caller_who_leaves_stops_the_work() -> None:
    stop, begun = threading.Event(), []

    walk = arriving(begun.append, 1000, threads=1, stop=stop)
    assert next(walk)[0] == 0
    walk.close()
    assert stop.is_set()
