"""The skills of the demo: each draws short questions of one kind with their right answers, in one form of answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

Generator = np.random.Generator
Drawn = tuple[str, str, str]
"""Instruction, input and output of one row."""

_T = TypeVar("_T")

_NAMES = ("Ada", "Bruno", "Chiara", "Deniz", "Ebba", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kaja", "Luis")
_THINGS = ("shells", "stamps", "marbles", "buttons", "postcards", "acorns", "tickets", "pencils")
_CITIES = ("Lisbon", "Turin", "Ghent", "Tartu", "Graz", "Bergen", "Nantes", "Split")
_JOBS = ("baker", "nurse", "pilot", "tailor", "gardener", "welder", "cook", "judge")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WORDS = (
    "lantern", "maple", "copper", "river", "velvet", "cactus", "button", "harbor", "pepper", "saddle", "window",
    "garden", "falcon", "ribbon", "thunder", "island", "marble", "kettle", "basket", "candle", "meadow", "hammer",
    "pillow", "rocket", "walnut", "oyster", "tunnel", "bridge", "feather", "mirror",
)  # fmt: skip
_UNITS = (
    ("kilometres", "metres", 1000),
    ("metres", "centimetres", 100),
    ("kilograms", "grams", 1000),
    ("hours", "minutes", 60),
    ("minutes", "seconds", 60),
    ("weeks", "days", 7),
    ("litres", "millilitres", 1000),
)
_OPPOSITES = (
    "hot cold", "early late", "empty full", "loud quiet", "thick thin", "rough smooth", "brave timid",
    "cheap expensive", "deep shallow", "dry wet", "generous stingy", "heavy light", "narrow wide", "sharp blunt",
    "fresh stale", "rare common", "polite rude", "ancient modern", "tight loose", "young old",
)  # fmt: skip
_GLOSSARY = {
    "red": "sil", "small": "tuvo", "old": "merra", "bright": "quen", "silent": "hask",
    "bird": "omna", "house": "drel", "stone": "ikko", "boat": "falu", "tree": "wex",
    "sleeps": "pondi", "falls": "racho", "sings": "ulmi", "waits": "ketta", "shines": "bivo",
}  # fmt: skip
_CAPITALS = (
    "Peru=Lima", "Norway=Oslo", "Kenya=Nairobi", "Japan=Tokyo", "Chile=Santiago", "Greece=Athens", "Cuba=Havana",
    "Egypt=Cairo", "Ghana=Accra", "Nepal=Kathmandu", "Latvia=Riga", "Poland=Warsaw", "Ireland=Dublin",
    "Mongolia=Ulaanbaatar", "Jordan=Amman", "Senegal=Dakar", "Vietnam=Hanoi", "Uruguay=Montevideo",
    "Finland=Helsinki", "Bulgaria=Sofia",
)  # fmt: skip
_GOOD = ("wonderful", "a joy from start to end", "better than I had hoped", "charming", "worth every cent")
_BAD = ("dreadful", "a waste of an evening", "far worse than promised", "boring", "not worth the money")
_SUBJECTS = ("film", "hotel", "soup", "concert", "backpack", "train ride", "novel", "guided tour")
_PLACES = ("library", "town hall", "swimming pool", "railway museum", "fish market", "observatory")
_EVENTS = (("reopens", "after repairs"), ("closes early", "after a burst pipe"), ("stays open late", "for a festival"))


def pick(rng: Generator, items: Sequence[_T]) -> _T:
    """One of the items."""
    return items[int(rng.integers(len(items)))]


def pick_some(rng: Generator, items: Sequence[_T], count: int) -> list[_T]:
    """Several different items in random order."""
    return [items[int(i)] for i in rng.permutation(len(items))[:count]]


def _arithmetic(rng: Generator) -> Drawn:
    who, what, a, b = pick(rng, _NAMES), pick(rng, _THINGS), int(rng.integers(21, 60)), int(rng.integers(3, 20))
    if rng.random() < 0.5:
        question = f"{who} has {a} {what} and finds {b} more. How many {what} does {who} have now?"
        return question, "", f"{a} + {b} = {a + b}, so {who} has {a + b} {what}."
    question = f"{who} had {a} {what} and gave away {b} of them. How many {what} are left?"
    return question, "", f"{a} - {b} = {a - b}, so {who} has {a - b} {what}."


def _units(rng: Generator) -> Drawn:
    (large, small, factor), count = pick(rng, _UNITS), int(rng.integers(2, 40))
    question = pick(rng, ("Convert {} {} to {}.", "Express {} {} in {}.")).format(count, large, small)
    return question, "", f"{count} {large} = {count * factor} {small}"


def _sorting(rng: Generator) -> Drawn:
    words = pick_some(rng, _WORDS, 4)
    instruction = pick(rng, ("Sort these words from A to Z.", "Put the words into alphabetical order."))
    return instruction, ", ".join(words), " < ".join(sorted(words))


def _weekdays(rng: Generator) -> Drawn:
    today, ahead = int(rng.integers(7)), int(rng.integers(2, 25))
    question = pick(
        rng, ("Today is {}. Which day will it be in {} days?", "Starting on {}, name the day {} days later.")
    )
    answer = f"{_DAYS[today]} plus {ahead} days is {_DAYS[(today + ahead) % 7]}."
    return question.format(_DAYS[today], ahead), "", answer


def _opposites(rng: Generator) -> Drawn:
    word, other = pick_some(rng, pick(rng, _OPPOSITES).split(), 2)
    question = pick(rng, ("What is the opposite of {!r}?", "Name a word that means the reverse of {!r}."))
    return question.format(word), "", f"The opposite of {word} is {other}."


def _reversal(rng: Generator) -> Drawn:
    word = pick(rng, _WORDS)
    instruction = pick(
        rng, ("Spell the word backwards.", "Reverse the order of the letters.", "Write it from end to start.")
    )
    return instruction, word, f"{word} -> {word[::-1]}"


def _glossary(rng: Generator) -> Drawn:
    terms = list(_GLOSSARY)
    phrase = [pick(rng, terms[:5]), pick(rng, terms[5:10]), pick(rng, terms[10:])]
    notes = ", ".join(f"{term} = {_GLOSSARY[term]}" for term in pick_some(rng, phrase, 3))
    instruction = pick(rng, ("Translate word by word with this glossary", "Use the glossary to translate the phrase"))
    return f"{instruction}: {notes}.", " ".join(phrase), " ".join(_GLOSSARY[term] for term in phrase)


def _capitals(rng: Generator) -> Drawn:
    country, city = pick(rng, _CAPITALS).split("=")
    question = pick(rng, ("Which city is the capital of {}?", "Name the capital of {}.", "What is {}'s capital city?"))
    return question.format(country), "", f"The capital of {country} is {city}."


def _sentiment(rng: Generator) -> Drawn:
    good, subject = rng.random() < 0.5, pick(rng, _SUBJECTS)
    review = pick(rng, ("The {} was {}.", "I found the {} {}.")).format(subject, pick(rng, _GOOD if good else _BAD))
    instruction = pick(rng, ("Is this review positive or negative?", "Label the mood of the review."))
    return instruction, review, f"Sentiment: {'positive' if good else 'negative'}"


def _headlines(rng: Generator) -> Drawn:
    place, city, (event, why), day = pick(rng, _PLACES), pick(rng, _CITIES), pick(rng, _EVENTS), pick(rng, _DAYS)
    story = f"On {day} the {place} of {city} {event} {why}. A speaker of the city confirmed the news this morning."
    return pick(rng, ("Sum up the news in one headline.", "Write a headline.")), story, f"{city} {place} {event} {why}"


def _python(rng: Generator) -> Drawn:
    k = int(rng.integers(2, 30))
    task, code = pick(
        rng,
        (
            (f"multiplies every number of the list xs by {k}", f"[x * {k} for x in xs]"),
            (f"keeps the numbers of xs above {k}", f"[x for x in xs if x > {k}]"),
            (f"sums the numbers of xs that {k} divides", f"sum(x for x in xs if x % {k} == 0)"),
        ),
    )
    return f"Write a Python expression that {task}.", "", code


def _json(rng: Generator) -> Drawn:
    who, age, city, job = pick(rng, _NAMES), int(rng.integers(19, 80)), pick(rng, _CITIES), pick(rng, _JOBS)
    sentence = pick(rng, ("{}, {}, works as a {} in {}.", "{} is {} years old, a {} from {}.")).format(
        who, age, job, city
    )
    instruction = pick(rng, ("Turn the sentence into JSON.", "Extract the facts as a JSON object."))
    return instruction, sentence, json.dumps({"name": who, "age": age, "job": job, "city": city})


SKILLS: dict[str, Callable[[Generator], Drawn]] = {
    "arithmetic": _arithmetic,
    "units": _units,
    "sorting": _sorting,
    "weekdays": _weekdays,
    "opposites": _opposites,
    "reversal": _reversal,
    "glossary": _glossary,
    "capitals": _capitals,
    "sentiment": _sentiment,
    "headlines": _headlines,
    "python": _python,
    "json": _json,
}
"""Every skill can draw at least 60 different questions."""
