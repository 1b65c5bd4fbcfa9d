"""A run that is decided and not begun: its rows, influence, objective, axes and pairs, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from nncift.config import LabelConfig, SelectConfig
from nncift.data.rows import Pool, keys_of, raw_of
from nncift.data.views import join
from nncift.embed.precomputed import Role
from nncift.estimator.budget import DesignKind, LabelBudget, parse_labels
from nncift.estimator.schedule import Schedule
from nncift.influence.base import Asked, Calls, Influence, calls_of, files_read, work
from nncift.objective.base import Objective, Rule
from nncift.pipeline.allowance import Allowance
from nncift.pipeline.drawing import draw_pairs, plain_design
from nncift.pipeline.inputs import Axes, kernel_shape
from nncift.pipeline.journal import Pairs
from nncift.pipeline.making import influence_key, make_estimator
from nncift.pipeline.route import Route, choose_route, refuse_entries
from nncift.pipeline.served import is_behind_server
from nncift.pipeline.twins import Twins
from nncift.redact import redacted
from nncift.run import lists_key

_FACTORS = 512  # numbers a row of an estimator that does not say

_CHEAP = 0.1  # of what labelling every pair takes: so much may reading every row add


@dataclass(frozen=True, slots=True)
class Setup:
    """A run that is decided and not begun.

    Attributes:
        config: the options.
        pool, target, existing: as loaded, in source order.
        influence: the teacher.
        objective: the set function, None where only labels are wanted.
        why: how the objective was chosen, in words.
        axes: rows and columns of the kernels.
        allowance: what the subset may hold, None where only labels are wanted.
        labels: how many pairs to label.
        pairs: (i, j) of the pairs to label, sorted by (j, i), drawn by the seed; None for a free influence, whose exact
            values need no list, and for an estimator of another run that no label checks. In rounds those of the first, until
            all are known; for a budget in seconds a few, until the pace is.
        exact: whether no estimator is needed: every pair is labelled, or the influence is free.
        difficulty: what the subset is cut into phases by, None where it is not.
        rounds: how many labels there are after each round; None where all are drawn at once.
        twins: the near-copies that the pool was loaded with; None where they stay.
    """

    config: LabelConfig | SelectConfig
    pool: Pool
    target: Pool | None
    existing: Pool | None
    influence: Influence
    objective: Objective | Rule | None
    why: str
    axes: Axes
    allowance: Allowance | None
    labels: LabelBudget
    pairs: Pairs | None
    exact: bool
    difficulty: Influence | None
    rounds: Schedule | None = None
    twins: Twins | None = None

    @property
    def budget(self) -> int:
        """Rows to choose at most, 0 where only labels are wanted."""
        return self.allowance.rows if self.allowance else 0

    def pools(self) -> list[tuple[Role, Pool]]:
        """The pools that there are, with their roles."""
        every: tuple[tuple[Role, Pool | None], ...] = (
            ("pool", self.pool),
            ("target", self.target),
            ("existing", self.existing),
        )
        return [(role, pool) for role, pool in every if pool is not None]

    @property
    def asked(self) -> Asked:
        """The size of the question that is put to the influence."""
        columns = len(self.axes.columns)
        if self.pairs is None:
            return Asked(len(self.axes.helped), columns, self.open_pairs, columns)
        return self.asked_of(self.pairs)

    def asked_of(self, pairs: Pairs) -> Asked:
        """The size of a question of other pairs."""
        i, j = pairs
        targets = len(np.unique(i)) if self.influence.traits.pairwise else len(self.axes.helped)
        return Asked(targets, len(np.unique(j)), len(i), len(self.axes.columns))

    @property
    def open_pairs(self) -> int:
        """How many pairs can have a label."""
        rows, columns = kernel_shape(self.axes)
        return rows * columns - len(self.axes.masked)

    def draw(self, count: int) -> Pairs:
        """So many pairs by the design of the run, all at once."""
        priced, design = self.influence.traits.priced, plain_design(self.config.design)
        return draw_pairs(LabelBudget("count", count), self.axes, self.config.seed, priced=priced, design=design)

    def labelled(self, pairs: Pairs) -> Setup:
        """The same run when it is known which pairs it labels."""
        return replace(self, pairs=pairs, exact=len(pairs[0]) == self.open_pairs)

    @property
    def design(self) -> DesignKind:
        """How the labels lie among the pairs."""
        usual = self.labels.design(kernel_shape(self.axes)[0], priced=self.influence.traits.priced)
        plain = plain_design(self.config.design)
        if self.config.design == "adaptive" and self.rounds is not None:
            return "adaptive"
        return usual if plain is None or usual in ("all", "pointwise") else plain

    @property
    def factors(self) -> int:
        """Numbers a row, at most, in the factors that kernels are computed from; 0 where these are the embeddings."""
        if self.exact or not isinstance(self.config, SelectConfig):
            return 0
        return getattr(make_estimator(self.config.estimator, hidden=self.config.hidden), "factors", _FACTORS)

    @property
    def route(self) -> Route:
        """Whether kernels are stored or evaluated line by line, and why.

        Raises:
            ConfigError: they do not fit.
        """
        asked = self.config.backend if isinstance(self.config, SelectConfig) else "dense"
        whole = ""
        if isinstance(self.objective, Rule) and self.objective.needs_whole:
            whole = f"`{self.objective.name}` needs the whole kernel at once"
        elif self.exact and self.labels.kind == "all" and self.pairs is not None:
            whole = "every pair has a label"
        elif self.exact and not getattr(self.influence, "inner_product", False):
            whole = f"`{self.influence.traits.name}` is no inner product that could be kept in factors"
        if isinstance(self.config, SelectConfig) and self.objective is not None:
            rows = self.axes.n if self.objective.needs_pool else self.axes.m
            refuse_entries(rows, min(self.config.entries, self.axes.n), self.config.threads)
        return choose_route(self.axes, asked, whole=whole, factors=self.factors)

    @property
    def reads_states(self) -> bool:
        """Whether the estimator reads the language model's states of the rows, a forward for each; a server gives none."""
        return self.wants_states and not is_behind_server(self.config)

    @property
    def wants_states(self) -> bool:
        """Whether it would."""
        config = self.config
        if self.exact or not isinstance(config, SelectConfig) or config.features == "embedding":
            return False
        if getattr(make_estimator(config.estimator, hidden=config.hidden), "reads", "all") != "all":
            return False
        return config.features == "states" or _CHEAP * work(self.calls(self.all_asked)) >= self.readable

    @property
    def readable(self) -> int:
        """Rows of different content that the estimator reads."""
        keys = keys_of(join(self.axes.rows, self.axes.columns))
        return int((keys.first == np.arange(len(keys))).sum())

    @property
    def all_asked(self) -> Asked:
        """The size of the question where every pair is labelled."""
        return replace(self, pairs=None).asked

    def calls(self, asked: Asked) -> Calls:
        """Language-model calls for a question, with every language model of the run."""
        once = calls_of(self.influence, asked)
        times = max(1, len(self.config.model))
        return Calls(once.forwards * times, once.backwards * times)

    def depends(self) -> dict[str, Any]:
        """What the labels depend on, but for the models."""
        drawn: Any = (
            "all" if self.pairs is None else sha256(b"".join(axis.tobytes() for axis in self.pairs)).hexdigest()
        )
        if self.rounds is not None:  # which pairs follow from these
            drawn = self.rounds.record() | {"design": self.config.design, "seed": self.config.seed}
        depends = {
            "influence": influence_key(self.config.influence, self.influence),
            "options": redacted(self.config.teacher_options()) | files_read(self.influence),
            "rows": self.axes.fingerprint,
            "targets": self.axes.m,
            "pool": self.axes.n,
            "pairs": drawn,
            "beside": len(self.axes.beside),
            "max_length": self.config.max_length,
        }
        if self.influence.traits.reads_columns:
            rows = join(self.axes.columns, self.axes.helped)
            depends["columns"] = lists_key({"raw": (repr(raw_of(rows, k)) for k in range(len(rows)))})
        if not self.config.takes_over and (within := parse_labels(self.config.labels)).kind == "seconds":
            depends["within"] = within.amount
        return depends | ({"seed": self.config.seed} if self.influence.traits.seeded else {})
