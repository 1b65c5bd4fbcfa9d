"""One law for every executor: the results of the shards, in their order, from states that are made once a worker."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import two_workers
from nncift.errors import ConfigError, DataError, MissingExtraError, RunError
from nncift.scale import crew as crews
from nncift.scale.actor import Worker
from nncift.scale.executor import Executor, Seat, open_executor
from nncift.version import __version__

SHARDS = 11


@pytest.fixture(scope="module")
def ray_up() -> Iterator[None]:
    with two_workers():
        yield


@pytest.fixture(params=["serial", "threads", "ray"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "ray":
        request.getfixturevalue("ray_up")
    found = open_executor(request.param, workers=2)
    yield found
    found.close()


class Desk:
    """A state that knows who made it."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.made = (os.getpid(), threading.get_ident(), time.monotonic_ns())


def desk(seat: Seat) -> Desk:
    return Desk(seat)


def square(own: Desk, item: int, shared: Any) -> tuple[int, tuple[int, int, int], Any]:
    time.sleep(0.01 * (item % 3))  # so that shards do not end in the order in which they began
    return item * item, own.made, shared


def test_results_come_in_the_order_of_the_shards(executor: Executor) -> None:
    crew = executor.crew(desk)
    found = list(crew.each(square, range(SHARDS), shared="common"))
    crew.close()
    assert [value for value, _, _ in found] == [k * k for k in range(SHARDS)]
    assert {shared for _, _, shared in found} == {"common"}


def test_a_state_is_made_once_for_each_worker_and_kept_for_the_next_call(executor: Executor) -> None:
    crew = executor.crew(desk)
    makers = [{made for _, made, _ in crew.each(square, range(SHARDS))} for _ in range(2)]
    crew.close()
    assert len(makers[0] | makers[1]) <= executor.workers


def test_no_shard_gives_no_result(executor: Executor) -> None:
    assert list(executor.crew(desk).each(square, [])) == []


def test_shards_are_taken_as_workers_get_to_them(executor: Executor) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for k in range(100):
            taken.append(k)
            yield k

    crew = executor.crew(desk)
    results = crew.each(square, items())
    assert next(results)[0] == 0
    assert len(taken) <= 1 + 2 * executor.workers
    results.close()
    assert [value for value, _, _ in crew.each(square, [7, 8])] == [49, 64]  # what was given up comes to nobody
    crew.close()


def refuse(own: Desk, item: int, shared: Any) -> int:
    if item == 3:
        raise DataError("shard 3 is of no use")
    return item


def test_an_error_of_a_shard_is_the_errors_of_the_run(executor: Executor) -> None:
    crew = executor.crew(desk)
    with pytest.raises(DataError, match="shard 3 is of no use"):
        list(crew.each(refuse, range(SHARDS)))
    crew.close()


def nowhere(seat: Seat) -> Desk:
    raise MissingExtraError("thing", "things", "sitting here")


def broken(seat: Seat) -> Desk:
    raise KeyError("a bug")


def test_an_error_of_making_a_state_too(executor: Executor) -> None:
    with pytest.raises(MissingExtraError, match=r'pip install "nncift\[things\]"'):
        list(executor.crew(nowhere).each(square, range(2)))
    with pytest.raises(KeyError, match="a bug"):
        list(executor.crew(broken).each(square, range(2)))


def test_devices_go_round_and_name_threads() -> None:
    found = open_executor("serial", devices=("cpu", "meta"))
    assert (found.name, found.workers) == ("threads", 2)
    crew = found.crew(lambda seat: seat)
    both = threading.Barrier(2)

    def device(seat: Seat, item: int, shared: Any) -> str | None:
        both.wait(timeout=20)
        return seat.device

    assert sorted(map(str, crew.each(device, range(2)))) == ["cpu", "meta"]
    crew.close()


def test_no_state_is_made_while_a_shard_is_done() -> None:
    """Loading a model changes what holds for the whole process, the default number format of torch among it."""
    made, alone = list[int](), list[bool]()

    def make(seat: Seat) -> int:
        time.sleep(0.02)
        made.append(seat.number)
        return seat.number

    def work(own: int, item: int, shared: Any) -> None:
        before = len(made)
        time.sleep(0.2 if item else 0.02)  # the first result is there while others are on their way
        alone.append(len(made) == before)

    crew = open_executor("threads", workers=4).crew(make)
    told = []
    for shards in (1, 3, 9, 9):
        dropped = crew.each(work, range(shards))
        next(dropped)
        dropped.close()  # shards that were begun go on
        told.append(list(made))
    crew.close()
    assert told == [[0], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3]]  # no more than there was work for
    assert all(alone) and len(alone) >= 4


def dying(own: Desk, item: int, shared: Path) -> int:
    """The worker of shard 2 is killed the first time."""
    if item == 2 and not (shared / "died").exists():
        (shared / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return -item


def hopeless(own: Desk, item: int, shared: Path) -> int:
    if item == 2:
        (shared / f"worker-{os.getpid()}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return -item


@pytest.mark.usefixtures("ray_up")
class TestLostWorkers:
    def test_the_shard_of_a_killed_worker_is_done_by_another(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        executor = open_executor("ray", workers=2)
        crew = executor.crew(desk)
        assert list(crew.each(dying, range(SHARDS), shared=tmp_path)) == [-k for k in range(SHARDS)]
        crew.close()
        assert (tmp_path / "died").exists()
        assert "a worker of the Ray cluster was lost" in caplog.text

    def test_what_kills_three_workers_is_given_up(self, tmp_path: Path) -> None:
        crew = open_executor("ray", workers=2).crew(desk)
        with pytest.raises(RunError, match="3 workers of the Ray cluster were lost with the same shard"):
            list(crew.each(hopeless, range(SHARDS), shared=tmp_path))
        crew.close()
        assert len(list(tmp_path.glob("worker-*"))) == 3


def threads_of(own: Desk, item: int, shared: Any) -> str:
    return os.environ["OMP_NUM_THREADS"]


@pytest.mark.usefixtures("ray_up")
def test_two_workers_on_two_cores_take_one_each() -> None:
    crew = open_executor("ray", workers=2).crew(desk)
    assert set(crew.each(threads_of, range(4))) == {"1"}
    crew.close()


def slow(own: Desk, item: int, shared: Path) -> int:
    shared.touch()
    time.sleep(3)
    return item


def quick(own: Desk, item: int, shared: Any) -> int:
    return item


def when(there: Callable[[], Any], then: Callable[[], Any]) -> None:
    """Calls `then` as soon as something is there, however long a busy machine takes."""

    def watch() -> None:
        end = time.monotonic() + 120
        while not there() and time.monotonic() < end:
            time.sleep(0.05)
        then()

    threading.Thread(target=watch, daemon=True).start()


@pytest.mark.usefixtures("ray_up")
def test_a_cluster_without_a_free_processor_is_told_and_a_long_shard_is_not(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import ray

    executor, begun = open_executor("ray", workers=1), tmp_path / "begun"
    crew = executor.crew(desk)
    when(begun.exists, lambda: monkeypatch.setattr(crews, "_PATIENCE", 0.0))  # only the shard takes long
    assert list(crew.each(slow, [1], shared=begun)) == [1] and not caplog.records
    assert crews._PATIENCE == 0
    crew.close()
    monkeypatch.setattr(crews, "_PATIENCE", 1.0)
    holder: Any = ray.remote(Worker).options(num_cpus=2).remote()  # pyright: ignore[reportAttributeAccessIssue]
    ray.get(holder.settle.remote(__version__, sys.path, 1, {}))
    when(lambda: caplog.records, lambda: ray.kill(holder))
    crew = executor.crew(desk)
    assert list(crew.each(quick, [2])) == [2]
    assert [record.message for record in caplog.records] == [
        "no worker is there after 1 s: the Ray cluster may have no free processor"
    ]
    crew.close()
    executor.close()


def test_more_workers_than_there_is_room_for(caplog: pytest.LogCaptureFixture) -> None:
    assert open_executor("ray", workers=5).workers == 2
    assert "5 workers are asked for and the Ray cluster has room for 2" in caplog.text


@pytest.mark.parametrize("name", ["rya", "process", ""])
def test_an_unknown_executor_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown --executor"):
        open_executor(name)


@pytest.mark.parametrize("scheme", ["ray://", "ray:"])
def test_an_address_without_a_cluster_is_told_at_once(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with socket.socket() as taken:  # a port where nobody listens
        taken.bind(("127.0.0.1", 0))
        name = f"{scheme}127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RunError, match=r"no Ray cluster for --executor .*ray start --head"):
            open_executor(name)


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r'pip install "nncift\[ray\]"'):
        open_executor("ray://localhost:10001")
