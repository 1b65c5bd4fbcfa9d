"""Grades that a judge gave, kept as they arrive: a kill or a dead server loses none, and a rerun asks only for holes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from nncift.data.rows import Example
from nncift.disk import sealed, unsealed
from nncift.evaluation.rubric import GRADES

log = logging.getLogger(__name__)


class GradeBook:
    """The grades of one judge by test row and answer; equal answers to a row are graded once.

    Args:
        path: a JSONL file of its own, made when the first grade is written; a line that a kill cut is left out.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._grades = dict(_entries(path))

    def get(self, key: str) -> float | None:
        """The grade of an answer, None where it has none yet."""
        return self._grades.get(key)

    def put(self, key: str, grade: float) -> None:
        """Keeps a grade, on the disk before this returns."""
        self._grades[key] = grade
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="ascii") as stream:
            stream.write("\n" * self._cut() + json.dumps(sealed({"answer": key, "grade": grade})) + "\n")

    def _cut(self) -> bool:
        """Whether the file ends in the middle of a line."""
        if not self._path.is_file() or self._path.stat().st_size == 0:
            return False
        with self._path.open("rb") as stream:
            stream.seek(-1, 2)
            return stream.read(1) != b"\n"


def answer_key(row: Example, answer: str) -> str:
    """What an answer to a test row is kept under."""
    digest = sha256(row.content_key.encode() + b" " + answer.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]


def _entries(path: Path) -> Iterable[tuple[str, float]]:
    if not path.is_file():
        return
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        try:
            entry = unsealed(line)
            answer, grade = entry["answer"], float(entry["grade"])
            if not isinstance(answer, str) or not GRADES[0] <= grade <= GRADES[-1]:
                raise ValueError("no grade of an answer")
            yield answer, grade
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            log.info("a line of %s that was cut or changed is left out", path)
