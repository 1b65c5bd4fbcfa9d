"""The verdict: what was chosen, how far the estimate can be trusted, and what it saved, before any picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from nncift.influence.base import Calls
from nncift.objective.ranking import rest_rule
from nncift.pipeline.receipt import anew_text, calls_text, spent
from nncift.progress import duration
from nncift.report.gaining import Growth
from nncift.report.reading import Run

Tone = Literal["good", "doubtful", "bad", "plain"]

_VERDICTS: dict[str, tuple[str, Tone]] = {
    "beats": ("Beats guessing", "good"),
    "within chance": ("No better than guessing", "doubtful"),
    "worse": ("Worse than guessing", "bad"),
    "unknown": ("Cannot be told", "doubtful"),
}


@dataclass(frozen=True, slots=True)
class Card:
    """One thing that a reader wants to know first.

    Attributes:
        title: the question.
        answer: a few words.
        words: a sentence or two.
        tone: whether that is good.
    """

    title: str
    answer: str
    words: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The head of the page: one sentence, and its cards."""

    sentence: str
    cards: tuple[Card, ...]


def verdict(run: Run, growth: Growth) -> Verdict:
    """The verdict on a run."""
    config = run.config
    why = run.facts.get("objective", "")
    aim = "for the target, " if config.target else ""
    sentence = (
        f"{len(run):,} of {run.of:,} rows ({len(run) / run.of:.1%}) are chosen {aim}by `{run.objective}` on influences of "
        f"`{config.influence}`{f' ({why})' if why else ''}."
    )
    return Verdict(sentence, (_subset(run), _fidelity(run.fidelity, config.influence), _cost(run), _gains(run, growth)))


def _subset(run: Run) -> Card:
    model = f"; language model {', '.join(run.config.model)}" if run.config.model else "; no language model"
    words = f"Budget {run.config.budget}, seed {run.config.seed}{model}. The rows lie in {run.folder.name}/."
    return Card("Chosen", f"{len(run):,} rows", words)


def _fidelity(fidelity: dict[str, Any] | None, influence: str) -> Card:
    title = "Can the estimate be trusted?"
    if fidelity is None:
        words = f"Every influence of `{influence}` was computed; nothing is estimated."
        return Card(title, "Exact", words, "good")
    answer, tone = _VERDICTS.get(fidelity.get("verdict", "unknown"), _VERDICTS["unknown"])
    return Card(title, answer, str(fidelity.get("sentence", "")), tone)


def _cost(run: Run) -> Card:
    title, exact = "What it cost", run.costs.get("exact")
    seconds = f"{duration(run.costs['total']['seconds'])} in all, labels included."
    if anew := run.costs.get("training_anew"):
        held = (run.fidelity or {}).get("held_out", 0)
        return Card(title, f"{anew['saved']:.0%} saved", f"{anew_text(anew, held)} {seconds}", "good")
    if not exact:
        answer = "No language-model call" if not run.config.model else "Nothing to save"
        return Card(
            title, answer, f"`{run.config.influence}` needs none for its influences, so none is saved. {seconds}"
        )
    stages = run.costs["stages"]
    made = spent(stages[name] for name in ("label", "states") if name in stages)
    whole = Calls(exact["lm_forwards"], exact["lm_backwards"])
    words = (
        f"{calls_text(made)} language-model calls were made; every pair would have taken {calls_text(whole)}. What was asked, "
        f"labels included, is worth {exact['share']:.1%} of that. {seconds}"
    )
    if exact["share"] >= 1:
        return Card(title, "Nothing saved", words)
    return Card(title, f"{1 - exact['share']:.0%} saved", words, "good" if exact["share"] < 0.5 else "plain")


def _gains(run: Run, growth: Growth) -> Card:
    title, kept = "Where gains end", int(run.facts.get("kept", 0))
    held = f"{kept:,} rows were kept from before. " if kept else ""
    rest = rest_rule(kept + growth.positive, len(run), str(run.facts.get("merit", "mean influence")))
    words = rest if kept + growth.positive < len(run) else "Every pick added something to the objective."
    return Card(title, f"{growth.positive:,} of {len(run):,} picks gain", f"{held}{words}")
