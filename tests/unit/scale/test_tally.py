"""What a worker spends is told once, and to the stage that it was spent for."""

from __future__ import annotations

import time

from nncift.run import Work
from nncift.scale.executor import open_executor
from nncift.scale.tally import Bill, Tally


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))


def test_counters_are_told_from_one_shard_to_the_next() -> None:
    tally = Tally(here=True)
    tally.ledger.lm_forwards = 5
    assert tally.take().costs["lm_forwards"] == 5
    tally.ledger.lm_forwards += 2
    found = tally.take()
    assert found.costs["lm_forwards"] == 2 and sum(found.costs.values()) == 2 and found.peak > 1e6
    assert sum(tally.take().costs.values()) == 0


def test_processor_seconds_are_those_that_the_asking_process_does_not_see() -> None:
    here, away = Tally(here=True), Tally(here=False)
    burn(0.05)
    assert here.take().cpu_seconds == 0 and 0.05 <= away.take().cpu_seconds < 5
    assert away.take().cpu_seconds < 0.05
    assert here.take(elsewhere=3).cpu_seconds == 3 and here.take(elsewhere=4).cpu_seconds == 1


def test_a_bill_is_paid_once() -> None:
    executor, bill, away = open_executor("threads", workers=2), Bill(), Tally(here=False)
    burn(0.02)
    bill.add(away.take())
    bill.add(away.take())
    first, second = Work(), Work()
    bill.tell(first, executor)
    bill.tell(second, executor)
    assert first.facts["shards"] == {
        "executor": "threads",
        "workers": 2,
        "shards": 2,
        "peak_memory": first.facts["shards"]["peak_memory"],
    }
    assert first.facts["shards"]["peak_memory"] > 1e6 and first.cpu_elsewhere >= 0.02
    assert second.facts == {} and second.cpu_elsewhere == 0
