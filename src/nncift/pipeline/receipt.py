"""What a run leaves for people and programs: the chosen rows, why, what it cost, and what was not as asked."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.config import SelectConfig
from nncift.data.write import write_rejected
from nncift.influence.base import Calls, work
from nncift.pipeline.inputs import describe_rejected
from nncift.pipeline.ranking import Ranked
from nncift.pipeline.setup import Setup
from nncift.progress import Reporter
from nncift.run import RunFolder, StageRecord, environment
from nncift.selection import Picks

log = logging.getLogger(__name__)

CURVE = "learning.json"
"""The learning curve of labels that were drawn in rounds."""

_WORTH_SAYING = 0.02  # share of calls not made


def input_notes(setup: Setup) -> dict[str, str]:
    """What there is to say about the rows before anything is computed."""
    axes = setup.axes
    notes = {"rejected": describe_rejected(setup.pools())}
    if axes.beside and len(axes.beside) < len(setup.target or setup.pool):
        notes["targets"] = (
            f"{len(axes.beside):,} of {len(setup.target or setup.pool):,} target rows are read (--max-targets)"
        )
    if axes.sampled_from > axes.m:
        notes["targets"] = f"{axes.m:,} of {axes.sampled_from:,} target rows are used (--max-targets)"
    same = (axes.masked[:, 0] < axes.m) & (axes.masked[:, 1] < axes.n)
    twins = int(same.sum()) - (axes.m if axes.own_target else 0)
    if twins > 0:
        where = "another pool row" if axes.own_target else "a target row"
        notes["same-text"] = f"{twins:,} pairs have a pool row with the text of {where}; they get no label"
    if setup.target is not None and not setup.influence.traits.uses_target:
        notes["unused"] = f"`{setup.influence.traits.name}` does not look at a target; --target plays no part"
    config = setup.config
    if config.design == "adaptive" and setup.rounds is None and setup.design != "all":
        priced = setup.influence.traits.priced == "row"
        why = "rows are what it costs, and a block is cheapest" if priced else "nothing is fitted in between"
        notes["design"] = f"--design adaptive plays no part for `{setup.influence.traits.name}` here: {why}"
    if isinstance(config, SelectConfig) and setup.exact and config.features == "states":
        notes["unread"] = "every influence is computed and nothing estimated; --features plays no part"
    if setup.wants_states and not setup.reads_states:
        notes["states"] = "a server gives no states of the rows: the estimator reads their embeddings (--features)"
    return {kind: text for kind, text in (notes | _advice(setup)).items() if text}


def tell_rows(setup: Setup, reporter: Reporter) -> None:
    """How many rows were read, and the layout that they were taken for."""
    rows = "; ".join(f"{role} {len(pool):,} rows, {pool.layout} layout" for role, pool in setup.pools())
    reporter.begin("read", 0, "")
    reporter.end(rows)


def _advice(setup: Setup) -> dict[str, str]:
    """Where what was asked for did worse than another way in our measurements, or no better (docs/results)."""
    traits, advice = setup.influence.traits, {}
    if setup.objective is not None and setup.objective.name == "top-mean" and traits.pairwise:
        advice["advice_rule"] = (
            "the rows of the highest mean influence can be all of one kind: fine-tuning on them taught less than on rows that "
            "cover the target, or not clearly more (--objective facility-location)"
        )
    if setup.objective is not None and traits.free and not setup.exact:
        advice["advice_labels"] = (
            f"every exact value of `{traits.name}` is as good as free, and an estimator only loses: leave --labels out"
        )
    if setup.objective is not None and setup.target is None and not (traits.free and traits.seeded):
        advice["advice_target"] = (
            "where pool and target were of one kind, as they are without a --target, no choice of rows taught more than as "
            "many random ones; name rows of what the model shall do"
        )
    if setup.objective is not None and setup.target is not None and traits.needs_model and traits.uses_target:
        advice["advice_cheap"] = (
            "where the target was a narrow task, --influence similarity taught as much without a language-model call; compare "
            "both by nncift evaluate"
        )
    return advice


def short_of(setup: Setup, chosen: int) -> str | None:
    """Why fewer rows were chosen than were asked for, None where they were not."""
    allowed = setup.allowance
    if allowed is None or allowed.tokens is not None or chosen == allowed.rows:
        return None
    why = "all that can be scored" if allowed.group is None else "all that the quota and the scores allow"
    return f"{chosen:,} of the {allowed.rows:,} rows asked for are {why}"


def choice_notes(ranked: Ranked, picks: Picks) -> dict[str, str]:
    """What there is to say of a choice: what a sample of the target leaves open, and where gains ran out."""
    notes = {}
    if ranked.sampling_error is not None:
        error = f"{ranked.sampling_error:.2%}"
        notes["sampling"] = f"sampling the target gives its mean coverage a standard error of {error}"
    elif ranked.sampled:
        notes["sampling"] = "the target is sampled; what that does to this objective is not measured"
    if (bound := ranked.bound) is not None and bound.best > 0:
        notes["entries"] = (
            f"each row keeps its best {bound.kept:,} candidates: the subset covers {bound.least / bound.best:.1%} to "
            f"{min(1.0, bound.most / bound.best):.1%} of what any subset of its size can"
        )
    if ranked.covers and picks.kept + picks.positive < len(picks.order):
        notes["gains"] = f"{picks.positive:,} of {len(picks.order):,} picks had a positive gain. {picks.rest_rule}"
    return notes


def write_rejects(folder: RunFolder, setup: Setup) -> None:
    """Writes `rejected.jsonl`: file, line, reason and row of everything that cannot be used."""
    with folder.atomic("rejected.jsonl") as part:
        write_rejected((row for _, pool in setup.pools() for row in pool.rejected), part)


def write_environment(folder: RunFolder, machine: dict[str, Any]) -> dict[str, str]:
    """Writes `environment.json`, with the packages of earlier runs in the folder beside those of now; what there is to say
    where these are others: stages that were done with them stay."""
    now, earlier = environment(machine), _packages_before(folder.path / "environment.json")
    before = [one for one in earlier if one != now["packages"]]
    folder.write_json("environment.json", now | ({"earlier_packages": before} if before else {}))
    changed = [name for name, one in now["packages"].items() if before and before[0].get(name, one) != one]
    if not changed or not folder.records or earlier[0] == now["packages"]:
        return {}
    told = ", ".join(f"{name} {before[0][name]} then, {now['packages'][name]} now" for name in changed)
    sentence = f"what an earlier run left here was made with other packages ({told}), and is used as it is"
    log.warning("%s", sentence)
    return {"packages": sentence}


def _packages_before(path: Path) -> list[dict[str, str]]:
    """The packages of the last run in a folder, and of those before."""
    try:
        last = json.loads(path.read_text(encoding="utf-8"))
        return [dict(last["packages"]), *map(dict, last.get("earlier_packages", []))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def write_done(folder: RunFolder, setup: Setup, chosen: int, subset: str, notes: Mapping[str, str]) -> None:
    """Writes `done.json`, the last file of a run."""
    assert setup.objective is not None
    done = {"rows": chosen, "of": len(setup.pool), "subset": subset}
    told = {"objective": setup.objective.name, "layout": setup.pool.layout}
    folder.write_json("done.json", done | told | {"notes": dict(notes)})


def barred(stages: Mapping[str, StageRecord]) -> Int[ndarray, " b"]:
    """Positions of candidates that cannot be scored."""
    found = stages["label"].facts.get("barred", {}) if "label" in stages else {}
    return np.array(sorted(map(int, found)), dtype=np.int64)


def costs(setup: Setup, stages: dict[str, StageRecord]) -> dict[str, Any]:
    """What was spent by stage and in all, what labelling every pair would have taken of the language model, and how small
    the estimator is beside it.

    `share` weighs a backward pass as two forward ones; it compares calls, not seconds.
    """
    by_stage = {name: record.costs for name, record in stages.items()}
    names = next(iter(by_stage.values()))
    total = {name: round(sum(spent[name] for spent in by_stage.values()), 3) for name in names}
    total["peak_memory"] = max(spent["peak_memory"] for spent in by_stage.values())
    found = {"stages": by_stage, "total": total, "exact": _exact(setup, stages), "estimator": _estimator(stages)}
    if "label" in stages and "rounds" in stages["label"].facts:
        found["rounds"] = stages["label"].facts["rounds"]
    return found


def read_curve(place: Path, stages: Mapping[str, StageRecord]) -> dict[str, Any] | None:
    """The learning curve of a run whose labels were drawn in rounds."""
    if "label" not in stages or CURVE not in stages["label"].files:
        return None
    return json.loads((place / CURVE).read_text(encoding="utf-8"))


def calls_text(calls: Calls) -> str:
    """Calls in words."""
    if not calls.backwards:
        return f"{calls.forwards:,}"
    return f"{calls.forwards:,} forward and {calls.backwards:,} backward"


def _exact(setup: Setup, stages: dict[str, StageRecord]) -> dict[str, Any] | None:
    """Language-model calls of exact influences for every pair, and the share of them that the labels of this run are worth
    together with the rows that its estimator reads, whether it made these calls or an earlier run did."""
    if not setup.influence.traits.needs_model or "label" not in stages:
        return None
    exact, asked = setup.calls(setup.all_asked), setup.calls(setup.asked)
    asked = replace(asked, forwards=asked.forwards + (setup.readable if setup.reads_states else 0))
    made = spent(stages[name].costs for name in ("label", "states") if name in stages)
    return {
        "lm_forwards": exact.forwards,
        "lm_backwards": exact.backwards,
        "share": work(asked) / work(exact),
        "not_made": max(0, 1 - work(made) / work(asked)),
    }


def anew_text(anew: Mapping[str, Any], labels: int) -> str:
    """What reusing an estimator saves, in words."""
    calls = Calls(anew["lm_forwards"], anew["lm_backwards"])
    taking = f" with {calls_text(calls)} language-model calls" if work(calls) else ""
    return (
        f"The estimator of {anew['run']} is reused, and {labels:,} exact influences check it: training one anew would take "
        f"{anew['labels']:,}{taking}; {anew['saved']:.0%} of that is saved."
    )


def spent(stages: Iterable[Mapping[str, Any]]) -> Calls:
    """Language-model calls that stages made."""
    every = list(stages)
    return Calls(*(sum(int(costs[name]) for costs in every) for name in ("lm_forwards", "lm_backwards")))


def reuse_note(costs: dict[str, Any]) -> dict[str, str]:
    """What there is to say where much of the work was found done."""
    share = costs["exact"]["not_made"] if costs["exact"] else 0
    if share < _WORTH_SAYING:
        return {}
    return {
        "reused": f"{share:.0%} of the language-model calls for labels and features were not made in this run: their results "
        "were kept by an earlier or interrupted one, or the rows cannot be scored"
    }


def _estimator(stages: dict[str, StageRecord]) -> dict[str, Any] | None:
    """Weights of the estimator, and as a share of the language model's."""
    if "estimate" not in stages:
        return None
    weights, beside = stages["estimate"].facts["weights"], 0
    if "label" in stages:
        beside = stages["label"].facts.get("lm_weights", 0)
    return {"weights": weights, "lm_weights": beside, "share": weights / beside if beside else None}
