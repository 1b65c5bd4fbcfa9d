"""The tables and figures of an experiment, from the records of its cells alone.

`write_tables(DIR)` reads `DIR/cells/**/*.json` and `DIR/experiment.yaml` and writes, for every entry of the recipe's
`tables`, `DIR/tables/NAME.md`, `.csv` (one line per number, nothing rounded) and `.tex`, and where the kind has a figure
`DIR/figures/NAME.svg` and `.png`. The same records give the same bytes. What is missing or has failed is a dash in the
table and a line under it.

Fields of every kind
--------------------
kind:       main, costs, fidelity, quadrants or heat.
name:       of the files; letters, digits, `-`, `_` and `.`.
title:      heading; the recipe's own title where left out.
where:      {axis: value or [values]}: only these cells. `by`, `metric`, `design`, `estimator` are axes too (see below).
pages:      [axes]: one table for each combination of their values, below one another in the same file. Left out: every axis
            that has several values in the records and is not named elsewhere in the entry.
words:      {axis: {value: words}}: what is printed instead of an axis value, such as {how: {nncift: NN-CIFT}}.

An axis is one of the recipe's, or a word of the records themselves: `by` (icl, lora), `metric` (loss, rouge1, bge, judge)
in `main` and `heat`; `design`, `estimator`, `candidates` (all, unseen), `labels` (how many) in `fidelity`, `quadrants` and
`heat`. Axis values stand in the order of the recipe.

main: what the subsets taught
-----------------------------
    {kind: main, name: main, rows: [influence, how], columns: [data, by, metric], pages: [model, v], over: [seed],
     exact: {how: exact}, controls: [initial, random, full], published: {model: phi-3, data: {alpaca: alpaca}}}
From `evaluate` cells; the axes of a subset are those of its `select` cell and of the evaluation together.
rows:       [axes], one line for each combination there is. Default [influence, how].
columns:    [axes]. Default [data, by, metric].
over:       [axes] that are averaged, the seeds of `select`. Default [seed].
exact:      {axis: value} of the row that the others are held against, within the same values of the other row axes.
            Default {how: exact}; {} leaves the comparison out.
controls:   which controls have a line. Default [initial, random, full].
published:  {model: phi-3 or llama-8b, ...}: the published figures beside; see *Published figures*.
Blocks of a page: scores with 95 % interval; difference to random, interval and verdict; difference to the exact row with
interval, and how it is paired; published figures and their difference to the published exact row.

costs: what choosing took, as measured
--------------------------------------
    {kind: costs, name: costs, rows: [influence, how], pages: [data, model], over: [seed, v], exact: {how: exact},
     estimated: {how: nncift}, constant: measured, published: {model: phi-3, data: {alpaca: alpaca}}}
From the ledgers of `select` (and `label`) cells. Lines: labels, language-model forwards and backwards, FLOPs, seconds in
all and by stage, peak memory, embeddings and warm-up included; what is saved against the exact row; seconds as published.
estimated:  {axis: value} of the rows that are set beside the paper's own arithmetic. Default {how: nncift}.
constant:   seconds in that arithmetic (`0.0025 * C_exact + constant`): a number, or `measured`: what this row took apart from
            embedding and labels. Default measured.

fidelity: how well estimators agree with exact influences
---------------------------------------------------------
    {kind: fidelity, name: training-size, x: u, lines: [estimator], pages: [data, influence],
     figures: [mse, r2, spearman, row_spearman, candidate_spearman, top30_overlap, "objective_gain 10%"]}
From `fidelity` cells. A table (a row for each x and line, mean ± standard error over repeats) and a figure (one panel for
each of `figures`, error bars of one standard error).
x:          an axis, such as one of label budgets or hidden layouts; or `labels`, the number itself, drawn to scale.
lines:      [axes], one line each. Default [design, estimator].
figures:    which; default all of the above, with `objective_gain` at 1, 5, 10 and 30 %.
`predict the mean` and the estimator `means` (row and column means) are drawn as baselines: dashed, in grey.

quadrants: the error where a candidate or a target was never labelled
---------------------------------------------------------------------
    {kind: quadrants, name: quadrants, rows: [estimator, u], pages: [influence], published: {model: phi-3}}
From the field `quadrants` of `fidelity` records. MSE (influences scaled to [0, 1]) and R² for labelled candidate × labelled
target, labelled candidate × unlabelled target, unlabelled candidate × labelled target, and neither; beside what guessing
gives on the same pairs: the mean of the labels, 0, uniform random in [0, 1], row and column means.
rows:       [axes]. Default [design, estimator].

heat: two axes and a value
--------------------------
    {kind: heat, name: u-v, x: v, y: u, value: {from: evaluate, by: icl, metric: bge, figure: mean}, over: [seed]}
    {kind: heat, name: layouts, x: width, y: layers, value: {from: fidelity, figure: r2}}
    {kind: heat, name: seconds, x: v, y: u, value: {from: select, figure: seconds}}
A table and a heat map.
value:      from: `evaluate` (figure: mean, diff_random; by, metric as in `where`), `fidelity` (figure as there; `where` names
            the estimator) or `select` (figure: any counter of the ledger, such as flops, seconds, lm_forwards).
over:       [axes] that are averaged. Default [seed].

Published figures
-----------------
published:  {model: phi-3 or llama-8b}, or {model: {here: phi-3}} where `model` is an axis; and for each other axis whose values
            are called otherwise here than there, {axis: {here: there}}.
            There: data: mixinstruct, alpaca; influence: selectit, less, similarity, delift; how: exact, nncift, distilgpt2;
            by: icl, lora; metric: rouge1, bge, judge. A value that is not published has no figure.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from nncift.errors import MissingExtraError
from nncift.experiment.tables.cells import Experiment, read_experiment
from nncift.experiment.tables.cost import cost_table
from nncift.experiment.tables.fidelity import fidelity_table
from nncift.experiment.tables.figures import draw_curves, draw_heat
from nncift.experiment.tables.heat import heat_table
from nncift.experiment.tables.main import main_table
from nncift.experiment.tables.quadrant import quadrant_table
from nncift.experiment.tables.specs import Spec
from nncift.experiment.tables.writing import Table, write_table

log = logging.getLogger(__name__)

Draw = Callable[[Path, str], list[Path]]
"""Writes one figure at a path without suffix, with a title."""


def write_tables(folder: Path) -> list[Path]:
    """Writes every table and figure that the recipe of an experiment asks for, from what its cells found.

    Use it after a run, or any time later: nothing is computed anew, and the same records give the same bytes.

    Args:
        folder: of the experiment; `tables` and `figures` are made in it.

    Returns:
        The files, in the order of the recipe. Without matplotlib those of figures are missing, and a warning says so.

    Raises:
        DataError: the recipe or a record is missing or damaged.
        ConfigError: the recipe asks for a table that there is not.
    """
    experiment = read_experiment(folder)
    written: list[Path] = []
    undrawn: dict[str, None] = {}
    for spec in experiment.tables:
        table, drawings = _made(experiment, spec)
        images = _draw(spec, drawings, folder / "figures", experiment, undrawn)
        place = folder / "tables"
        place.mkdir(parents=True, exist_ok=True)
        whole = Table(table.blocks, table.lines, (*table.notes, *_notes(table, experiment)))
        shown = [f"../figures/{path.name}" for path in images if path.suffix == ".svg"]
        title = spec.title or experiment.title
        written += write_table(whole, place, spec.name, title=title, claim=experiment.claim, images=shown)
        written += images
    for message in undrawn:
        log.warning("%s The tables are written without them.", message)
    return written


def _made(experiment: Experiment, spec: Spec) -> tuple[Table, list[tuple[dict[str, str], Draw]]]:
    """A table, and the figures of its pages."""
    if spec.kind == "main":
        return main_table(experiment, spec), []
    if spec.kind == "costs":
        return cost_table(experiment, spec), []
    if spec.kind == "quadrants":
        return quadrant_table(experiment, spec), []
    if spec.kind == "heat":
        table, maps = heat_table(experiment, spec)
        return table, [(page, lambda stem, title, heat=heat: draw_heat(heat, stem, title=title)) for page, heat in maps]
    table, curves = fidelity_table(experiment, spec)
    return table, [
        (one.page, lambda stem, title, panels=one.panels: draw_curves(panels, stem, title=title))
        for one in curves
        if one.panels
    ]


def _draw(
    spec: Spec,
    drawings: Sequence[tuple[dict[str, str], Draw]],
    folder: Path,
    experiment: Experiment,
    undrawn: dict[str, None],
) -> list[Path]:
    """The files of all pages; a page's axes are in the names where there are several."""
    paths: list[Path] = []
    for number, (page, draw) in enumerate(drawings, start=1):
        folder.mkdir(parents=True, exist_ok=True)
        words = ".".join(re.sub(r"[^\w-]+", "-", value, flags=re.ASCII).strip("-") for value in page.values())
        name = f"{spec.name}-{number}-{words}".rstrip("-") if len(drawings) > 1 else spec.name
        where = ", ".join(f"{axis} {spec.word(axis, value)}" for axis, value in page.items())
        title = spec.title or experiment.title
        try:
            paths += draw(folder / name, f"{title} ({where})" if where else title)
        except MissingExtraError as error:
            undrawn[str(error)] = None
    return paths


def _notes(table: Table, experiment: Experiment) -> list[str]:
    """What is not in a table because it is not there."""
    notes = [] if table.blocks else ["No finished cell holds anything for this table."]
    return [*notes, *(f"{cell.name} failed: {cell.error}" for cell in experiment.cells if cell.error is not None)]
