"""What cells spent, read from their ledgers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nncift.experiment.tables.cells import Experiment, Fact

STAGES = ("embed", "pace", "label", "states", "estimate", "select", "write")
"""Stages of a run in their order; `pace` measures how fast labelling goes, warm-up training is in `label`."""

_LABELLING = ("embed", "states", "pace", "label")


@dataclass(frozen=True, slots=True)
class Spent:
    """What one run took, as if no label had been found computed.

    Attributes:
        stages: stage -> counter -> value.
        total: counter -> value over all stages; `peak_memory` is the highest.
        labels: exact influences; None where the record does not say.
        reused: share of the labels that an earlier run had computed; what they took is told from the rest.
    """

    stages: dict[str, dict[str, float]]
    total: dict[str, float]
    labels: int | None
    reused: float

    @property
    def known(self) -> bool:
        """Whether what labels took is known: not where all of them were found computed."""
        return self.reused < 1

    @property
    def embedded(self) -> bool:
        """Whether texts were embedded where embeddings were needed; else they were found computed, or given."""
        return "embed" not in self.stages or self.stages["embed"].get("encoder_forwards", 0) > 0

    def after_labels(self) -> float:
        """Seconds of what follows embedding and labelling: training, predicting and choosing."""
        return sum(found["seconds"] for stage, found in self.stages.items() if stage not in _LABELLING)


def ledger_facts(experiment: Experiment) -> Iterator[Fact]:
    """What every `select` cell spent. Cells of `label` do not know what was lent to them, and choose nothing."""
    for cell in experiment.done("select"):
        found = spent(cell.result)
        if found is not None:
            yield Fact(cell.axes, found, cell.name)


def spent(result: Mapping[str, Any]) -> Spent | None:
    """Reads the result of a cell; None where it holds no ledger.

    Labels found computed are counted as `evaluate` counts them: what the others took, scaled to all. Where all were found, what
    they took is not known, and the record's share says so.
    """
    costs = result.get("costs")
    if not costs:
        return None
    stages = costs["stages"] if "stages" in costs else {"label": costs.get("total", costs)}
    stages = {name: {key: float(value) for key, value in found.items()} for name, found in stages.items()}
    exact = costs.get("exact")
    reused = float(exact["not_made"]) if exact else 0.0
    if 0 < reused < 1 and "label" in stages:
        stages["label"] = {
            key: value if key == "peak_memory" else value / (1 - reused) for key, value in stages["label"].items()
        }
    names = dict.fromkeys(key for found in stages.values() for key in found)
    total = {key: sum(found.get(key, 0.0) for found in stages.values()) for key in names}
    if "peak_memory" in names:
        total["peak_memory"] = max(found.get("peak_memory", 0.0) for found in stages.values())
    return Spent(stages, total, _labels(result), reused)


def _labels(result: Mapping[str, Any]) -> int | None:
    """Exact influences: as the result says, else those that the estimator had."""
    if isinstance(result.get("labels"), int):
        return result["labels"]
    fidelity = result.get("fidelity") or {}
    parts = [int(fidelity[name]) for name in ("trained_on", "held_out") if name in fidelity]
    return sum(parts) if len(parts) == 2 else None


def mean_of(facts: Sequence[Fact], counter: str, stage: str | None = None) -> float | None:
    """A counter's mean over the runs of which it is known what they took; None where there is none."""
    told = [fact.value for fact in facts if fact.value.known]
    places = [one.total if stage is None else one.stages.get(stage, {}) for one in told]
    values = [place[counter] for place in places if counter in place]
    return float(np.mean(values)) if values else None
