"""The one place that knows the order of the road: rows, embeddings, labels, estimator, kernels, selection, receipt."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from nncift.config import LabelConfig, SelectConfig
from nncift.data.arrays import read_npz, write_npz
from nncift.data.labels import Labels
from nncift.errors import ConfigError
from nncift.estimator.base import Fitted
from nncift.estimator.budget import LabelBudget
from nncift.estimator.fidelity import measure
from nncift.estimator.storage import load, save
from nncift.lm.device import describe_cpu
from nncift.objective.base import Objective, Rule
from nncift.pipeline import receipt
from nncift.pipeline.choice import choice_stage
from nncift.pipeline.dedup import admit
from nncift.pipeline.desk import hire
from nncift.pipeline.donor import donor_of, inherit
from nncift.pipeline.facts import facts_of
from nncift.pipeline.features import STATES, Readable, read_states, readable
from nncift.pipeline.keys import CODE, select_depends
from nncift.pipeline.labelling import Labelling, kept_labels, label_stage, labels_of, remove_journal, set_aside
from nncift.pipeline.making import class_key, make_estimator
from nncift.pipeline.models import Models
from nncift.pipeline.pace import pace_stage
from nncift.pipeline.picked import read_picks
from nncift.pipeline.preparing import prepare, with_labels
from nncift.pipeline.ranking import make_ranker
from nncift.pipeline.readers import readers_of
from nncift.pipeline.reuse import Reuse, trained_anew
from nncift.pipeline.rounds import Rounds
from nncift.pipeline.setup import Setup
from nncift.pipeline.states import arrays
from nncift.pipeline.twins import tell_twins
from nncift.pipeline.vectors import Embeddings, read_embeddings
from nncift.pipeline.writing import remove_others, subset_name, write_depends, write_stage
from nncift.progress import Reporter, Silent
from nncift.recipe import resolved, write_recipe
from nncift.run import RunFolder, StageRecord, Work, content_key
from nncift.scale.executor import check_executor
from nncift.selection import Picks, Selection

log = logging.getLogger(__name__)


def select(config: SelectConfig, reporter: Reporter | None = None) -> Selection:
    """Chooses the subset and writes its receipt into the run folder `config.output`.

    Raises:
        NnciftError: anything that a user can mend.
    """
    check_executor(config.executor)
    config = inherit(config)
    if config.output is None:
        raise ConfigError("no run folder: add -o RUN.")
    reporter = reporter or Silent()
    setup = admit(prepare(config), reporter)
    assert setup.objective is not None
    with closing(RunFolder(Path(config.output))) as folder, closing(_Road(folder, setup, reporter)) as road:
        return road.select(config, setup.objective)


def label(config: LabelConfig, reporter: Reporter | None = None) -> Labels:
    """Computes exact influences and writes them to the file `config.output` (`.npz`).

    While it works it keeps a folder of the file's name with `.labelling` behind it, from which an interrupted call
    resumes; rows that cannot be used go to `<name>.rejected.jsonl`. A file that already holds the answer is kept.

    Raises:
        NnciftError: anything that a user can mend.
    """
    if config.output is None or not config.output.endswith(".npz"):
        raise ConfigError(f"the labels file is {config.output!r}; name it with -o labels.npz.")
    check_executor(config.executor)
    reporter = reporter or Silent()
    setup = admit(prepare(config), reporter)
    final = Path(config.output)
    place = final.with_name(f"{final.stem}.labelling")
    with closing(RunFolder(place)) as folder, closing(_Road(folder, setup, reporter)) as road:
        for sentence in receipt.input_notes(setup).values():
            log.warning("%s", sentence)
        kept = kept_labels(final, road.labelling())
        if kept is None:
            road.decide()
        labels = kept or road.labels(road.labelling())
        receipt.write_rejects(folder, setup)
        if not kept:
            (place / "labels.npz").replace(final)
        if any(pool.rejected for _, pool in setup.pools()):
            (place / "rejected.jsonl").replace(final.with_name(f"{final.stem}.rejected.jsonl"))
        folder.remove()
    return labels


class _Road:
    """One run on its way; every method is a stage and returns what the next one needs."""

    def __init__(self, folder: RunFolder, setup: Setup, reporter: Reporter) -> None:
        self.folder = folder
        self.setup = setup
        self.reporter = reporter
        self.models = Models(setup, reporter)
        self.embeddings = cache(self._embeddings)
        self.features = cache(self._features)
        self.used: dict[str, StageRecord] = {}
        self.rounds: Rounds | None = None

    def close(self) -> None:
        """Lets the workers go."""
        self.models.close()

    def select(self, config: SelectConfig, objective: Objective | Rule) -> Selection:
        """The whole road."""
        folder = self.folder
        reuse = self._reuse(config)
        self.decide()
        labelling = None if self.setup.pairs is None else self.labelling()
        notes = self._begin(config)
        set_aside(folder, labelling)
        if (twins := self.setup.twins) is not None:
            self._stage("dedup", *twins.stage(folder))
        labels = None if labelling is None else self.labels(labelling)
        setup = self.setup  # rounds end with all their pairs
        estimator, fidelity = None, None
        if reuse is not None:
            estimator, fidelity = self._take_over(reuse, labels)
        elif labels is not None and not setup.exact:
            estimator, fidelity = self._estimate(config, labels)
        if labels is None and setup.influence.traits.needs_embeddings:
            self.embeddings()
        barred = receipt.barred(self.used)
        ranker = make_ranker(config, self.models, objective, self.embeddings, self.features, labels, estimator, barred)
        record = self._stage(
            "select",
            select_depends(setup, self.models, config, objective, self.used),
            choice_stage(config, self.models, folder, ranker.rank, labels, self.reporter),
        )
        picks = read_picks(folder, record)
        subset = self._write(config, record, picks)
        folder.forget_all_but(set(self.used))
        costs = receipt.costs(setup, self.used)
        if reuse is not None:
            costs["training_anew"] = trained_anew(reuse.donor, setup)
        folder.write_json("costs.json", costs)
        for stage in self.used.values():
            notes |= stage.notes
        for kind, sentence in receipt.reuse_note(costs).items():
            log.warning("%s", sentence)
            notes[kind] = sentence
        receipt.write_done(folder, setup, len(picks.order), subset.name, notes)
        return Selection(
            pool=setup.pool,
            picks=picks,
            objective=objective.name,
            fidelity=fidelity,
            costs=costs,
            facts=record.facts,
            notes=notes,
            subset=subset,
            folder=folder.path,
            ranker=lambda budget: ranker.rank(budget).picks,
            influences=ranker.influences,
            inside=ranker.inside,
            learning=receipt.read_curve(folder.path, self.used),
        )

    def _write(self, config: SelectConfig, selected: StageRecord, picks: Picks) -> Path:
        """The chosen rows and their ranking, in the layout that is asked for and in no other."""
        folder, pool, rows = self.folder, self.setup.pool, config.shard_rows
        record = self._stage("write", write_depends(selected, rows), write_stage(folder, pool, picks, rows))
        remove_others(folder, record.files)  # what a kill between both left of a layout that is not asked for
        return folder.path / subset_name(pool, rows)

    def decide(self) -> None:
        """How many pairs a budget in seconds buys: measured once, and kept, so that a run that is taken up again labels the
        same ones."""
        setup, budget = self.setup, self.setup.labels
        if budget.kind != "seconds":
            return
        seen = self.embeddings() if setup.influence.traits.needs_embeddings else None

        work = pace_stage(setup, self.models, seen, self.reporter)
        record = self._stage("pace", {"code": CODE["pace"]} | self.labelling().meta, work)
        self._know(with_labels(setup, LabelBudget("count", record.facts["pairs"])))

    def _know(self, setup: Setup) -> None:
        self.setup = self.models.setup = setup

    def labelling(self) -> Labelling:
        """What is to be labelled, and on what it depends."""
        setup = self.setup
        assert setup.pairs is not None
        meta = {"code": CODE["label"]} | setup.depends()
        if setup.influence.traits.needs_model:
            meta |= self.models.lm_key
        if setup.influence.traits.needs_embeddings:
            meta |= self.models.embedder_key
        if setup.rounds is not None and isinstance(setup.config, SelectConfig):  # it has a say in what is labelled
            estimator = make_estimator(setup.config.estimator, hidden=setup.config.hidden)
            meta["estimator"] = class_key(setup.config.estimator, type(estimator))
            meta["hidden"] = setup.config.hidden
            meta["features"] = content_key(self.models.features_key)
        return Labelling(setup.influence, setup.axes, setup.pairs, meta)

    def labels(self, labelling: Labelling) -> Labels:
        """Exact influences of the chosen pairs."""
        setup, config = self.setup, self.setup.config
        seen = self.embeddings() if setup.influence.traits.needs_embeddings else None
        hired = hire(self.models, seen, self.reporter)
        if setup.rounds is not None and isinstance(config, SelectConfig):
            estimator = make_estimator(config.estimator, hidden=config.hidden)
            self.rounds = Rounds(setup, self.models, estimator, self.features(), self.reporter)
            work = self.rounds.stage(self.folder, labelling, hired)
        else:
            work = label_stage(self.folder, labelling, hired, self.reporter)
        self._stage("label", labelling.meta, work)
        remove_journal(self.folder, labelling)
        stored = read_npz(self.folder.path / "labels.npz")
        self._know(setup.labelled((stored["i"], stored["j"])))
        return labels_of(stored, labelling)

    def _begin(self, config: SelectConfig) -> dict[str, str]:
        machine = asdict(self.models.placement) | {"cpu": describe_cpu(), "seed": config.seed}
        (self.folder.path / "done.json").unlink(missing_ok=True)
        notes = receipt.input_notes(self.setup)
        for sentence in notes.values():
            log.warning("%s", sentence)
        with self.folder.atomic("recipe.yaml") as part:
            write_recipe(resolved(config), part)
        receipt.write_rejects(self.folder, self.setup)
        return notes | receipt.write_environment(self.folder, machine)

    def _stage(self, name: str, depends: dict[str, Any], work: Callable[[Work], None]) -> StageRecord:
        self.used[name] = self.folder.stage(name, depends, work)
        return self.used[name]

    def _embeddings(self) -> Embeddings:
        axes = self.setup.axes
        depends = {"code": CODE["embed"], "rows": axes.fingerprint} | self.models.embedder_key

        def work(done: Work) -> None:
            done.files += self.models.embed(done).write(self.folder)
            tell_twins(done, self.folder.path, axes.n, dropped=self.setup.twins is not None)

        self._stage("embed", depends, work)
        return read_embeddings(self.folder.path)

    def _features(self) -> Readable:
        vectors, axes, states = self.embeddings(), self.setup.axes, None
        if self.setup.reads_states:
            depends = {"code": CODE["states"], "rows": axes.fingerprint} | self.models.states_key

            def work(done: Work) -> None:
                readers = readers_of(self.models, done.ledger)
                with nullcontext() if readers is None else closing(readers):
                    both = self.models.states(done, readers)
                for name, found in zip(STATES, both, strict=True):
                    with self.folder.atomic(name) as part:
                        write_npz(part, arrays(found))
                    done.files.append(name)
                if readers is not None:
                    readers.tell(done)

            self._stage("states", depends, work)
            states = read_states(self.folder.path)
        return readable(axes, vectors, states)

    def _estimate(self, config: SelectConfig, labels: Labels) -> tuple[Fitted, dict[str, Any]]:
        estimator, seed = make_estimator(config.estimator, hidden=config.hidden), config.seed
        seen = self.features()
        made_by = content_key(self.models.features_key)

        def work(done: Work) -> None:
            self.reporter.begin("train", 2, "fits")
            fidelity = measure(
                labels, seen.rows, seen.columns, design_kind=self.setup.design, estimator=estimator, seed=seed
            )
            self.reporter.advance(1)
            last = None if self.rounds is None else self.rounds.last  # of all labels, where they are of this process
            fitted = last or estimator.fit(labels, seen.rows, seen.columns, seed=seed)
            with self.folder.atomic("estimator.safetensors") as part:
                save(fitted, part, features=made_by)
            self.folder.write_json("fidelity.json", fidelity.record() | facts_of(fitted, seen, self.setup.axes))
            done.files += ["estimator.safetensors", "fidelity.json"]
            done.facts["weights"] = fitted.weights
            done.ledger.flops += 0 if last else fitted.flops
            self.reporter.end(fitted.summary())
            if warning := fidelity.warning():
                done.note("estimator", warning)

        depends = {
            "code": CODE["estimate"],
            "labels": self.used["label"].key,
            "features": {name: self.used[name].key for name in ("embed", "states") if name in self.used},
            "estimator": class_key(config.estimator, type(estimator)),
            "hidden": config.hidden,
            "seed": seed,
        }
        self._stage("estimate", depends, work)
        fitted = load(self.folder.path / "estimator.safetensors", estimator, features=made_by)
        return fitted, json.loads((self.folder.path / "fidelity.json").read_text(encoding="utf-8"))

    def _reuse(self, config: SelectConfig) -> Reuse | None:
        """The estimator of another run, which is refused before anything is spent; None where one is trained."""
        donor = donor_of(config)
        if donor is None:
            return None
        reuse = Reuse(donor, self.setup, self.models, self.folder)
        reuse.open()
        return reuse

    def _take_over(self, reuse: Reuse, labels: Labels | None) -> tuple[Fitted, dict[str, Any]]:
        seen = self.features()
        self._stage("estimate", reuse.depends(self.used), reuse.work(labels, seen, self.reporter))
        return reuse.read()
