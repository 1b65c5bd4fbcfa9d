"""What a finished cell leaves behind: one small JSON file, which is all that tables read and all that a rerun asks for."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from nncift import registry
from nncift.config import Options
from nncift.disk import sealed, unsealed
from nncift.experiment.grid import Cell
from nncift.lm.atomic import write_whole
from nncift.lm.layers import whole_name
from nncift.lm.load import model_fingerprint
from nncift.pipeline.making import class_key
from nncift.run import content_key, file_hash

log = logging.getLogger(__name__)

CELLS = "cells"
CODE = {"select": 1, "label": 1, "fidelity": 1, "evaluate": 1}
"""Raised where what a cell measures changes, so that its record is not taken for done."""

_FILES = ("pool", "target", "test", "existing", "keep", "subset", "matrix", "output")
_QUOTED = re.compile(r"\"[^\"]*\"|(?<!\w)'.*?'(?!\w)", re.DOTALL)
_PATH = re.compile(r"(?<![\w<])(?:/[\w.+@-]+){2,}/?|~/\S+")
_NEUTRAL = ("threads", "batch_tokens", "judge_parallel", "judge_rate", "judge_timeout")  # how fast, not what


@dataclass(frozen=True, slots=True)
class Record:
    """One cell's outcome; it holds no text of any row.

    Attributes:
        cell: its name.
        verb: of `nncift`.
        axes: axis -> value.
        key: hash of all that the result depends on.
        status: `done` or `failed`.
        error: why it failed, None where it did not.
        seconds: of the wall, this time.
        result: by verb. `select`: rows, labels (None where free), ids_hash, costs, fidelity, notes. `label`: labels, costs.
            `fidelity`: records. `evaluate`: records, costs, notes, subjects (by the name of each the axes of its cell).
    """

    cell: str
    verb: str
    axes: dict[str, str]
    key: str
    status: Literal["done", "failed"]
    error: str | None
    seconds: float
    result: dict[str, Any]

    @property
    def done(self) -> bool:
        """Whether it has a result."""
        return self.status == "done"


def record_path(folder: Path, name: str) -> Path:
    """Where the record of a cell is."""
    return folder / CELLS / f"{name}.json"


def read_record(folder: Path, name: str) -> Record | None:
    """The record of a cell; None where there is none, or it is damaged."""
    path = record_path(folder, name)
    if not path.is_file():
        return None
    try:
        return Record(**unsealed(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        log.warning("%s is damaged (%s); its cell is done again", path, error)
        return None


def write_record(folder: Path, record: Record) -> None:
    """Writes a record, whole or not at all."""
    text = json.dumps(sealed(asdict(record)), indent=2, ensure_ascii=True, allow_nan=False) + "\n"
    write_whole(record_path(folder, record.cell), text.encode("ascii"))


def cell_key(cell: Cell, config: Options, *, rows: Mapping[str, str], needs: Mapping[str, str]) -> str:
    """Hash of all that a cell's result depends on: options that are not the default, rows, what it needs, and the code.

    Args:
        cell: what of.
        config: its configuration.
        rows: by role, and under `matrix`, the hash of the content.
        needs: by the name of each cell that it needs what tells that result from others.
    """
    said = {
        item.name: _plain(item.name, getattr(config, item.name))
        for item in fields(config)
        if item.name not in (*_FILES, *_NEUTRAL)
        and (item.default is MISSING or getattr(config, item.name) != item.default)
    }
    read = {role: rows[role] for role in (*cell.roles, "matrix") if role in rows}
    depends = {
        "verb": cell.verb,
        "code": CODE[cell.verb],
        "axes": dict(sorted(cell.axes.items())),
        "options": said,
        "rows": read,
        "needs": dict(sorted(needs.items())),
    }
    return content_key(depends | ({"alone": True} if cell.alone else {}))


def ids_hash(ids: Iterable[str]) -> str:
    """Hash of the ids of chosen rows, best first; ids themselves may be text of the data."""
    return sha256("".join(f"{len(one)} {one}\n" for one in ids).encode("utf-8", "surrogatepass")).hexdigest()


def scrubbed(error: str) -> str:
    """An error without what stands in quotes, which may be text of a row or a folder of this machine."""
    return _PATH.sub("…", _QUOTED.sub("'…'", error))


def without_places(value: Any, places: Mapping[str, str]) -> Any:
    """Plain values with folders of this machine replaced by words, wherever they stand in a text."""
    if isinstance(value, str):
        for place, word in places.items():
            value = value.replace(place, word)
        return value
    if isinstance(value, Mapping):
        return {without_places(str(name), places): without_places(one, places) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(one, places) for one in value]
    return value


def _plain(name: str, value: Any) -> Any:
    """A value for a key; local files, models, classes and estimators are told by their content."""
    if name in ("model", "judge_model"):
        return [_model(one) for one in ((value,) if isinstance(value, str) else value or ())]
    if name in ("influence", "estimator", "difficulty") and isinstance(value, str) and ":" in value:
        return class_key(value, registry.load("influence" if name == "difficulty" else name, value))
    if name == "estimator" and isinstance(value, str) and registry.is_folder("estimator", value):
        weights = Path(value) / "estimator.safetensors"
        return file_hash(weights) if weights.is_file() else value
    if name == "embedder" and isinstance(value, str) and value.lower().endswith(".npy"):
        return [file_hash(Path(part)) if Path(part).is_file() else part for part in value.split(",")]
    if name == "option":  # the file of recorded influences is told by its content, among the rows
        return [one for one in value if not one.startswith("matrix=")]
    return list(value) if isinstance(value, tuple) else value


def _model(name: str) -> str | list[str]:
    """A language model: local ones by their weights, others by their name."""
    whole = whole_name(name)[0]
    return [name, model_fingerprint(name) or ""] if Path(whole).exists() else name
