"""An estimator that was trained on one data set, on others: what it keeps, and what it says of itself.

    python benchmarks/transfer.py ALPACA.jsonl T0.jsonl GSM8K.jsonl --folder DIR [--model gemma-3-270m] [--draws 2]
        [--write docs/reuse.md]

A run on 60 targets and 300 rows of the first file (5 % of the pairs labelled) trains the estimator. It is reused by
`select --estimator` on other rows of that file and on the other files; beside it stands one trained anew on 300 labels of
the new rows. What both predict is held against every influence of 50 of the new rows on 20 of the new targets, which neither
has to have seen. Everything is kept in the folder, and an interrupted call goes on where it stopped.
"""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import nncift
from nncift.data.arrays import read_npz
from nncift.estimator.agreement import spearman
from nncift.seeds import generator
from nncift.selection import Selection

ROWS, TARGETS = 300, 60
ANEW = 300
JUDGED_ROWS, JUDGED_TARGETS = 50, 20
LONGEST = 600  # bytes of a row, so that a draw takes minutes
TEXTS = ("instruction", "output", "prompt", "completion")
BEGIN, END = "<!-- transfer -->", "<!-- /transfer -->"


@dataclass(frozen=True)
class Case:
    """New data.

    Attributes:
        words: what it is.
        name: of its folders.
        pool, target: the samples that it is made of.
    """

    words: str
    name: str
    pool: str
    target: str


CASES = (
    Case("other rows, the same target", "rows", "other", "old_t"),
    Case("other rows, another target", "both", "other", "other_t"),
    Case("T0, pool and target", "t0", "t0", "t0_t"),
    Case("GSM8K, pool and target", "gsm", "gsm", "gsm_t"),
)


@dataclass(frozen=True)
class Draw:
    """One draw of all samples, and the runs on them.

    Attributes:
        seed: of the draw.
        folder: of this draw.
        model: a language model.
    """

    seed: int
    folder: Path
    model: str

    def sample(self, files: dict[str, Path]) -> None:
        """Writes disjoint samples of the files; usable rows that are not long, their conversation alone."""
        spans = {"alpaca": {"old": (0, ROWS), "old_t": (ROWS, ROWS + TARGETS)}}
        begin = ROWS + TARGETS
        spans["alpaca"] |= {"other": (begin, begin + ROWS), "other_t": (begin + ROWS, begin + ROWS + TARGETS)}
        spans |= {name: {name: (0, ROWS), f"{name}_t": (ROWS, ROWS + TARGETS)} for name in ("t0", "gsm")}
        self.folder.mkdir(parents=True, exist_ok=True)
        for file, parts in spans.items():
            lines = [line for line in read_lines(files[file]) if len(line) <= LONGEST and usable(json.loads(line))]
            order = generator(self.seed, files[file].name).permutation(len(lines))
            for name, (start, stop) in parts.items():
                rows = [json.loads(lines[k]) for k in order[start:stop]]
                text = "".join(json.dumps({k: v for k, v in row.items() if k != "task"}) + "\n" for row in rows)
                (self.folder / f"{name}.jsonl").write_text(text, encoding="utf-8")

    @property
    def common(self) -> dict[str, Any]:
        """Options of every run that trains."""
        return {"influence": "delift", "model": self.model, "embedder": "minilm", "seed": self.seed}

    def select(self, case: Case, name: str, **options: Any) -> Selection:
        """A run on the rows of a case."""
        pool, target = (self.folder / f"{part}.jsonl" for part in (case.pool, case.target))
        return nncift.select(pool, target=target, budget="10%", output=str(self.folder / name), **options)

    def truth(self, case: Case) -> dict[str, np.ndarray]:
        """Every influence of some of its rows on some of its targets."""
        parts = []
        for name, count in ((case.pool, JUDGED_ROWS), (case.target, JUDGED_TARGETS)):
            path = self.folder / f"{name}.{count}.jsonl"
            path.write_bytes(b"\n".join(read_lines(self.folder / f"{name}.jsonl")[:count]) + b"\n")
            parts.append(path)
        place = self.folder / f"truth_{case.name}.npz"
        nncift.label(parts[0], target=parts[1], labels="all", output=str(place), **self.common)
        return read_npz(place)

    def measured(self, case: Case) -> dict[str, Any]:
        """What `measure` gives, kept in the folder."""
        place = self.folder / f"measured_{case.name}.json"
        if not place.is_file():
            place.write_text(json.dumps(self.measure(case)), encoding="utf-8")
            gc.collect()  # each selection holds its language model
        return json.loads(place.read_text(encoding="utf-8"))

    def measure(self, case: Case) -> dict[str, Any]:
        """Both estimators on new data, and what the reused one says of itself."""
        training = Case("", "old", "old", "old_t")
        old = self.select(training, "run_old", labels="5%", features="states", **self.common)
        exact = self.truth(case)
        options = {"labels": str(ANEW), "features": "states", "known": "predict"}  # no label helps a prediction
        anew = self.select(case, f"few_{case.name}", **options, **self.common)
        new = self.select(case, f"new_{case.name}", estimator=old, known="predict", seed=self.seed)
        assert new.fidelity is not None
        lie = new.fidelity["new_rows"]["pool"]
        return {
            "reused": figures(new, exact),
            "anew": figures(anew, exact),
            "verdict": new.fidelity["verdict"],
            "order": new.fidelity["groups"][0]["measures"]["concordance"],
            "apart": lie["apart"],
            "alarming": lie["alarming"],
            "saved": new.costs["training_anew"]["saved"],
        }


def read_lines(path: Path) -> list[bytes]:
    """The lines of a file."""
    return path.read_bytes().splitlines()


def usable(row: dict[str, Any]) -> bool:
    """Whether no text that a row needs is empty."""
    return all(str(row[name]).strip() for name in TEXTS if name in row)


def figures(picked: Selection, exact: dict[str, np.ndarray]) -> dict[str, float]:
    """How predictions agree with exact influences: within targets, and of candidates' means."""
    found = picked.influences()
    rows = {row.id: k for k, row in enumerate(found.pool)}
    targets = {row.id: k for k, row in enumerate(found.targets)}
    i, j = ([at[str(one)] for one in exact[f"{side}_ids"]] for side, at in (("target", targets), ("pool", rows)))
    guess, true = found.values[np.ix_(j, i)].T, exact["values"]
    within = np.mean([spearman(a, b) for a, b in zip(true, guess, strict=True)])
    off, around = ((true - guess) ** 2).mean(), true.var()
    return {
        "within": float(within),
        "means": spearman(true.mean(axis=0), guess.mean(axis=0)),
        "r2": float(1 - off / around),
    }


def line(case: Case, found: list[dict[str, Any]]) -> str:
    """A row of the table: means over the draws."""

    def mean(of: Callable[[dict[str, Any]], float]) -> str:
        return f"{np.mean([of(one) for one in found]):.2f}"

    kept = " | ".join(
        mean(lambda one, k=k, n=n: one[k][n]) for n in ("within", "means", "r2") for k in ("reused", "anew")
    )
    order = ", ".join(f"{one['order']['value']:.0%} ({one['verdict']})" for one in found)
    novel = ", ".join(f"{one['apart']:.0%}{' (told)' if one['alarming'] else ''}" for one in found)
    return f"| {case.words} | {kept} | {order} | {novel} |"


def main() -> None:
    """Prints the table, and writes it between its marks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("alpaca", type=Path)
    parser.add_argument("t0", type=Path)
    parser.add_argument("gsm", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    draws = [Draw(seed, asked.folder / f"d{seed}", asked.model) for seed in range(asked.draws)]
    lines = [
        "| new data | within target: reused | anew | candidate means: reused | anew | R²: reused | anew | "
        "the probe says | rows apart |",
        "|---|" + "--:|" * 6 + "---|---|",
    ]
    for draw in draws:
        draw.sample({"alpaca": asked.alpaca, "t0": asked.t0, "gsm": asked.gsm})
    for case in CASES:
        lines.append(line(case, [draw.measured(case) for draw in draws]))
        print(lines[-1], flush=True)
    if asked.write:
        text = asked.write.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        after = rest.split(END)[1]
        asked.write.write_text("\n".join([f"{before}{BEGIN}", *lines, f"{END}{after}"]), encoding="utf-8")


if __name__ == "__main__":
    main()
