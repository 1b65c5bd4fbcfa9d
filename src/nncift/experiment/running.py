"""The cells of an experiment in their order: what is recorded is not done again, and what fails does not stop the rest."""

from __future__ import annotations

import json
import logging
import shutil
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from nncift.cachedir import cache_in
from nncift.config import Options
from nncift.disk import disk_sentence
from nncift.errors import NnciftError
from nncift.experiment import sharing
from nncift.experiment.doing import Result, chosen_ids, do
from nncift.experiment.folder import held, write_head
from nncift.experiment.grid import Cell, make_grid, only
from nncift.experiment.recipe import Recipe
from nncift.experiment.records import Record, cell_key, read_record, scrubbed, without_places, write_record
from nncift.experiment.sources import Source, Sources
from nncift.lm.atomic import write_whole
from nncift.pipeline.reopening import stands
from nncift.progress import Reporter, Silent
from nncift.redact import redact
from nncift.run import file_hash

log = logging.getLogger(__name__)

FAILURES = "failures"
CACHES = "caches"


@dataclass(slots=True)
class Outcome:
    """How an experiment ended.

    Attributes:
        folder: of the experiment.
        cells: how many there are, or were asked for.
        done: names of those that were done now.
        kept: names of those that had a record.
        failed: name -> why.
        skipped: names of those that need one that failed.
        tables: the files that were written.
    """

    folder: Path
    cells: int
    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether every cell has a result."""
        return not self.failed and not self.skipped

    def record(self) -> dict[str, Any]:
        """For programs."""
        return {
            "folder": str(self.folder),
            "cells": self.cells,
            "done": self.done,
            "kept": self.kept,
            "failed": self.failed,
            "skipped": self.skipped,
            "tables": [str(path) for path in self.tables],
        }

    def lines(self) -> list[str]:
        """For a person; the last line says what, how many, where."""
        lines = [f"failed: {name}: {why}" for name, why in self.failed.items()]
        lines += [f"skipped: {name}, which needs a cell that failed" for name in self.skipped]
        if self.tables:
            lines.append(f"{len(self.tables):,} tables and figures, such as {self.tables[0]}")
        there = len(self.done) + len(self.kept)
        return [*lines, f"{there:,} of {self.cells:,} cells ({len(self.kept):,} from before) in {self.folder}"]


def run_experiment(
    recipe: Recipe, folder: Path, *, root: Path, text: str | None = None, reporter: Reporter | None = None
) -> Outcome:
    """Does every cell that has no record, then writes the tables.

    Use it again with the same folder to go on after a kill, a failure, or with records that somebody else committed: a cell
    whose record has the same key is done, even where its run folder is gone.

    Args:
        recipe: the experiment.
        folder: where everything goes.
        root: the folder that the files of the recipe are relative to.
        text: only cells whose name contains it, and what they need.
        reporter: told of cells, and within them of the stages of a run.

    Raises:
        ConfigError: two cells have one folder, or an option is wrong; nothing has run then.
        RunError: the folder is in use or holds something else.
        NnciftError: no rows can be prepared at all. What goes wrong in a cell is in the outcome instead.
    """
    cells = only(make_grid(recipe), text)
    with held(folder, recipe):
        sources = Sources(recipe, root=root, folder=folder)
        write_head(folder, recipe)
        sources.refuse_none(cells)
        runner = Runner(folder, cells, sources, reporter)
        outcome = runner.run()
        outcome.tables += _tables(folder)
    return outcome


def _tables(folder: Path) -> list[Path]:
    """The tables of what is there; a fault in them does not take the cells along."""
    from nncift.experiment.tables import write_tables

    try:
        return write_tables(folder)
    except NnciftError as error:
        log.warning("the tables are not written: %s", error)
        return []


class _Nested:
    """Keeps count of the stages that are open, so that those of a cell that failed can be closed."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.open = 0

    def begin(self, stage: str, total: int, unit: str) -> None:
        self.open += 1
        self.reporter.begin(stage, total, unit)

    def advance(self, count: int) -> None:
        self.reporter.advance(count)

    def end(self, summary: str) -> None:
        self.open -= 1
        self.reporter.end(summary)

    def close_to(self, level: int) -> None:
        """Ends what was left open."""
        while self.open > level:
            self.end("stopped")


class Runner:
    """The cells of one experiment on their way."""

    def __init__(self, folder: Path, cells: Sequence[Cell], sources: Sources, reporter: Reporter | None = None) -> None:
        self.folder, self.cells, self.sources, self.reporter = folder, cells, sources, _Nested(reporter or Silent())
        self.named = {cell.name: cell for cell in cells}
        self.outcome = Outcome(folder, len(cells))
        self.lenders: list[tuple[Cell, Options, str]] = []
        named = ((folder, "DIR"), (sources.root, "DATA"))
        places = [(one, word) for place, word in named for one in (place.resolve(), place.absolute())]
        self.places = {str(place): word for place, word in places if len(place.parts) > 1}

    def run(self) -> Outcome:
        """All of them."""
        self.lenders = self._all_lenders()
        self.reporter.begin("cells", len(self.cells), "cells")
        for cell in self.cells:
            self._take(cell)
            self.reporter.advance(1)
        self.reporter.end(f"{len(self.cells):,}, {len(self.outcome.kept):,} of them from before")
        return self.outcome

    def _take(self, cell: Cell) -> None:
        outcome = self.outcome
        if any(need in outcome.failed or need in outcome.skipped for need in cell.needs):
            outcome.skipped.append(cell.name)
            return
        try:
            source = self.sources.of(cell.data)
            config = self._config(cell, source)
            key = self.key(cell)
        except NnciftError as error:  # without rows there is no key, and a result that is there stays
            outcome.failed[cell.name] = str(error)
            return
        before = read_record(self.folder, cell.name)
        if before is not None and before.done and before.key == key:
            outcome.kept.append(cell.name)
            return
        self.reporter.begin(cell.name, 0, "")
        level, started = self.reporter.open, perf_counter()
        result, error = self._attempt(cell, config, source)
        seconds = round(perf_counter() - started, 3)
        self.reporter.close_to(level)
        status = "done" if error is None else "failed"
        key = self.key(cell)  # what it needs may have been made again, with other rows
        why = None if error is None else scrubbed(str(without_places(error, self.places)))
        write_record(self.folder, Record(cell.name, cell.verb, cell.axes, key, status, why, seconds, result))
        if error is None:
            outcome.done.append(cell.name)
        else:
            outcome.failed[cell.name] = error
        left = len(self.cells) - len(outcome.done) - len(outcome.kept)
        self.reporter.end(f"{status if error is None else f'failed: {error}'} ({seconds:,.1f} s, {left:,} cells left)")

    def _attempt(self, cell: Cell, config: Options, source: Source) -> tuple[Result, str | None]:
        """The result of a cell, or why there is none."""
        try:
            self._make_needed(cell)
            result = without_places(self._do(cell, config, source), self.places)
            json.dumps(result, allow_nan=False)  # a record can hold it
            return result, None
        except NnciftError as error:
            return {}, str(error)
        except Exception as error:  # whatever it is, a hundred other cells need not die of it
            if disk_sentence(error) is not None:  # the other cells would die of it too
                raise
            place = self.folder / FAILURES / f"{cell.name}.txt"
            write_whole(place, redact(traceback.format_exc()).encode("utf-8", "backslashreplace"))
            return {}, redact(f"{type(error).__name__}: {error} (see {place})")

    def _do(self, cell: Cell, config: Options, source: Source) -> Result:
        self._lend(cell, config, source)
        subjects = {Path(need).name: self.named[need].axes for need in cell.needs}
        if not cell.alone:
            return do(config, self.reporter, subjects=subjects)
        cache = self.folder / CACHES / cell.name
        with cache_in(cache):
            result = do(config, self.reporter, subjects=subjects)
        shutil.rmtree(cache)
        return result

    def _config(self, cell: Cell, source: Source) -> Options:
        """The configuration with the files of the cell."""
        given: dict[str, Any] = dict(source.files) | {"output": str(self._place(cell))}
        if cell.verb == "evaluate":
            given["subset"] = tuple(str(self._place(self.named[need])) for need in cell.needs)
        if cell.verb == "fidelity" and not cell.matrix:
            given["matrix"] = str(self._place(self.named[cell.needs[0]]))
        return cell.config(given)

    def key(self, cell: Cell) -> str:
        """What the record of a cell must have so that it is not done again; the cells that it needs must be done."""
        source = self.sources.of(cell.data)
        needs = {need: self._told(need) for need in cell.needs}
        return cell_key(cell, self._config(cell, source), rows=source.keys, needs=needs)

    def _place(self, cell: Cell) -> Path:
        """The run folder of a cell, or its file of labels."""
        return self.folder / (f"{cell.name}.npz" if cell.verb == "label" else cell.name)

    def _told(self, name: str) -> str:
        """What tells the result of a cell that others need: the rows that were chosen, or what labels depend on."""
        record = read_record(self.folder, name)
        assert record is not None and record.done
        return record.result["ids_hash"] if record.verb == "select" else record.key

    def _make_needed(self, cell: Cell) -> None:
        """Makes again what a cell reads where only the record of it is left.

        Raises:
            NnciftError: that does not work.
        """
        for need in (self.named[name] for name in cell.needs):
            record, place = read_record(self.folder, need.name), self._place(need)
            assert record is not None
            wanted = record.result.get("ids_hash")
            if need.verb == "label":
                if place.is_file() and file_hash(place) == record.result.get("file"):
                    continue
                place.unlink(missing_ok=True)
            elif chosen_ids(place) == wanted and stands(place):
                continue
            source = self.sources.of(need.data)
            again = self._do(need, self._config(need, source), source)
            if again.get("ids_hash") != wanted:
                log.warning("%s was made again and chose other rows than its record says", need.name)
                result = without_places(again, self.places)
                write_record(self.folder, Record(**{name: getattr(record, name) for name in _KEPT}, result=result))

    def _all_lenders(self) -> list[tuple[Cell, Options, str]]:
        """The `select` cells whose rows are there, with what their labels depend on."""
        found = []
        for cell in (cell for cell in self.cells if cell.verb == "select"):
            with suppress(NnciftError):  # told when it is the cell's turn
                source = self.sources.of(cell.data)
                config = self._config(cell, source)
                found.append((cell, config, sharing.label_key(config, source.keys)))
        return found

    def _lend(self, cell: Cell, config: Options, source: Source) -> None:
        """Offers a cell what others have computed."""
        place = self._place(cell)
        if cell.verb == "evaluate":
            alike = [
                one
                for one in self.cells
                if one.verb == "evaluate" and one.name != cell.name and one.data == cell.data
                and one.options.get("model") == cell.options.get("model")
            ]  # fmt: skip
            sharing.lend_trainings(place, [self._place(one) for one in alike])
        elif cell.verb in ("select", "label"):
            key = sharing.label_key(config, source.keys)
            runs = [self._place(one) for one in sharing.siblings(cell, config, self.lenders, key)]
            (sharing.lend_run if cell.verb == "select" else sharing.lend_labels)(place, runs)


_KEPT = ("cell", "verb", "axes", "key", "status", "error", "seconds")
