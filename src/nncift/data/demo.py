"""The built-in demo: a small pool of known skills, with wrong answers and copies, and a target of three skills."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nncift.data.demo_skills import SKILLS, Generator, pick
from nncift.data.write import to_json
from nncift.seeds import generator

POOL_ROWS = 360
CORRUPTED_ROWS = 54
"""15 % of the pool: an answer of another skill, shuffled words, a cut answer, or random letters."""
DUPLICATE_ROWS = 29
"""8 % of the pool: exact copies of clean rows under ids of their own."""
TARGET_ROWS = 36
TARGET_SKILLS = ("weekdays", "glossary", "json")

_LETTERS = "bcdfgklmnprstvwxz"


@dataclass(frozen=True, slots=True)
class DemoFiles:
    """Where the demo is, and the facts that tell how good a subset is.

    Attributes:
        pool: Alpaca JSONL of 360 rows with the further columns `id`, `skill`, `corrupted` and `duplicate_of`.
        target: Alpaca JSONL of 36 rows with `id` and `skill`; no question of it is in the pool.
        target_skills: the three skills of the target; a good subset is rich in them.
        skill: pool id -> skill of the question.
        corrupted: pool ids whose answer is wrong; a good subset has few.
        duplicate_of: pool id of a copy -> pool id of its original; a good subset has at most one of the two.
    """

    pool: Path
    target: Path
    target_skills: tuple[str, ...]
    skill: Mapping[str, str]
    corrupted: frozenset[str]
    duplicate_of: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Row:
    instruction: str
    input: str
    output: str
    skill: str
    corrupted: bool = False

    def columns(self, name: str) -> dict[str, Any]:
        return {
            "id": name,
            "instruction": self.instruction,
            "input": self.input,
            "output": self.output,
            "skill": self.skill,
        }


def write_demo(folder: Path, *, seed: int = 0) -> DemoFiles:
    """Writes `pool.jsonl` and `target.jsonl` of the demo into a folder, which is made if need be.

    Use it to try the program without data. The same seed writes the same bytes.

    Args:
        folder: where the two files go; files of these names are replaced.
        seed: draws the questions, which rows are corrupted or copied, and the order of the rows.
    """
    seen: set[tuple[str, str]] = set()
    target = _draw(TARGET_SKILLS, TARGET_ROWS, seed, "target", seen=seen)
    clean = _draw(tuple(SKILLS), POOL_ROWS - DUPLICATE_ROWS, seed, "pool", seen=seen)
    rng = generator(seed, "demo/order")
    rows, original = _spoil(clean, rng)
    order = [int(i) for i in rng.permutation(POOL_ROWS)]
    names = {place: f"pool-{rank:03d}" for rank, place in enumerate(order, start=1)}
    copies = {names[place]: names[first] for place, first in original.items()}

    folder.mkdir(parents=True, exist_ok=True)
    files = DemoFiles(
        pool=folder / "pool.jsonl",
        target=folder / "target.jsonl",
        target_skills=TARGET_SKILLS,
        skill=MappingProxyType({names[place]: rows[place].skill for place in order}),
        corrupted=frozenset(names[place] for place in order if rows[place].corrupted),
        duplicate_of=MappingProxyType(copies),
    )
    pool_lines = [
        rows[place].columns(names[place])
        | {"corrupted": rows[place].corrupted, "duplicate_of": copies.get(names[place])}
        for place in order
    ]
    target_lines = [row.columns(f"target-{rank:02d}") for rank, row in enumerate(target, start=1)]
    for path, lines in ((files.pool, pool_lines), (files.target, target_lines)):
        path.write_bytes(b"".join(to_json(line) + b"\n" for line in lines))
    return files


def _draw(skills: tuple[str, ...], count: int, seed: int, part: str, *, seen: set[tuple[str, str]]) -> list[_Row]:
    """Rows of the skills in turn; a question that was seen before is drawn again."""
    generators = {skill: generator(seed, f"demo/{part}/{skill}") for skill in skills}
    rows: list[_Row] = []
    while len(rows) < count:
        skill = skills[len(rows) % len(skills)]
        instruction, extra, output = SKILLS[skill](generators[skill])
        if (instruction, extra) not in seen:
            seen.add((instruction, extra))
            rows.append(_Row(instruction, extra, output, skill))
    return rows


def _spoil(clean: list[_Row], rng: Generator) -> tuple[list[_Row], dict[int, int]]:
    """The pool in drawing order, some answers corrupted, copies of clean rows at the end; and whose copies they are."""
    lot = [int(i) for i in rng.permutation(len(clean))]
    wrong, copied = lot[:CORRUPTED_ROWS], lot[CORRUPTED_ROWS : CORRUPTED_ROWS + DUPLICATE_ROWS]
    rows = list(clean)
    for rank, place in enumerate(wrong):
        row = clean[place]
        rows[place] = _Row(row.instruction, row.input, _wrong_answer(rank, row, clean, rng), row.skill, corrupted=True)
    rows += [clean[place] for place in copied]
    return rows, {len(clean) + rank: place for rank, place in enumerate(copied)}


def _wrong_answer(rank: int, row: _Row, clean: list[_Row], rng: Generator) -> str:
    """An answer that is wrong in one of four ways, taken in turn."""
    words = row.output.split()
    match rank % 4:
        case 0:
            return pick(rng, [other.output for other in clean if other.skill != row.skill])
        case 1:
            shuffled = [words[int(i)] for i in rng.permutation(len(words))]
            return " ".join(shuffled if shuffled != words else words[::-1])
        case 2:
            return f"{words[0]} {words[1][:1]}"
    return " ".join("".join(pick(rng, _LETTERS) for _ in range(int(rng.integers(3, 8)))) for _ in range(4))
