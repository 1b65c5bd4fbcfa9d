"""Numbers as people read them in tables."""

from __future__ import annotations

from nncift.experiment.tables.pooling import End
from nncift.experiment.tables.published import PERCENT
from nncift.experiment.tables.writing import DASH


def metric_words(metric: str) -> str:
    """A metric with its unit and the direction that is better."""
    if metric.startswith(PERCENT):
        return f"{metric} %"
    return {"judge": "judge 1-5", "loss": "loss (lower is better)"}.get(metric, metric)


def score(value: float | None, metric: str, *, signed: bool = False) -> str:
    """A score: shares of 1 in per cent."""
    if value is None:
        return DASH
    scale, digits = (100, 1) if metric.startswith(PERCENT) else (1, 2 if metric == "judge" else 3)
    return f"{scale * value:{'+' if signed else ''}z.{digits}f}"


def with_ends(value: float | None, ends: End, metric: str, *, signed: bool = False) -> str:
    """A score and its interval."""
    text = score(value, metric, signed=signed)
    if ends is None or value is None:
        return text
    return f"{text} [{', '.join(score(end, metric, signed=signed) for end in ends)}]"


def quantity(value: float | None, unit: str = "") -> str:
    """Three digits with a prefix: 1.23 T."""
    if value is None:
        return DASH
    for power, prefix in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M")):
        if abs(value) >= 10**power:
            return f"{value / 10**power:.3g} {prefix}{unit}"
    return f"{value:,.0f} {unit}".strip()


def seconds(value: float | None) -> str:
    """Seconds: tenths where they are few."""
    return DASH if value is None else f"{value:,.{1 if abs(value) < 100 else 0}f}"


def share(value: float | None) -> str:
    """A share of 1 in per cent."""
    return DASH if value is None else f"{value:z.1%}"


def mean_error(mean: float, error: float | None, *, squared: bool = False) -> str:
    """A mean and its standard error: three decimals, and of squared errors, which can be tiny, three digits."""
    form, rough = ("#.3g", ".1g") if squared else ("z.3f", ".3f")
    return f"{mean:{form}}" + ("" if error is None else f" ± {error:{rough}}")
