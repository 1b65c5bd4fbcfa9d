"""The one place that knows the order of the road: rows, embeddings, labels, estimator, kernels, selection, receipt."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nncift.config import LabelConfig, SelectConfig, resolved, write_recipe
from nncift.data.arrays import read_npz, write_npz
from nncift.data.labels import Labels
from nncift.data.write import subset_suffix, write_rejected, write_rows
from nncift.errors import ConfigError
from nncift.estimator.fidelity import measure
from nncift.estimator.fitted import FittedEstimator, load
from nncift.estimator.training import TrainingConfig, fit
from nncift.ledger import Ledger
from nncift.lm.device import describe_cpu
from nncift.objective.greedy import greedy
from nncift.objective.modular import mean_influence
from nncift.objective.reasons import explain
from nncift.pipeline import filling
from nncift.pipeline.inputs import describe_rejected
from nncift.pipeline.labelling import Labelling, kernel_shape, label_stage
from nncift.pipeline.models import Embeddings, Models
from nncift.pipeline.setup import Setup, prepare
from nncift.progress import Reporter, Silent
from nncift.run import RunFolder, StageRecord, Work, content_key, environment
from nncift.selection import Picks, Selection, source_positions

log = logging.getLogger(__name__)

_CODE = {"embed": 1, "label": 1, "estimate": 1, "select": 1}
"""Raised where a stage's code changes its result, so that a run folder of an older version is not taken for done."""


def select(config: SelectConfig, reporter: Reporter | None = None) -> Selection:
    """Chooses the subset and writes its receipt into the run folder `config.output`.

    Raises:
        NnciftError: anything that a user can mend.
    """
    reporter = reporter or Silent()
    setup = prepare(config)
    filling.refuse_if_too_large(setup.axes)
    if config.output is None:
        raise ConfigError("no run folder: add -o RUN.")
    with closing(RunFolder(Path(config.output))) as folder:
        return _Road(folder, setup, reporter).select(config)


def label(config: LabelConfig, reporter: Reporter | None = None) -> Labels:
    """Computes exact influences and writes them to the file `config.output` (`.npz`); resumes where it was interrupted.

    Raises:
        NnciftError: anything that a user can mend.
    """
    reporter = reporter or Silent()
    if config.output is None or not config.output.endswith(".npz"):
        raise ConfigError(f"the labels file is {config.output!r}; name it with -o labels.npz.")
    setup = prepare(config)
    final = Path(config.output)
    with closing(RunFolder(final.with_name(f"{final.stem}.labelling"))) as folder:
        road = _Road(folder, setup, reporter)
        road.write_rejected()
        labels = road.labels()
        write_npz(folder.path / "out.part", read_npz(folder.path / "labels.npz"))
        (folder.path / "out.part").replace(final)
    return labels


class _Road:
    """One run on its way; every method is a stage and returns what the next one needs."""

    def __init__(self, folder: RunFolder, setup: Setup, reporter: Reporter) -> None:
        self.folder = folder
        self.setup = setup
        self.reporter = reporter
        self.models = Models(setup, reporter)
        self.embeddings = cache(self._embeddings)

    def select(self, config: SelectConfig) -> Selection:
        """The whole road."""
        self._begin(config)
        labels, estimator, fidelity = None, None, None
        if not self._from_session():
            labels = self.labels()
        if not self.setup.exact:
            assert labels is not None
            estimator, fidelity = self._estimate(labels)
        ranker = self._ranker(config, labels, estimator)
        record = self.folder.stage(
            "select", self._select_depends(config), lambda done: self._choose(done, ranker, labels)
        )
        picks = self._read_picks(record)
        costs = self._costs()
        self.folder.write_json("costs.json", costs)
        notes = {
            kind: text for stage in self.folder.records.values() for kind, text in stage.notes.items()
        } | self.notes
        self.folder.write_json(
            "done.json",
            {"rows": len(picks.order), "of": len(self.setup.pool), "subset": self._subset_name(), "notes": notes},
        )
        objective = self.setup.objective
        assert objective is not None
        subset = self.folder.path / self._subset_name()
        return Selection(
            self.setup.pool,
            picks,
            objective.name,
            fidelity,
            costs,
            record.facts,
            notes,
            subset,
            self.folder.path,
            ranker,
        )

    def labels(self) -> Labels:
        """Exact influences of the chosen pairs."""
        setup = self.setup
        meta = setup.depends() | self.models.lm_key
        if setup.influence.needs_embeddings:
            meta["embedder"] = self.models.embedder.fingerprint
        labelling = Labelling(setup.influence, setup.axes, setup.pairs(), meta)
        seen = self.embeddings() if setup.influence.needs_embeddings else None
        work = label_stage(self.folder, labelling, lambda ledger: self.models.context(seen, ledger), self.reporter)
        self.folder.stage("label", {"code": _CODE["label"], **meta}, work)
        stored = read_npz(self.folder.path / "labels.npz")
        return Labels(stored["i"], stored["j"], stored["y"], kernel_shape(setup.axes))

    def write_rejected(self) -> None:
        """Rows that cannot be used, with their reasons; one note says how many."""
        pools = self.setup.pools()
        with self.folder.atomic("rejected.jsonl") as part:
            write_rejected((row for _, pool in pools for row in pool.rejected), part)
        self.notes: dict[str, str] = {}
        sentence = describe_rejected(pools)
        if sentence:
            log.warning("%s", sentence)
            self.notes["rejected"] = sentence

    def _begin(self, config: SelectConfig) -> None:
        with self.folder.atomic("recipe.yaml") as part:
            write_recipe(resolved(config), part)
        self.write_rejected()
        axes = self.setup.axes
        if axes.sampled_from > axes.m:
            log.warning("%s", sentence := f"{axes.m:,} of {axes.sampled_from:,} target rows are used (--max-targets)")
            self.notes["targets"] = sentence
        twins = int((axes.masked[:, 0] < axes.m).sum()) - (axes.m if axes.own_target else 0)
        if twins > 0:
            where = "another pool row" if axes.own_target else "a target row"
            log.warning(
                "%s", sentence := f"{twins:,} pairs have a pool row with the text of {where}; they get no label"
            )
            self.notes["same-text"] = sentence
        placement = self.models.placement
        self.folder.write_json(
            "environment.json",
            environment(
                {"device": placement.device, "dtype": placement.dtype, "cpu": describe_cpu(), "seed": config.seed}
            ),
        )

    def _from_session(self) -> bool:
        """Whether exact values come straight from a free teacher, without a labels file."""
        return self.setup.influence.free and self.setup.exact

    def _embeddings(self) -> Embeddings:
        depends = {
            "code": _CODE["embed"],
            "rows": self.setup.axes.fingerprint,
            "embedder": self.models.embedder.fingerprint,
        }
        files = ("embeddings/rows.npy", "embeddings/columns.npy")

        def work(done: Work) -> None:
            vectors = self.models.embed(done)
            for name, array in zip(files, (vectors.rows, vectors.columns), strict=True):
                with self.folder.atomic(name) as part, part.open("wb") as stream:
                    np.lib.format.write_array(stream, array, allow_pickle=False)
                done.files.append(name)

        self.folder.stage("embed", depends, work)
        rows, columns = (np.load(self.folder.path / name, allow_pickle=False) for name in files)
        return Embeddings(rows, columns)

    def _estimate(self, labels: Labels) -> tuple[FittedEstimator, dict[str, Any]]:
        vectors = self.embeddings()
        config, seed = TrainingConfig(), self.setup.config.seed
        e_rows = vectors.rows if self.setup.influence.pairwise else None
        fingerprint = self.models.embedder.fingerprint
        design = self.setup.labels.design(kernel_shape(self.setup.axes)[0])

        def work(done: Work) -> None:
            self.reporter.begin("train", 2, "fits")
            fidelity = measure(labels, e_rows, vectors.columns, design_kind=design, config=config, seed=seed)
            self.reporter.advance(1)
            estimator = fit(labels, e_rows, vectors.columns, config=config, seed=seed, embedder=fingerprint)
            with self.folder.atomic("estimator.safetensors") as part:
                estimator.save(part)
            self.folder.write_json("fidelity.json", fidelity.record() | {"sentence": fidelity.sentence()})
            done.files += ["estimator.safetensors", "fidelity.json"]
            self.reporter.end(fidelity.sentence())

        depends = {
            "code": _CODE["estimate"],
            "labels": self.folder.records["label"].key,
            "embed": self.folder.records["embed"].key,
            "training": asdict(config),
            "seed": seed,
        }
        self.folder.stage("estimate", depends, work)
        estimator = load(self.folder.path / "estimator.safetensors", expect_embedder=fingerprint)
        return estimator, json.loads((self.folder.path / "fidelity.json").read_text(encoding="utf-8"))

    def _fill(self, config: SelectConfig, labels: Labels | None, estimator: FittedEstimator | None) -> filling.Filled:
        axes = self.setup.axes
        if estimator is not None:
            known = labels if config.known == "keep" else None
            return filling.from_estimator(estimator, axes, self.embeddings(), known, threads=config.threads)
        if labels is not None:
            return filling.from_labels(axes, labels)
        seen = self.embeddings() if self.setup.influence.needs_embeddings else None
        return filling.from_session(axes, self.setup.influence.start(self.models.context(seen, Ledger())))

    def _ranker(
        self, config: SelectConfig, labels: Labels | None, estimator: FittedEstimator | None
    ) -> Callable[[int], Picks]:
        """Ranks any number of rows; the kernels are filled when it is first called."""
        axes, objective = self.setup.axes, self.setup.objective
        assert objective is not None
        filled = cache(lambda: self._fill(config, labels, estimator))

        def rank(budget: int) -> Picks:
            blocks = filled()
            kernels = filling.kernels(blocks, axes)
            merit = mean_influence(kernels)
            problem = objective.problem(kernels, eta=config.eta, nu=config.nu)
            ranking = greedy(problem, budget, rest=merit, threads=config.threads)
            represented = axes.rows[axes.m :] if objective.needs_pool else axes.rows[: axes.m]
            score = merit if problem.modular is None else problem.modular
            reasons = explain(problem, ranking, [row.id for row in represented], score)
            return Picks(ranking.order, ranking.gains, reasons, ranking.positive, ranking.rest_rule)

        return rank

    def _choose(self, done: Work, ranker: Callable[[int], Picks], labels: Labels | None) -> None:
        setup = self.setup
        self.reporter.begin("select", setup.budget, "rows")
        picks = ranker(setup.budget)
        chosen = [setup.pool[position] for position in source_positions(setup.pool, picks.order)]
        with self.folder.atomic("selection.jsonl") as part, part.open("w", encoding="utf-8") as stream:
            for rank, (row, position, gain, reason) in enumerate(
                zip(chosen, picks.order, picks.gains, picks.reasons, strict=True), start=1
            ):
                entry = {
                    "rank": rank,
                    "id": row.id,
                    "row": row.number,
                    "line": row.line,
                    "gain": float(gain),
                    "reason": reason,
                }
                stream.write(json.dumps(entry | {"position": int(position)}, ensure_ascii=True, allow_nan=False) + "\n")
        with self.folder.atomic(self._subset_name()) as part:
            write_rows(setup.pool, source_positions(setup.pool, picks.order), part)
        done.files += ["selection.jsonl", self._subset_name()]
        done.facts |= {"positive": picks.positive, "rest_rule": picks.rest_rule, "objective": setup.why}
        if not setup.exact:
            done.ledger.pair_predictions = int(np.prod(kernel_shape(setup.axes)))
        if labels is not None and not setup.exact:
            had = np.isin(np.arange(setup.axes.n), labels.j)
            done.facts["picks_with_labels"] = float(had[picks.order].mean())
            done.facts["rows_with_labels"] = float(had.mean())
        if picks.positive < len(picks.order):
            done.note(
                "gains", f"{picks.positive:,} of {len(picks.order):,} picks had a positive gain; {picks.rest_rule}"
            )
        self.reporter.end(f"{picks.positive:,} of {len(picks.order):,} picks with positive gain")

    def _select_depends(self, config: SelectConfig) -> dict[str, Any]:
        before = [self.folder.records[name].key for name in ("embed", "label", "estimate") if name in self._used()]
        return {
            "code": _CODE["select"],
            "before": before,
            "rows": self.setup.axes.fingerprint,
            "source": content_key({"order": [example.number for example in self.setup.pool]}),
            "influence": self.setup.depends(),
            "objective": config.objective or self.setup.why,
            "budget": self.setup.budget,
            "eta": config.eta,
            "nu": config.nu,
            "known": config.known,
        }

    def _used(self) -> set[str]:
        """Stages that this run goes through."""
        used = set() if self._from_session() else {"label"}
        if not self.setup.exact or self.setup.influence.needs_embeddings:
            self.embeddings()
            used.add("embed")
        return used | (set() if self.setup.exact else {"estimate"})

    def _read_picks(self, record: StageRecord) -> Picks:
        lines = (self.folder.path / "selection.jsonl").read_text(encoding="utf-8").splitlines()
        entries = [json.loads(line) for line in lines]
        return Picks(
            np.array([entry["position"] for entry in entries], dtype=np.int64),
            np.array([entry["gain"] for entry in entries]),
            tuple(entry["reason"] for entry in entries),
            record.facts["positive"],
            record.facts["rest_rule"],
        )

    def _costs(self) -> dict[str, Any]:
        """Counters and seconds by stage, their sum, and the calls that every exact influence would have taken."""
        used = {*self._used(), "select"}
        stages = {name: record.costs for name, record in self.folder.records.items() if name in used}
        total: dict[str, float] = {
            key: sum(costs[key] for costs in stages.values()) for key in next(iter(stages.values()))
        }
        exact: dict[str, float] | None = None
        if self.setup.influence.needs_model:
            rows, columns = kernel_shape(self.setup.axes)
            pairs = rows * columns - len(self.setup.axes.masked)
            exact = {"lm_sequences": pairs + (len(self.setup.axes.rows) if self.setup.influence.pairwise else 0)}
            exact["share"] = total["lm_sequences"] / exact["lm_sequences"]
        return {"stages": stages, "total": total, "exact": exact}

    def _subset_name(self) -> str:
        return f"subset{subset_suffix(self.setup.pool)}"
