"""The figures over all repeats: what `nncift fidelity --json` prints, one record for each row of the table."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np

from nncift.estimator.dense import CANDIDATES, PAIRS, Figures
from nncift.rehearsal.gains import BUDGETS
from nncift.rehearsal.judging import Candidates, Judged
from nncift.rehearsal.quadrants import PARTS, Part, Quadrants

Row = tuple[str, str, bool]
"""Design, estimator, and whether `select` would take these."""

BASELINE: Row = ("-", "predict the mean", False)
"""What every estimator is held against; with several designs it has the labels that `select`
would draw, else those of the first."""


class Figure(TypedDict):
    """A mean over repeats with its standard error, None where there is one repeat."""

    mean: float
    se: float | None


class Errors(TypedDict):
    """Squared error in squared label units, and R² against the mean of the labels."""

    mse: Figure | None
    r2: Figure | None


class PartRecord(Errors):
    """One quadrant: how many known pairs it has, how far their influences spread, the errors of the estimator and those of
    guesses."""

    pairs: Figure | None
    sd: Figure | None
    baselines: dict[str, Errors]


class QuadrantsRecord(TypedDict):
    """Errors by whether candidate and target have a label; `low` and `high` are what 0 and 1 are of influences scaled to
    [0, 1], so that an error in these units is `mse / (high - low)²`."""

    low: float
    high: float
    parts: dict[str, PartRecord | None]


class Record(TypedDict):
    """One row; a figure is None where it has no meaning. `learning` has the curve of each repeat whose labels were drawn in
    rounds; `quadrants` is there for all candidates, unless each of them and each target has a label."""

    design: str
    estimator: str
    default: bool
    labels: int
    candidates: Candidates
    mse: Figure | None
    r2: Figure | None
    spearman: Figure | None
    row_spearman: Figure | None
    candidate_spearman: Figure | None
    top30_overlap: Figure | None
    coverage90: Figure | None
    objective_gain: dict[str, Figure | None] | None
    seconds: Figure | None
    learning: list[list[dict[str, Any]]] | None
    quadrants: QuadrantsRecord | None


class Tally:
    """Collects what was judged, repeat by repeat."""

    def __init__(self) -> None:
        self.judged: dict[tuple[Candidates, Row], list[Judged]] = {}

    def add(self, row: Row, found: dict[Candidates, Judged]) -> None:
        """One more repeat of a row."""
        for candidates, judged in found.items():
            self.judged.setdefault((candidates, row), []).append(judged)

    def records(self) -> list[Record]:
        """Those over all candidates first, and in each part the baseline last."""
        order = sorted(self.judged, key=lambda key: (key[0] == "unseen", key[1] == BASELINE))
        return [_record(candidates, row, self.judged[candidates, row]) for candidates, row in order]


def figure(values: list[float | None]) -> Figure | None:
    """Mean and standard error of the repeats that have a value; None where none has."""
    there = np.array([value for value in values if value is not None])
    if not len(there):
        return None
    error = float(there.std(ddof=1) / np.sqrt(len(there))) if len(there) > 1 else None
    return {"mean": float(there.mean()), "se": error}


def _curves(repeats: list[Judged]) -> list[list[dict[str, Any]]] | None:
    curves = [[point.record() for point in one.rounds] for one in repeats if one.rounds is not None]
    return curves or None


def _record(candidates: Candidates, row: Row, repeats: list[Judged]) -> Record:
    design, estimator, default = row
    found = {name: figure([one.figures[name] for one in repeats]) for name in (*PAIRS, *CANDIDATES)}
    gains = [one.gains for one in repeats if one.gains is not None]
    return {
        "design": design,
        "estimator": estimator,
        "default": default,
        "labels": round(float(np.mean([one.labels for one in repeats]))),
        "candidates": candidates,
        "mse": found["mse"],
        "r2": found["r2"],
        "spearman": found["spearman"],
        "row_spearman": found["row_spearman"],
        "candidate_spearman": found["candidate_spearman"],
        "top30_overlap": found["top30_overlap"],
        "coverage90": found["coverage90"],
        "objective_gain": {name: figure([one[name] for one in gains]) for name in BUDGETS} if gains else None,
        "seconds": figure([one.seconds for one in repeats]),
        "learning": _curves(repeats),
        "quadrants": _quadrants([one.quadrants for one in repeats if one.quadrants is not None]),
    }


def _quadrants(repeats: list[Quadrants]) -> QuadrantsRecord | None:
    """Each part over the repeats in which it has pairs."""
    if not repeats:
        return None
    parts = {name: [part for one in repeats if (part := one.parts[name]) is not None] for name in PARTS}
    return {
        "low": repeats[0].low,  # of the whole matrix: the same in all repeats
        "high": repeats[0].high,
        "parts": {name: _part(found) if found else None for name, found in parts.items()},
    }


def _part(repeats: list[Part]) -> PartRecord:
    baselines = {name: _errors([one.baselines[name] for one in repeats]) for name in repeats[0].baselines}
    return {
        "pairs": figure([one.pairs for one in repeats]),
        "sd": figure([one.sd for one in repeats]),
        **_errors([one.estimator for one in repeats]),
        "baselines": baselines,
    }


def _errors(repeats: list[Figures]) -> Errors:
    return {"mse": figure([one["mse"] for one in repeats]), "r2": figure([one["r2"] for one in repeats])}
