"""What the last stage of a run depends on: the key under which a subset stands, and by which a folder is known to be whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nncift.config import SelectConfig, named_values
from nncift.objective.base import Objective, Rule
from nncift.pipeline.making import influence_key
from nncift.pipeline.models import Models
from nncift.pipeline.setup import Setup
from nncift.run import StageRecord, content_key

CODE = {"embed": 1, "states": 1, "pace": 1, "label": 1, "estimate": 3, "select": 3, "write": 2}
"""Raised where a stage's code changes its result, so that a run folder of an older version is not taken for done."""


def select_depends(
    setup: Setup, models: Models, config: SelectConfig, objective: Objective | Rule, used: Mapping[str, StageRecord]
) -> dict[str, Any]:
    """All that a subset depends on; `used` are the stages before it."""
    depends = {
        "code": CODE["select"],
        "before": {name: record.key for name, record in used.items()},
        "source": content_key({"ids": setup.pool.ids, "raw": setup.pool.raw_fingerprint}),
        "teacher": setup.depends(),
        "objective": objective.name,
        "objective_options": sorted(named_values(config.objective_option, "--objective-option").items()),
        "why": setup.why,
        "allowed": setup.allowance.record() if setup.allowance else None,
        "search": {
            "optimizer": config.optimizer,
            "epsilon": config.epsilon,
            "parts": config.parts,
            "seed": config.seed,
        }
        | ({"entries": config.entries} if config.entries else {}),
        "eta": config.eta,
        "nu": config.nu,
        "known": config.known,
        "tasks": None if setup.axes.tasks is None else setup.axes.tasks.tolist(),
    }
    if setup.allowance is not None and setup.allowance.tokens is not None:
        depends["tokenizer"] = models.lm_key["models"][0]
    if setup.difficulty is None:
        return depends
    difficulty = setup.difficulty
    depends |= {"phases": config.phases, "difficulty": influence_key(config.difficulty, difficulty)}
    if difficulty.traits.seeded:
        depends["phase_seed"] = config.seed
    return depends | (models.lm_key if difficulty.traits.needs_model else {})
