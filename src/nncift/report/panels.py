"""The pictures of a run in their order, each with its words: what it shows, of how much, and what a reader who cannot see it
needs to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nncift.report import pictures
from nncift.report.gaining import DRAWS, Growth
from nncift.report.landscape import Landscape, landscape
from nncift.report.reading import Missing, Run
from nncift.report.spending import Spending, spending
from nncift.report.spread import Shares, group_shares, influence_spread, length_spread


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture.

    Attributes:
        name: of the element that holds it.
        title: a few words.
        words: what it shows, and of how much; why there is none where it cannot be drawn.
        alt: its message in words and numbers, for readers who do not see it.
        chart: a figure; None where it cannot be drawn.
        wide: whether it takes the whole width.
    """

    name: str
    title: str
    words: str
    alt: str = ""
    chart: Any = None
    wide: bool = False


def panels(run: Run, grown: Growth, points: int) -> tuple[Panel, ...]:
    """All pictures of a run.

    Args:
        run: finished.
        grown: its gain curve.
        points: of the map at most.
    """
    return (
        _map(landscape(run, points)),
        _gains(run, grown),
        _influence(run),
        _agreement(run),
        _learning(run),
        _costs(spending(run)),
        _lengths(run),
        _groups(group_shares(run)),
    )


def _map(found: Landscape | Missing) -> Panel:
    title = "Where the chosen rows lie"
    if isinstance(found, Missing):
        return Panel("map", title, found.why, wide=True)
    told = [f"{len(kind.ids):,} of {kind.of:,} {_of_kind(kind.name)}" for kind in found.kinds]
    whole = all(len(kind.ids) == kind.of for kind in found.kinds)
    some = (
        ""
        if whole
        else " Chosen rows are the best by rank, the others a draw; the rest is in the run folder (selection)."
    )
    words = (
        f"The two principal axes of the rows' embeddings, which tell {found.explained:.0%} of their variance: rows that are "
        f"near here need not be near in all dimensions. Shown: {', '.join(told)}.{some} Point at a row to read it; click in "
        "the legend to hide a kind."
    )
    return Panel("map", title, words, f"Map of {', '.join(told)}.", pictures.map_chart(found), wide=True)


def _of_kind(name: str) -> str:
    return {"pool": "rows not chosen", "target": "target rows", "chosen": "chosen rows"}[name]


def _gains(run: Run, grown: Growth) -> Panel:
    title, last = "What each row adds", float(grown.chosen[-1])
    words = (
        f"`{run.objective}` of the first so many picks. {grown.positive:,} of {len(run):,} picks had a positive gain."
    )
    alt = f"The objective grows to {last:.4g} with {len(run):,} rows."
    if grown.random is None:
        return Panel("gains", title, f"{words} No random rows beside it: {grown.why}.", alt, pictures.gain_chart(grown))
    random = grown.random[:, -1]
    beside = (
        f" Random rows of the same number reach {random.mean():.4g} (mean of {DRAWS} draws, {random.min():.4g} to "
        f"{random.max():.4g}; the band)."
    )
    return Panel("gains", title, words + beside, alt + beside, pictures.gain_chart(grown))


def _influence(run: Run) -> Panel:
    found, title = influence_spread(run), "Influence of chosen and other rows"
    if isinstance(found, Missing):
        return Panel("influence", title, found.why)
    chosen, others = found.counted[1], found.counted[0]
    words = f"{found.said.capitalize()}: {chosen:,} chosen rows beside {others:,} others. Middle values: {found.ahead}."
    chart = pictures.histogram_chart(found, before="not chosen", after="chosen", axis=found.said)
    return Panel(
        "influence", title, words, f"Middle influence of chosen rows against the others: {found.ahead}.", chart
    )


def _agreement(run: Run) -> Panel:
    title, fidelity = "Estimated against exact", run.fidelity
    if fidelity is None:
        return Panel("agreement", title, "Every influence is exact; there is no estimate to hold against it.")
    sentence = str(fidelity.get("sentence", ""))
    pairs = fidelity.get("pairs") or {"exact": [], "estimated": []}
    if not pairs["exact"]:
        return Panel("agreement", title, f"{sentence} The run holds no list of held-out labels to draw.")
    held = f"{len(pairs['exact']):,} of {fidelity.get('held_out', len(pairs['exact'])):,}"
    words = f"{held} labels that the judged estimator was not shown; on the dashed line both are the same."
    chart = pictures.agreement_chart(pairs["exact"], pairs["estimated"])
    return Panel("agreement", title, words, sentence, chart)


def _learning(run: Run) -> Panel:
    title = "What more labels brought"
    if run.learning is None:
        return Panel(
            "learning", title, "The labels were drawn at once, or none were; only --labels auto draws them in rounds."
        )
    rounds = run.learning["rounds"]
    words = f"{rounds[-1]['labels']:,} labels in {len(rounds)} rounds: {run.learning['why']}."
    reached = rounds[-1].get("reached")
    alt = words if reached is None else f"{words} Forecast rank correlation of the candidates' means: {reached:.2f}."
    return Panel("learning", title, words, alt, pictures.learning_chart(rounds))


def _costs(found: Spending) -> Panel:
    title = "Cost by stage"
    if found.exact is None:
        alt = ", ".join(f"{stage.name} {stage.seconds:.1f} s" for stage in found.stages)
        return Panel(
            "costs", title, "Seconds; no language model was asked for influences.", alt, pictures.cost_chart(found)
        )
    made = sum(stage.work for stage in found.stages)
    words = (
        f"Language-model work that this run did, stage by stage, beside that of labelling every pair: {made:,.0f} against "
        f"{found.exact.work:,.0f} passes. The second was not spent."
    )
    return Panel("costs", title, words, words, pictures.cost_chart(found))


def _lengths(run: Run) -> Panel:
    found, title = length_spread(run), "Length before and after"
    if isinstance(found, Missing):
        return Panel("lengths", title, found.why)
    words = f"{found.said.capitalize()}; middle value of subset against pool: {found.ahead}."
    chart = pictures.histogram_chart(found, before="pool", after="subset", axis=found.said, logarithmic=True)
    return Panel("lengths", title, words, words, chart)


def _groups(found: Shares | Missing) -> Panel:
    title = "Groups before and after"
    if isinstance(found, Missing):
        return Panel("groups", title, found.why)
    most = max(range(found.named), key=lambda k: found.after[k] - found.before[k])
    words = (
        f"Shares of the {found.groups:,} values of the column {found.column!r} in pool and subset. Furthest ahead: "
        f"{found.names[most]!r}, with {found.after[most]:.1%} instead of {found.before[most]:.1%}."
    )
    return Panel("groups", title, words, words, pictures.share_chart(found), wide=True)
