"""Which selection rule a run follows: what the user named, else what the task asks for, else what belongs to the influence."""

from __future__ import annotations

from nncift import registry
from nncift.config import SelectConfig, named_values
from nncift.errors import ConfigError
from nncift.influence.base import Influence
from nncift.objective.base import Objective, Rule
from nncift.pipeline.asking import with_options


def choose_objective(config: SelectConfig, influence: Influence) -> tuple[Objective | Rule, str]:
    """The set function: what the user named, else what the task asks for, else what belongs to the influence.

    Raises:
        ConfigError: task and files contradict each other, or the influence is pointwise and the objective is not.
    """
    name, why = config.objective, "as asked"
    if name is None:
        name, why = _objective_of_task(config, influence)
    options = named_values(config.objective_option, "--objective-option")
    objective = with_options(
        registry.load("objective", name), options, what=f"the objective `{name}`", flag="--objective-option"
    )
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


def _objective_of_task(config: SelectConfig, influence: Influence) -> tuple[str, str]:
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
    return rule, f"{'coverage of' if rule == 'facility-location' else 'by'} {where}"
