"""Embedding in shards: blocks of texts go to workers that each hold the encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from numpy import ndarray

from nncift.embed.base import Embedder
from nncift.embed.cache import encode_block
from nncift.embed.choose import load_embedder
from nncift.embed.precomputed import Precomputed
from nncift.embed.sentence import SentenceEmbedder
from nncift.errors import RunError
from nncift.ledger import Ledger
from nncift.run import Work
from nncift.scale.executor import Executor, Seat
from nncift.scale.tally import Bill, Spent, Tally


@dataclass(frozen=True, slots=True)
class LoadEncoder:
    """Makes the encoder of a worker.

    Attributes:
        name: as the user named it.
        device: where the worker names none.
        fingerprint: of the encoder here, which the worker's must be.
    """

    name: str
    device: str
    fingerprint: str

    def __call__(self, seat: Seat) -> tuple[Embedder, Tally]:
        """Loads it, beside what counts.

        Raises:
            RunError: another one has the same name on the worker's machine.
        """
        embedder = load_embedder(self.name, device=seat.device or self.device)
        assert not isinstance(embedder, Precomputed)
        if embedder.fingerprint != self.fingerprint:
            raise RunError(
                f"the embedder {self.name!r} is another one on a worker's machine than here: its files differ. Put the same "
                "files on every machine of the cluster."
            )
        tally = Tally(here=seat.here)
        if isinstance(embedder, SentenceEmbedder):
            embedder.ledger = tally.ledger
            embedder.load()  # not two at a time, by threads that encode
        return embedder, tally


def encode(state: tuple[Embedder, Tally], texts: list[str], shared: Any) -> tuple[dict[str, ndarray], Spent]:
    """A shard of embedding, as executors do it: the arrays of a block, and what it took."""
    embedder, tally = state
    return encode_block(embedder, texts), tally.take()


class SpreadEncoder:
    """Encodes blocks of texts by the workers of an executor; made for one call of `embed_cached`.

    Args:
        executor: has the workers.
        load: makes their encoders.
        ledger: where what they do is counted.
    """

    def __init__(self, executor: Executor, load: LoadEncoder, ledger: Ledger) -> None:
        self._executor, self._load, self._ledger = executor, load, ledger
        self._bill = Bill()

    def __call__(self, blocks: Iterable[list[str]]) -> Iterator[dict[str, ndarray]]:
        """The arrays of each block, in order."""
        with closing(self._executor.crew(self._load)) as crew:
            for arrays, spent in crew.each(encode, blocks):
                self._ledger.add(Ledger(**spent.costs))
                self._bill.add(spent)
                yield arrays

    def tell(self, done: Work) -> None:
        """Tells the stage."""
        self._bill.tell(done, self._executor)


def spread_encoder(
    executor: Executor, embedder: Embedder | Precomputed, device: str, ledger: Ledger
) -> SpreadEncoder | None:
    """What encodes the texts of a run in shards; None where one worker does all in this thread, or nothing is encoded."""
    if isinstance(embedder, Precomputed) or executor.name == "serial":
        return None
    return SpreadEncoder(executor, LoadEncoder(embedder.name, device, embedder.fingerprint), ledger)
