"""What a fitted estimator says of itself, for the record of a run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from nncift.estimator.auto import FittedAuto
from nncift.estimator.base import Fitted, Unsure
from nncift.pipeline.features import Readable
from nncift.pipeline.inputs import Axes, kernel_shape


def facts_of(fitted: Fitted, seen: Readable, axes: Axes) -> dict[str, Any]:
    """Which estimator was chosen among which, and how well candidates' means are known, where it says so."""
    return _choice(fitted) | _candidate_means(fitted, seen, axes)


def _choice(fitted: Fitted) -> dict[str, Any]:
    """Which estimator was chosen among which, and by how much, where one was."""
    return {"choice": asdict(fitted.choice)} if isinstance(fitted, FittedAuto) else {}


def _candidate_means(fitted: Fitted, seen: Readable, axes: Axes) -> dict[str, Any]:
    """How far the candidates' mean influences lie apart, and how well they are known, where the estimator says so."""
    rows, pool = kernel_shape(axes)[0], seen.columns.take(np.arange(axes.n))
    if not isinstance(fitted, Unsure) or rows > axes.m:  # it is sure of means over all rows, the pool's among them
        return {}
    spread = float(fitted.kernel(seen.rows, pool).candidate_means().std())
    return {"candidate_means": {"spread": spread, "sd": float(np.median(fitted.candidate_sd(pool)))}}
