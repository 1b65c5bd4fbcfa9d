"""The stage that takes over an estimator of another run: a copy of it, and what there is to say of it on the new rows."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nncift.config import SelectConfig
from nncift.data.arrays import read_npz
from nncift.data.labels import Labels
from nncift.errors import ConfigError
from nncift.estimator.base import Fitted
from nncift.estimator.budget import LabelBudget, parse_labels
from nncift.estimator.features import Features
from nncift.estimator.novelty import Novelty, novelty
from nncift.estimator.storage import load
from nncift.estimator.transfer import judge
from nncift.influence.base import Calls, work
from nncift.pipeline.donor import ESTIMATOR, Donor
from nncift.pipeline.drawing import draw_pairs, plain_design
from nncift.pipeline.features import Readable, read_states, state_blocks
from nncift.pipeline.inputs import kernel_shape
from nncift.pipeline.making import class_key, make_estimator
from nncift.pipeline.models import Models
from nncift.pipeline.setup import Setup
from nncift.progress import Reporter
from nncift.run import RunFolder, StageRecord, Work, as_left, content_key


@dataclass(frozen=True, slots=True)
class Reuse:
    """An estimator of another run on the rows of this one.

    Attributes:
        donor: that run.
        setup: this one.
        models: of this one.
        folder: of this one.
    """

    donor: Donor
    setup: Setup
    models: Models
    folder: RunFolder

    def open(self) -> Fitted:
        """The estimator.

        Raises:
            ConfigError: the models of this run do not give the features that it was trained on.
        """
        estimator = make_estimator(self.donor.name)
        with as_left(self.donor.folder):
            vectors = np.load(self.donor.folder / "embeddings" / "columns.npy", mmap_mode="r", allow_pickle=False)
            width = vectors.shape[1]
        if self.models.embedder.dimension != width:
            raise ConfigError(
                f"--embedder gives vectors of {self.models.embedder.dimension} numbers, and the estimator in "
                f"{str(self.donor.folder)!r} was trained on {width}. Embed the new rows by the same model."
            )
        return load(self.donor.folder / ESTIMATOR, estimator, features=expected_features(self.models))

    def depends(self, used: dict[str, StageRecord]) -> dict[str, Any]:
        """What the stage depends on, after the stages that were gone through."""
        name = self.donor.name
        return self.donor.depends | {
            "code": 1,
            "by": class_key(name, type(make_estimator(name))),
            "before": {stage: record.key for stage, record in used.items()},
            "seed": self.setup.config.seed,
        }

    def work(self, labels: Labels | None, seen: Readable, reporter: Reporter) -> Callable[[Work], None]:
        """Copies the estimator, holds it against the labels, and looks at how the new rows lie among the old ones.

        *Cost*: five trainings on the labels, and a second or two; no language-model call.
        """

        def work(done: Work) -> None:
            reporter.begin("check", 0, "")
            fitted, seed = self.open(), self.setup.config.seed
            with self.folder.atomic(ESTIMATOR) as part:
                part.write_bytes((self.donor.folder / ESTIMATOR).read_bytes())
            record: dict[str, Any] = {"design": self.setup.design, "trained_on": fitted.labels, "verdict": "unknown"}
            words = ["No label checks the estimator of other data on these (--labels none)."]
            if labels is None:
                done.note("unchecked", words[0])
            else:
                found = judge(fitted, make_estimator(self.donor.name), labels, seen.rows, seen.columns, seed=seed)
                record |= found.record()
                words = [found.sentence()]
                if not found.advised:
                    done.note("carried", f"{found.sentence()} Train anew: {self.command}")
            lie = self._novelty(seen, seed)
            for role, one in lie.items():
                told = _told(role, one)
                words.append(told)
                if one.alarming:
                    done.note(f"novel_{role}", told)
            reused = {"run": str(self.donor.folder), "estimator": self.donor.name, "labels": fitted.labels}
            new = {role: one.record() for role, one in lie.items()}
            self.folder.write_json(
                "fidelity.json", record | {"sentence": " ".join(words), "reused": reused, "new_rows": new}
            )
            done.files += [ESTIMATOR, "fidelity.json"]
            done.facts |= {"weights": fitted.weights, "reused": reused}
            reporter.end(f"{fitted.summary()}, reused from {self.donor.folder}")

        return work

    def read(self) -> tuple[Fitted, dict[str, Any]]:
        """The estimator of this run's own folder, and its fidelity."""
        fitted = load(self.folder.path / ESTIMATOR, make_estimator(self.donor.name), features=None)
        return fitted, json.loads((self.folder.path / "fidelity.json").read_text(encoding="utf-8"))

    @property
    def command(self) -> str:
        """The command that trains an estimator on the new rows."""
        config = self.setup.config
        assert isinstance(config, SelectConfig)
        named = {"-t": config.target, "-i": config.influence, "-e": config.embedder, "--estimator": self.donor.name}
        words = ["nncift", "select", config.pool]
        words += [word for name, value in named.items() if value is not None for word in (name, value)]
        words += [word for model in config.model for word in ("-m", model)]
        words += [word for option in config.option for word in ("--option", option)]
        return shlex.join([*words, "--labels", self.donor.config.labels])

    def _novelty(self, seen: Readable, seed: int) -> dict[str, Novelty]:
        """How the new rows lie among those that it was trained on, by role, where there are enough of them."""
        axes = self.setup.axes
        old_targets, old_pool = learnt_rows(self.donor)
        pairs = {"pool": (old_pool, seen.columns.take(np.arange(axes.n)))}
        if old_targets is not None and seen.rows is not None:
            pairs["target"] = (old_targets, seen.rows.take(np.arange(axes.m)))
        found = {role: novelty(old, new, seed=seed) for role, (old, new) in pairs.items()}
        return {role: one for role, one in found.items() if one is not None}


def expected_features(models: Models) -> str | None:
    """What an estimator must have been trained on to be of use in a run; None where vectors come from files, which do not
    tell what made them."""
    name = models.config.embedder or ""
    return None if name.lower().endswith(".npy") else content_key(models.features_key)


def learnt_rows(donor: Donor) -> tuple[Features | None, Features]:
    """What an estimator read of the targets and of the pool that it was trained on; no targets of a pointwise influence.
    Rows are told apart by their position alone."""
    with as_left(donor.folder):
        return _learnt_rows(donor)


def _learnt_rows(donor: Donor) -> tuple[Features | None, Features]:
    sizes = json.loads(str(read_npz(donor.folder / "labels.npz")["meta"]))
    states = read_states(donor.folder) if donor.reads_states else (None, None)
    found = []
    for side, own, count in zip(("rows", "columns"), states, (sizes["targets"], sizes["pool"]), strict=True):
        vectors = np.load(donor.folder / "embeddings" / f"{side}.npy", allow_pickle=False)[:count]
        blocks = {"embedding": vectors} | ({} if own is None else state_blocks(own))
        rows = {name: block[:count] for name, block in blocks.items()}
        found.append(Features(rows, tuple(map(str, range(len(vectors))))))
    targets, pool = found
    return (targets if len(targets) > 1 else None), pool


def trained_anew(donor: Donor, setup: Setup) -> dict[str, Any]:
    """What training an estimator on the new rows would take, with labels as the old one had them, and the share of it that is
    saved: of language-model calls, or of labels where none is made."""
    theirs, traits, axes = donor.config, setup.influence.traits, setup.axes
    labels, design = parse_labels(theirs.labels), plain_design(theirs.design)
    m, n = kernel_shape(axes)
    if labels.kind in ("auto", "calls", "seconds"):  # what they came to
        labels = LabelBudget("count", donor.records["label"].facts["labels"])
    if labels.kind == "count" and labels.amount > m * n:
        labels = parse_labels("all")
    pairs = draw_pairs(labels, axes, setup.config.seed, priced=traits.priced, design=design)
    anew, spent, now = replace(setup, labels=labels, pairs=pairs), Calls(), 0
    if setup.pairs is not None:
        spent, now = setup.calls(setup.asked), len(setup.pairs[0])
    calls = anew.calls(anew.asked)
    share = work(spent) / work(calls) if work(calls) else now / len(pairs[0])
    return {
        "run": str(donor.folder),
        "labels": len(pairs[0]),
        "lm_forwards": calls.forwards,
        "lm_backwards": calls.backwards,
        "saved": max(0.0, 1 - share),
    }


def _told(role: str, one: Novelty) -> str:
    """How new rows lie among old ones, in words."""
    rows = "rows" if role == "pool" else "target rows"
    lie = f"{one.apart:.0%} lie nearest to one another and not to rows that it knows"
    if one.alarming:
        return f"The new {rows} are not of the kind that the estimator was trained on: {lie}, where half is usual."
    return f"The new {rows} are of the kind that the estimator was trained on: {lie}, and half is usual."
