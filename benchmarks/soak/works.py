"""What is run while faults happen: every kind of work on toy rows and models, and what of its results is promised."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.soak.forking import Child, Ended, fork, start, warm
from benchmarks.soak.hooks import Fault

ROOT = Path(__file__).parents[2]
POOL, TARGET, TEST = 40, 5, 6
_PLACE = re.compile(rb"[^\s\"']*/(?:finished/[a-z]+|trial-\d+)/out")
UNLIKE = {"costs.json", "stages.json", "environment.json", "done.json", "report.html", ".nncift.lock"}
"""Hold seconds, memory, versions or what was found done, or hold nothing."""
TIMES = ("seconds", "memory", "cost", "sha256", "select_trainings", "pays_after", "machine")


@dataclass(frozen=True, slots=True)
class Work:
    """One command.

    Attributes:
        name: in the table.
        words: of the command, which writes into `out` of the folder where it runs.
        models: unpacked ones that it finds in its cache.
    """

    name: str
    words: list[str]
    models: Path | None = None

    def start(self, place: Path, fault: Fault | None = None) -> Child:
        """Starts it in a folder, with a cache of its own there."""
        place.mkdir(parents=True, exist_ok=True)
        if self.models is not None and not (place / "cache").exists():
            (place / "cache").mkdir()
            (place / "cache" / "models").symlink_to(self.models, target_is_directory=True)
        return start(self.words, place, fault=fault or Fault(), environment={"NNCIFT_CACHE": str(place / "cache")})

    def run(self, place: Path, fault: Fault | None = None) -> Ended:
        """Runs it to its end."""
        return self.start(place, fault).wait()


@dataclass(slots=True)
class Reference:
    """The uninterrupted run of a work.

    Attributes:
        work: which.
        place: where it ran, kept as it ended.
        ended: how; its seconds and moments are what faults are drawn from.
        promised: of each file of the result what must be the same after any fault.
        blocks: how often each block was begun: once.
    """

    work: Work
    place: Path
    ended: Ended
    promised: dict[str, Any] = field(default_factory=dict)
    blocks: Counter[str] = field(default_factory=Counter)


def make_works(folder: Path) -> dict[str, Work]:
    """Writes rows and models, and gives every command on them, with the modules that each of them needs imported."""
    inputs = folder / "inputs"
    folder.mkdir(parents=True, exist_ok=True)
    code = fork(lambda: _write_inputs(inputs), folder).wait()
    if code.code:
        raise SystemExit(f"the toy inputs cannot be made:\n{code.err}")
    cpu = ["--device", "cpu", "--dtype", "float32"]
    rows = ["--target", str(inputs / "target.jsonl"), "--model", str(inputs / "model")]
    rows += ["--embedder", str(inputs / "encoder" / "toy"), *cpu]
    pool, test = str(inputs / "pool.jsonl"), str(inputs / "test.jsonl")
    some = ["--budget", "8", "-o", "out"]
    by = ["--by", "icl,lora", "--metrics", "loss,rouge", "--controls", "initial,random", "--seeds", "1", "--draws", "2"]
    by += ["--epochs", "1", "--rank", "2", "--learning-rate", "0.01", "--shots", "2", "--max-new-tokens", "4", *cpu]
    models = ["--model", str(inputs / "model"), "--embedder", str(inputs / "encoder" / "toy")]
    subset = str(inputs / "subset.jsonl")
    shards = ["--shard-rows", "3"]
    return {
        "select": Work("select", ["select", pool, *rows, "--influence", "delift", "--labels", "40%", *some]),
        "shards": Work("shards", ["select", pool, *rows, "--influence", "delift", "--labels", "40%", *shards, *some]),
        "rounds": Work("rounds", ["select", pool, *rows, "--influence", "delift", "--design", "adaptive", *some]),
        "less": Work("less", ["select", pool, *rows, "--influence", "less", "--labels", "all", *some]),
        "label": Work("label", ["label", pool, *rows, "--influence", "delift", "--labels", "60", "-o", "out/labels.npz"]),
        "evaluate": Work("evaluate", ["evaluate", subset, "--pool", pool, "--test", test, *models, *by, "-o", "out"]),
        "experiment": Work("experiment", ["experiment", str(inputs / "toy.yaml"), "--data", str(inputs), "-o", "out"]),
    }  # fmt: skip


def _write_inputs(inputs: Path) -> None:
    """In a child: making models starts threads."""
    sys.path.insert(0, str(ROOT / "tests"))
    import yaml

    import toy_evaluation
    import toy_experiment

    toy_evaluation.POOL, toy_evaluation.TARGET, toy_evaluation.TEST = POOL, TARGET, TEST
    toy = toy_experiment.make_experiment(inputs)
    toy.body["axes"] |= {"v": {8: {"budget": 8}}, "how": {"few": {"labels": "40", "estimator": "means"}}}
    toy.body["axes"]["influence"] = {name: {"influence": name} for name in ("delift", "random")}
    toy.body["without"] = [{"influence": "random", "how": "few"}, {"influence": "random", "u": "u=30%"}]
    toy.body["axes"]["how"]["exact"] = {"labels": "all"}
    (inputs / "toy.yaml").write_text(yaml.safe_dump(toy.body, sort_keys=False), encoding="utf-8")


def warm_up(works: Mapping[str, Work], folder: Path) -> None:
    """Lets one child do each work, and imports what these needed."""
    warm(_own_modules())
    for name, work in works.items():
        place = folder / "warm" / name
        place.mkdir(parents=True)

        def act(work: Work = work, place: Path = place) -> None:
            os.environ["NNCIFT_CACHE"] = str(place / "cache")
            sys.argv = ["nncift", *work.words]
            from nncift.cli import main

            try:
                main()
            finally:
                (place / "modules").write_text("\n".join(sys.modules), encoding="utf-8")

        ended = fork(act, place).wait()
        if ended.code:
            raise SystemExit(f"`{name}` fails without any fault:\n{ended.err}")
        warm((place / "modules").read_text(encoding="utf-8").splitlines())
    shutil.rmtree(folder / "warm")


def _own_modules() -> list[str]:
    """Of the whole package, but for what starts when it is imported."""
    source = ROOT / "src"
    paths = [path.relative_to(source).with_suffix("") for path in sorted((source / "nncift").rglob("*.py"))]
    return [".".join(path.parts).removesuffix(".__init__") for path in paths if path.name != "__main__"]


def refer(work: Work, place: Path) -> Reference:
    """Runs a work undisturbed."""
    ended = work.run(place)
    if ended.code or ended.moments is None:
        raise SystemExit(f"`{work.name}` fails without any fault:\n{ended.err}")
    return Reference(work, place, ended, promised(place / "out"), begun(place))


def spacious_moments(reference: Reference) -> int:
    """At how many moments something needs space."""
    place = reference.place.with_name(f"{reference.place.name}-count")
    ended = reference.work.run(place, Fault(what="full"))
    shutil.rmtree(place)
    return ended.moments or 0


def promised(out: Path) -> dict[str, Any]:
    """Of every file what must be the same whatever happened: its bytes, or its JSON without what was spent."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file() and path.name not in UNLIKE):
        name = path.relative_to(out).as_posix()
        if "data" in name or path.suffix != ".json" or path.name in ("fidelity.json", "learning.json"):
            found[name] = _PLACE.sub(b"OUT", path.read_bytes())
        else:
            try:
                found[name] = _plain(json.loads(path.read_text(encoding="utf-8")))
            except ValueError:  # damaged
                found[name] = path.read_bytes()
    return found


def begun(place: Path) -> Counter[str]:
    """How often each block was begun."""
    path = place / "trace"
    return Counter(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else Counter()


def rows_in(promised: Mapping[str, Any]) -> int:
    """Rows of all files of rows."""
    return sum(body.count(b"\n") for name, body in promised.items() if name.endswith(".jsonl") and body)


def left_behind(place: Path) -> list[str]:
    """Temporary files below a folder."""
    return sorted(
        path.relative_to(place).as_posix()
        for path in place.rglob("*")
        if path.name.endswith((".part", ".copy", ".tmp")) or ".part." in path.name
    )


def _plain(value: Any) -> Any:
    """Without what is never the same twice."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if not any(time in name for time in TIMES)}
    return [_plain(one) for one in value] if isinstance(value, list) else value
