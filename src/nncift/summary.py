"""What a finished selection tells a person: the sentences of its end, for pipes as lines and for terminals as tables."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nncift.config import SelectConfig
from nncift.data.shards import in_shards
from nncift.embed.choose import dearer_embedder
from nncift.estimator.schedule import Schedule
from nncift.influence.base import Asked, Calls, calls_of
from nncift.lm.device import place
from nncift.pipeline.receipt import anew_text, calls_text, spent
from nncift.progress import duration
from nncift.registry import load
from nncift.selection import Selection

Told = list[tuple[str, str]]
"""What it is about, and a sentence."""

_PICKS = 5
_SHORT = 0.05  # seconds of a stage that are not worth a word
_BEGINNING = 200  # characters of a row, of which the terminal shows what fits


def summary(picked: Selection) -> Told:
    """How far to trust it, what it cost, and how to test it; `closing_line` is the last."""
    facts = picked.summary()
    told: Told = []
    if facts["fidelity"]:
        told.append(("estimate", facts["fidelity"]))
    if picked.learning:
        rounds = picked.learning["rounds"]
        told.append(("labels", f"{rounds[-1]['labels']:,} labels in {len(rounds)} rounds: {picked.learning['why']}."))
    means = (picked.fidelity or {}).get("candidate_means")
    if means:
        told.append(
            (
                "means",
                f"The candidates' mean influences are predicted to lie {means['spread']:.2g} apart (standard deviation), and "
                f"each is known to ± {1.645 * means['sd']:.2g} (90 %).",
            )
        )
    labelled = facts["picks_with_labels"]
    if labelled is not None:
        told.append(
            (
                "exact",
                f"An exact influence stood behind {labelled:.0%} of the picks and {facts['rows_with_labels']:.0%} of the pool "
                "(--known predict sets them aside).",
            )
        )
    told += _spending(facts["costs"], (picked.fidelity or {}).get("held_out", 0))
    told.append(("test it", f"Whether they teach: nncift evaluate {facts['folder']} --test TEST.jsonl --model MODEL"))
    return told


def _spending(costs: dict[str, Any], held_out: int) -> Told:
    told: Told = []
    if anew := costs.get("training_anew"):
        told.append(("reused", anew_text(anew, held_out)))
    if exact := costs["exact"]:
        made = spent(costs["stages"][name] for name in ("label", "states") if name in costs["stages"])
        whole = Calls(exact["lm_forwards"], exact["lm_backwards"])
        told.append(
            (
                "calls",
                f"Language-model calls: {calls_text(made)}; every pair would have taken {calls_text(whole)}, "
                f"and what was asked is worth {exact['share']:.1%} of that.",
            )
        )
    seconds = {name: stage["seconds"] for name, stage in costs["stages"].items()}
    took = [f"{name} {duration(taken)}" for name, taken in seconds.items() if taken >= _SHORT]
    return [*told, ("time", f"Time: {', '.join(took) or 'less than 0.1 s'}.")]


def dearer(picked: Selection, config: SelectConfig) -> Told:
    """What the next better means would cost, where the cheapest were taken: nothing else tells a user that they are there."""
    if config.model or config.influence != "similarity":
        return []
    n, m = picked.inside.shape
    less, delift = (load("influence", name)() for name in ("less", "delift"))
    by_rows = calls_of(less, Asked(m, n, m * n, n))
    rounds = Schedule.auto(m, n)
    pairs = m * n if rounds is None else rounds.most
    by_pairs = calls_of(delift, Asked(m, n, pairs, n))
    told: Told = [
        (
            "dearer",
            f"With a language model (--model NAME): less, {calls_text(by_rows)} passes; delift, at most {calls_text(by_pairs)} "
            f"forward for {pairs:,} of {m * n:,} pairs. --dry-run beside --model times them here.",
        )
    ]
    embedding = picked.costs["stages"]["embed"]
    if config.embedder is None and (better := dearer_embedder(place(config.device, config.dtype).device)):
        name, times = better
        encoded = embedding["encoder_forwards"]  # the others were found in the cache, or say the same
        taken = f", about {duration(times * embedding['seconds'] * n / encoded)} here" if encoded > n / 2 else ""
        told.append(("", f"With --embedder {name}: {times} times the arithmetic of embedding{taken}."))
    if config.target is None:
        told.append(("", "With --target FILE, rows of what the model shall do, it costs no more."))
    return told


def closing_line(picked: Selection) -> str:
    """What, how many, where."""
    facts = picked.summary()
    shards = sum(1 for _ in picked.subset.iterdir()) if picked.subset and picked.subset.is_dir() else 0
    chosen = f"{facts['rows']:,} of {facts['of']:,} rows by {facts['objective']} ({facts['why']})"
    return f"{chosen}: {facts['subset']}{in_shards(shards)}"


def pictured(picked: Selection, told: Told) -> RenderableType:
    """The same for a terminal: the sentences beside what they are about, and the first picks."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold cyan", no_wrap=True)
    grid.add_column()
    for about, sentence in told:
        grid.add_row(about, Text(sentence))
    return Group("", _first_picks(picked), "", grid, "")


def _first_picks(picked: Selection) -> Table:
    """Rank, gain and beginning of the best rows."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    table.add_column("rank", justify="right", style="dim")
    table.add_column("gain", justify="right", no_wrap=True)
    table.add_column("row", no_wrap=True, overflow="ellipsis", ratio=3)
    table.add_column("why", no_wrap=True, overflow="ellipsis", ratio=2, style="dim")
    head = picked.picks.head(_PICKS)
    for rank, row in enumerate(picked.examples[:_PICKS], start=1):
        gain, why = head.gains[rank - 1], head.reasons[rank - 1]
        table.add_row(str(rank), f"{gain:.4g}", Text(_one_line(row.text)), Text(_one_line(why)))
    if len(picked) > _PICKS:
        table.add_row("…", "", f"{len(picked) - _PICKS:,} more in {picked.subset or picked.folder}", "")
    return table


def _one_line(text: str) -> str:
    """The beginning of a text without anything that would move a terminal's cursor or turn its letters round."""
    beginning = " ".join(text[:_BEGINNING].split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in beginning)
