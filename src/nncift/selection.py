"""The answer: which rows, in which order, why, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int
from numpy import ndarray

from nncift.config import budget_text, parse_budget
from nncift.data.frames import some_rows
from nncift.data.rows import Example, Pool, ids_of, numbers_of
from nncift.data.views import take
from nncift.handing.card import write_card
from nncift.handing.finished import Finished
from nncift.handing.writing import hand_over
from nncift.objective.base import Kernels
from nncift.objective.functions import SetFunction
from nncift.objective.ranking import rest_rule


@dataclass(frozen=True, slots=True)
class Picks:
    """A ranking of candidates with its reasons.

    Attributes:
        order: int [k], positions in the pool sorted by id, best first.
        gains: float64 [k], what each pick added to the objective when it was made.
        reasons: one sentence per pick.
        positive: how many picks had a gain above zero.
        merit: what ordered the others.
        kept: how many picks, all at the head, were there before anything was chosen.
        phases: int [k], 1 for the easiest rows, where the subset was cut into phases of rising difficulty.
    """

    order: Int[ndarray, " k"]
    gains: Float[ndarray, " k"]
    reasons: tuple[str, ...]
    positive: int
    merit: str
    kept: int = 0
    phases: Int[ndarray, " k"] | None = None

    @property
    def rest_rule(self) -> str:
        """What ordered the picks without a positive gain, in words."""
        return rest_rule(self.kept + self.positive, len(self.order), self.merit)

    def head(self, budget: int) -> Picks:
        """The first `budget` picks: a greedy ranking's prefix is the smaller selection."""
        return replace(
            self,
            order=self.order[:budget],
            gains=self.gains[:budget],
            reasons=self.reasons[:budget],
            positive=max(0, min(self.positive, budget - self.kept)),
            kept=min(self.kept, budget),
            phases=None if self.phases is None else self.phases[:budget],
        )


@dataclass(frozen=True, slots=True)
class Influences:
    """All influences of a run, exact ones and estimated ones alike.

    Attributes:
        values: float32 [n, m], `values[j, i]` the influence of pool row j on target row i; NaN where both have the same
            text. A pool row that cannot be scored has the lowest of each column.
        targets: the m target rows; none for a pointwise influence, whose one column stands for every target.
        pool: the n pool rows, sorted by id.
    """

    values: Float[ndarray, "n m"]
    targets: Sequence[Example]
    pool: Sequence[Example]


@dataclass(frozen=True, slots=True)
class Inside:
    """What a choice rests on, for whoever wants to picture it; no call of the language model is made for it.

    Attributes:
        rows: the m target rows of the kernel; none for a pointwise influence.
        targets: the target rows of the user's own, whose vectors come first in `embeddings/rows.npy`; none where the pool is
            its own target, or nothing reads one.
        shape: (n, m) of the kernel.
        kernels: gives the kernels, which are filled when they are first asked for.
        function: gives the set function that was maximised; None for a rule, which is none.
    """

    rows: Sequence[Example]
    targets: Sequence[Example]
    shape: tuple[int, int]
    kernels: Callable[[], Kernels]
    function: Callable[[], SetFunction | None]


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen rows in rank order.

    Attributes:
        pool: the pool it was chosen from, in source order.
        picks: ranking, gains, reasons; positions refer to the pool sorted by id.
        objective: name of the set function.
        fidelity: how well the estimator agrees with held-out labels; None where every influence is exact.
        costs: counters and seconds by stage, and what the exact influences would have taken.
        facts: how the objective was chosen, and the share of picks (and of rows) that had an exact label.
        notes: caps, truncations and fallbacks of the run.
        subset: the file of the chosen rows, or the folder of their shards; None after `resize`, which writes none.
        folder: the run folder.
        ranker: ranks any number of rows on the kernels of this run, without a call of the language model.
        influences: gives every influence of a pool row on a target row, exact or estimated, without a call either.
        inside: rows, kernels and set function behind the ranking.
        learning: the learning curve, where labels were drawn in rounds (`learning.json`).
        given: the table that was passed as the pool; None where it was a file.
    """

    pool: Pool
    picks: Picks
    objective: str
    fidelity: dict[str, Any] | None
    costs: dict[str, Any]
    facts: dict[str, Any]
    notes: dict[str, str]
    subset: Path | None
    folder: Path
    ranker: Callable[[int], Picks]
    influences: Callable[[], Influences]
    inside: Inside
    learning: dict[str, Any] | None = None
    given: Any = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.picks.order)

    @property
    def examples(self) -> Sequence[Example]:
        """The chosen examples, best first; those of a large file are read when they are asked for."""
        return take(self.pool.examples, self.pool.order[self.picks.order])

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the chosen rows, best first."""
        return tuple(ids_of(self.examples))

    @property
    def indices(self) -> list[int]:
        """0-based row numbers in the source, rejected rows counted, best first: what `datasets.Dataset.select` takes."""
        return numbers_of(self.examples).tolist()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The chosen rows as they came, best first."""
        return [json.loads(row.raw) if isinstance(row.raw, bytes) else row.raw for row in self.examples]

    def as_input(self) -> Any:
        """The chosen rows in the type of the pool that was passed, best first: a pandas or polars data frame, an Arrow table, a
        `datasets.Dataset`, with all their columns and types; otherwise a list of rows, those of a file as mappings."""
        found = None if self.given is None else some_rows(self.given, self.indices)
        return self.rows if found is None else found

    @property
    def gains(self) -> Float[ndarray, " k"]:
        """What each pick added to the objective when it was made."""
        return self.picks.gains

    @property
    def reasons(self) -> tuple[str, ...]:
        """One sentence per pick."""
        return self.picks.reasons

    @property
    def phases(self) -> list[int] | None:
        """The phase of each row, 1 the easiest; None where none were asked for, or a larger selection has no more."""
        return None if self.picks.phases is None else self.picks.phases.tolist()

    def resize(self, budget: int | float | str) -> Selection:
        """The selection of another size: smaller ones are prefixes, larger ones continue the ranking; no influence is
        computed again, and the run folder stays as it is.

        Args:
            budget: rows (175), a share of the usable rows (0.05), or text ("5%").

        Raises:
            ConfigError: it is no row at all, or more than the pool.
        """
        rows = parse_budget(budget_text(budget), len(self.pool))
        picks = self.picks.head(rows) if rows <= len(self) else self.ranker(rows)
        return replace(self, picks=picks, subset=None)

    def export(self, folder: str | Path, *, trainer: str = "trl", shard_rows: int = 0, card: bool = False) -> Path:
        """Writes the chosen rows in a trainer's format, and the piece of its configuration that reads them.

        Rows that the format cannot hold go to `TRAINER.rejected.jsonl` with the reason; one warning counts them.

        Args:
            folder: where the files go.
            trainer: `trl`, `axolotl`, `llamafactory`, `torchtune`, `litgpt`, or a mere format: `alpaca`, `sharegpt`,
                `messages`.
            shard_rows: at most so many rows a shard, in a folder of the trainer's name; 0 for one file.
            card: whether to write a dataset card too, `README.md`.

        Returns:
            The file of rows that was written, or the folder of their shards.

        Raises:
            ConfigError: the trainer is unknown, or reads no shards.
            DataError: its format can hold none of the rows.
            RunError: the folder is a run folder; or, with a card, the run is not what it was.
        """
        told = {"trainer": trainer, "name": self.folder.name, "source": self.pool.source}
        handed = hand_over(self.examples, Path(folder), **told, shard_rows=shard_rows)
        if card:
            write_card(Finished.at(self.folder), handed)
        return handed.data

    def summary(self) -> dict[str, Any]:
        """The run in plain values: what `nncift select --json` prints."""
        return {
            "rows": len(self),
            "of": len(self.pool),
            "rejected": len(self.pool.rejected),
            "objective": self.objective,
            "why": self.facts["objective"],
            "positive_gains": self.picks.positive,
            "rest": self.picks.rest_rule,
            "picks_with_labels": self.facts.get("picks_with_labels"),
            "rows_with_labels": self.facts.get("rows_with_labels"),
            "fidelity": self.fidelity["sentence"] if self.fidelity else None,
            "learning": self.learning,
            "costs": self.costs,
            "notes": self.notes,
            "subset": None if self.subset is None else str(self.subset),
            "folder": str(self.folder),
        }

    def __str__(self) -> str:
        return f"{len(self):,} of {len(self.pool):,} rows by {self.objective}, in {self.folder}"
