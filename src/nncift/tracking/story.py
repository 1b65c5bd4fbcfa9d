"""What a tracker is told of a finished folder: its recipe, numbers, and curves with their steps."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from nncift.data.shards import lines_in, stored
from nncift.errors import ConfigError, RunError
from nncift.recipe import recipe_values
from nncift.tracking.public import public

_RECIPES = ("recipe.yaml", "evaluation.yaml")
_PICKS = 1000  # points of the gain curve: a tracker draws no more


@dataclass(frozen=True, slots=True)
class Curve:
    """Numbers that go on with something.

    Attributes:
        name: of the curve; its numbers are called `name/...`.
        along: what is counted: `labels` or `rank`.
        points: how many there are of that, and the numbers there.
    """

    name: str
    along: str
    points: tuple[tuple[int, dict[str, float]], ...]


@dataclass(frozen=True, slots=True)
class Story:
    """A finished run or evaluation, in the words of trackers.

    Attributes:
        name: of the folder.
        group: of the experiment that it is a cell of; None where it stands alone.
        folder: where it lies.
        recipe: its options, without secrets and without folders of the machine.
        numbers: what it came to, by names with slashes.
        curves: what it went through.
        page: its report; None where there is none.
    """

    name: str
    group: str | None
    folder: Path
    recipe: dict[str, Any]
    numbers: dict[str, float]
    curves: tuple[Curve, ...]
    page: Path | None


def story_of(folder: Path, *, group: str | None = None) -> Story:
    """The story of a finished run or evaluation, from its files alone.

    Raises:
        ConfigError: the folder holds neither.
        RunError: it did not finish, or a file of it is missing or damaged.
    """
    path = recipe_of(folder)
    if path is None:
        raise ConfigError(f"{str(folder)!r} holds neither a run nor an evaluation. Name what -o named.")
    verb, options = recipe_values(path)
    numbers, curves = _run(folder) if verb == "select" else (_evaluation(folder, lds=options.get("lds") is True), ())
    page = folder / "report.html" if (folder / "report.html").is_file() else None
    recipe = {"verb": verb, **public(options)}
    return Story(folder.resolve().name, group, folder, recipe, numbers, curves, page)


def recipe_of(folder: Path) -> Path | None:
    """The recipe of a run or an evaluation; None where there is neither."""
    return next((folder / name for name in _RECIPES if (folder / name).is_file()), None)


def _run(folder: Path) -> tuple[dict[str, float], tuple[Curve, ...]]:
    done, costs, stages = (_json(folder / f"{name}.json") for name in ("done", "costs", "stages"))
    numbers = {"rows": float(done["rows"]), "of": float(done["of"])}
    numbers |= _flat(stages["select"]["facts"], "select")
    for name, spent in (costs["stages"] | {"total": costs["total"]}).items():
        numbers |= {key: value for key, value in _flat(spent, f"costs/{name}").items() if value or "seconds" in key}
    for name in ("exact", "estimator"):
        numbers |= _flat(costs.get(name) or {}, f"costs/{name}")
    if (folder / "fidelity.json").is_file():
        numbers |= _fidelity(_json(folder / "fidelity.json"))
    curves = [_gains(folder)]
    if (folder / "learning.json").is_file():
        curves.append(_learning(_json(folder / "learning.json"), costs.get("rounds") or []))
    return numbers, tuple(curves)


def _fidelity(fidelity: Mapping[str, Any]) -> dict[str, float]:
    """Each measure on all held-out labels with its interval, beside the strongest guess that reads no text."""
    numbers = _flat({name: fidelity.get(name) for name in ("trained_on", "held_out", "candidate_means")}, "fidelity")
    whole = next((one for one in fidelity.get("groups", []) if one["group"] == "all"), {"measures": {}})
    for name, found in whole["measures"].items():
        told = {"": found["value"], "/low": found.get("low"), "/high": found.get("high")}
        told["/strongest_guess"] = (found.get("baselines") or {}).get(fidelity.get("strongest_baseline"))
        numbers |= {f"fidelity/{name}{key}": float(value) for key, value in told.items() if value is not None}
    return numbers


def _gains(folder: Path) -> Curve:
    """What each pick added, and what all until then did; of many picks some, the last one among them."""
    try:
        gains = [float(json.loads(line)["gain"]) for line in lines_in(folder, "selection")]
    except (OSError, ValueError) as error:
        raise _damaged(stored(folder, "selection")) from error
    values, last = list(accumulate(gains)), len(gains) - 1
    shown = sorted({round(k * last / (_PICKS - 1)) for k in range(_PICKS)}) if last >= _PICKS else range(last + 1)
    return Curve("picks", "rank", tuple((k + 1, {"gain": gains[k], "value": values[k]}) for k in shown))


def _learning(learning: Mapping[str, Any], spent: list[dict[str, Any]]) -> Curve:
    """What the rounds of labels brought and took."""
    points = []
    for number, found in enumerate(learning["rounds"]):
        told = {**found, **(spent[number] if number < len(spent) else {})}
        points.append((int(told.pop("labels")), _flat(told)))
    return Curve("learning", "labels", tuple(points))


def _evaluation(folder: Path, *, lds: bool) -> dict[str, float]:
    """Means and differences to random of every subset, with intervals; and what training on it took."""
    records = _json(folder / ("lds.json" if lds else "results.json"))["records"]
    names = Counter((record["by"], record["metric"], record["subset"]) for record in records)
    numbers: dict[str, float] = {}
    for record in records:
        name = "/".join(one := (record["by"], record["metric"], record["subset"]))
        if names[one] > 1:  # controls of several subsets
            name += f"-{record['matched'] or record['size']}"
        numbers |= _flat(record, name)
    for cost in [] if lds else _json(folder / "costs.json"):
        spent = {name: value for name, value in cost.items() if name.endswith(("_flops", "_seconds"))}
        numbers |= _flat(spent, f"costs/{cost['subset']}")
    return numbers


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, float]:
    """The numbers among nested values, by names with slashes; the ends of an interval are `low` and `high`."""
    return {f"{before}/{name}" if before else name: value for name, value in _numbers(values)}


def _numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{inner}", number) for inner, number in _numbers(value))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, float(value)
        elif name.endswith("ci") and isinstance(value, list):
            yield from ((f"{name}/{end}", float(one)) for end, one in zip(("low", "high"), value, strict=True))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(
            f"{path} is missing: {str(path.parent)!r} did not finish. The same command goes on with it."
        ) from error
    except ValueError as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> RunError:
    return RunError(f"{path} is missing or damaged. Make it again with the command that made it.")
