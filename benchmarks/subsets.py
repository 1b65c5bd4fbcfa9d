"""Does the subset teach? Influence functions × rules, exact and through the estimator, fine-tuned on and beside random.

    python benchmarks/subsets.py task|general|noisy DATA --folder runs/task [--write docs/results]

`DATA` holds `t0_mix.jsonl`, `alpaca_pool.jsonl` and `alpaca_target.jsonl` (see docs/results/README.md for their origin).
The settings: `task`, targets and test rows of two of T0's tasks, a pool of all of them; `general`, Alpaca; `noisy`, the
same with a fifth of the pool's responses swapped among themselves or turned into random letters. Target, test and pool are
disjoint. Everything is kept in the folder, so that a killed run goes on; what is written are tables and, as JSON, every
cell's losses and costs, without any text of the data.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import subsets_page

import nncift
from nncift.evaluation.evaluate import evaluate
from nncift.evaluation.options import EvaluateConfig
from nncift.screen import Bars
from nncift.seeds import generator

TASKS = ("gigaword_write_a_title_for_this_sentence", "qasc_qa_with_separated_facts_3")
POOL, TARGET, TEST = 300, 40, 100
PER_TASK = {"pool": 14, "target": 12, "test": 24}  # of each of the two tasks; T0 has 50 rows a task here
LONGEST = 450  # characters of prompt and response: two cores have to train on them a hundred times
RULES = {
    "delift": ("facility-location", "top-mean"),
    "less": ("facility-location", "top-mean"),
    "selectit": ("top-mean",),
    "similarity": ("facility-location", "top-mean"),
    "rds": ("round-robin", "facility-location", "top-mean"),
}
"""By influence the rules, its own first (LESS's authors rank by the mean); SelectIT gives one score per row, for which coverage
means nothing."""


@dataclass(frozen=True)
class Setting:
    """One question: a pool, what it should help with, and what it is tested on.

    Attributes:
        name: `task`, `general` or `noisy`.
        data: folder of the real rows.
        folder: of everything that is made.
        model: the language model.
        seed: of the split.
    """

    name: str
    data: Path
    folder: Path
    model: str
    seed: int = 0

    def file(self, role: str) -> Path:
        """The rows of a role; written when the first is asked for."""
        path = self.folder / f"{role}.jsonl"
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, rows in self._split().items():
                text = "".join(json.dumps(row) + "\n" for row in rows)
                (self.folder / f"{name}.jsonl").write_text(text, encoding="ascii")
        return path

    def _split(self) -> dict[str, list[dict[str, Any]]]:
        return self._tasks() if self.name == "task" else self._alpaca()

    def _alpaca(self) -> dict[str, list[dict[str, Any]]]:
        pool = self._short("alpaca_pool.jsonl", ("instruction", "input", "output"))[:POOL]
        beside = self._short("alpaca_target.jsonl", ("instruction", "input", "output"))
        if self.name == "noisy":
            self._spoil(pool)
        return {"pool": pool, "target": beside[:TARGET], "test": beside[TARGET : TARGET + TEST]}

    def _tasks(self) -> dict[str, list[dict[str, Any]]]:
        rows = self._short("t0_mix.jsonl", ("prompt", "completion"))
        split: dict[str, list[dict[str, Any]]] = {"pool": [], "target": [], "test": []}
        for task in TASKS:
            own, start = [row for row in rows if row["task"] == task], 0
            for role, count in PER_TASK.items():
                split[role] += own[start : start + count]
                start += count
        split["pool"] += [row for row in rows if row["task"] not in TASKS][: POOL - len(split["pool"])]
        for part in split.values():
            for row in part:
                del row["task"]  # nothing shall be told by the name
        return split

    def _short(self, name: str, keys: tuple[str, ...]) -> list[dict[str, Any]]:
        """Rows of a file in random order, none longer than LONGEST, none without a response, no text twice."""
        with (self.data / name).open(encoding="utf-8") as stream:
            rows = [json.loads(line) for line in stream]
        texts = {"\n".join(row[key] for key in keys): row for row in rows}
        kept = [row for text, row in texts.items() if len(text) <= LONGEST and row[keys[-1]].strip()]
        return [kept[k] for k in generator(self.seed, f"split/{name}").permutation(len(kept))]

    def _spoil(self, pool: list[dict[str, Any]]) -> None:
        """A fifth of the responses, in place: half of them exchanged among themselves, half random letters."""
        draw = generator(self.seed, "spoil")
        bad = draw.permutation(len(pool))[: len(pool) // 5]
        swapped, random = bad[: len(bad) // 2], bad[len(bad) // 2 :]
        answers = [pool[k]["output"] for k in swapped]
        for k, answer in zip(swapped, answers[1:] + answers[:1], strict=True):
            pool[k]["output"] = answer
        for k in random:
            letters = draw.choice(list(string.ascii_lowercase + " "), len(pool[k]["output"]))
            pool[k]["output"] = "".join(letters).strip() or "x"
        (self.folder / "spoilt.json").write_text(json.dumps(sorted(int(k) for k in bad)), encoding="ascii")

    def runs(self, budgets: tuple[str, ...], only: tuple[str, ...] = ()) -> list[Path]:
        """The run folders of every influence, rule and way to its values; labels are shared by the rules of one way."""
        found = []
        for budget in budgets:
            for influence, rules in RULES.items():
                for way in ("exact", "nncift"):
                    labels = "all" if way == "exact" else subsets_page.SHARE.get(influence, subsets_page.USUAL_SHARE)
                    for rule in rules:
                        name = f"{influence}-{rule}-{way}"
                        if not only or name in only:
                            found.append(self._run(influence, rule, way, labels, budget, f"{name}-{budget[:-1]}"))
        return found

    def _run(self, influence: str, rule: str, way: str, labels: str, budget: str, name: str) -> Path:
        place, first = self.folder / "runs" / name, self.folder / "labels" / f"{influence}-{way}"
        if (place / "done.json").is_file():
            return place
        options: dict[str, Any] = {
            "target": self.file("target"), "influence": influence, "model": self.model, "embedder": "minilm",
            "labels": labels, "objective": rule,
        }  # fmt: skip
        if not (first / "done.json").is_file():
            nncift.select(self.file("pool"), budget=budget, output=str(first), **options)
        if not place.is_dir():
            shutil.copytree(first, place)
        nncift.select(self.file("pool"), budget=budget, output=str(place), **options)
        return place


def arguments() -> argparse.ArgumentParser:
    """What can be asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=("task", "general", "noisy"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--budgets", default="10%")
    parser.add_argument("--only", default="", help="names such as less-facility-location-exact, separated by commas")
    parser.add_argument("--controls", default="initial,random,full,embedding")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=15)
    parser.add_argument(
        "--page", default="", help="what the page and the JSON file are called; the setting's name if left out"
    )
    parser.add_argument("--write", type=Path)
    return parser


def command(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> str:
    """What was asked as a reader types it, with every option that is not the default; folders have names of their own."""
    words = [f"python benchmarks/subsets.py {asked.setting} DATA --folder runs/{asked.setting}"]
    for name in ("model", "budgets", "only", "controls", "seeds", "draws", "page"):
        if (value := getattr(asked, name)) != parser.get_default(name):
            words.append(f"--{name} {shlex.quote(str(value))}")
    return " ".join([*words, "--write docs/results"])


def main() -> None:
    """Runs one setting and writes its tables."""
    parser = arguments()
    asked = parser.parse_args()
    setting = Setting(asked.setting, asked.data, asked.folder, asked.model)
    only = tuple(name for name in asked.only.split(",") if name)
    runs = setting.runs(tuple(asked.budgets.split(",")), only)
    config = EvaluateConfig.of(
        {
            "subset": tuple(map(str, runs)), "test": str(setting.file("test")), "model": asked.model,
            "embedder": "minilm", "controls": asked.controls, "seeds": asked.seeds, "draws": asked.draws,
            "learning_rate": 5e-4, "output": str(setting.folder / "evaluation"),
        }
    )  # fmt: skip
    with Bars(hidden=False) as bars:
        found = evaluate(config, bars)
    print("\n".join(found.told))
    if asked.write:
        subsets_page.write(asked, found, command(parser, asked))


if __name__ == "__main__":
    main()
