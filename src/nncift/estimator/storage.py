"""Keeps a fitted estimator in one safetensors file."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from nncift.errors import ConfigError, RunError
from nncift.estimator.base import Estimator, Fitted
from nncift.plain import DAMAGE

_FORMAT = "nncift-estimator-2"
_MEND = "Do the run again (nncift run RUN/recipe.yaml): only the estimator is fitted anew."


def save(fitted: Fitted, path: Path, *, features: str) -> None:
    """Writes an estimator; the same estimator gives the same bytes.

    Args:
        features: fingerprint of what made the features that it reads.
    """
    record = {"format": _FORMAT, "kind": fitted.kind, "features": features} | fitted.record()
    # One key: the format keeps its metadata in a hash map, whose order would differ from run to run.
    path.write_bytes(to_bytes(fitted.tensors(), metadata={"nncift": json.dumps(record, sort_keys=True)}))


def load(path: Path, estimator: Estimator, *, features: str | None) -> Fitted:
    """Reads an estimator that `save` wrote.

    Args:
        estimator: what fitted it; the file itself names no code.
        features: fingerprint of what makes the features that it will read; None to accept any.

    Raises:
        ConfigError: it was fitted to other features.
        RunError: the file is missing, damaged, or no estimator.
    """
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})["nncift"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if record["format"] != _FORMAT:
            raise RunError(f"{path} has the format {record['format']!r}, this version reads {_FORMAT!r}. {_MEND}")
        if record["kind"] != estimator.fitted.kind:
            raise RunError(f"{path} is of the kind {record['kind']!r}, not {estimator.fitted.kind!r}. {_MEND}")
        fitted = estimator.fitted.restored(record, tensors)
    except (OSError, SafetensorError, RuntimeError, *DAMAGE) as error:
        raise RunError(f"{path} cannot be read as an estimator: {error}. {_MEND}") from error
    if features is not None and record["features"] != features:
        raise ConfigError(
            f"{path} was fitted to the features of {record['features']!r}, here they come from {features!r}. "
            "Use the same embedder, language model and --features, or fit the estimator again."
        )
    return fitted
