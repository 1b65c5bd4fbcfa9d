"""How a language model is asked to grade a response: nine wordings, and the tokens around a row's own text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nncift.data.rows import Example
from nncift.data.template import ChatTemplate, choose_template
from nncift.errors import ConfigError
from nncift.lm.choices import choice_tokens
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import bos_ids, text_ids

PROMPTS = (
    "Below are an instruction and the response that was given to it. On a scale from 1 (the response ignores the "
    "instruction) to {K} (it does exactly what is asked), how well does the response follow the instruction? Answer with "
    "the number alone.",
    "Judge how a task was solved. Read the task and the answer, then give the answer a whole number between 1 and {K}: 1 if "
    "it misses the task, {K} if it fulfils every part of it. Write only the number.",
    "You check the quality of training data. Grade how accurately this response carries out its instruction, where 1 is the "
    "lowest grade and {K} the highest. State nothing but the grade.",
    "Someone asked for something and got a reply. Rate the reply from 1 to {K} by how closely it keeps to the request; a "
    "higher number means a closer match. Reply with a single digit.",
    "Compare the response with what its instruction demands, and score their agreement: 1 for none, {K} for complete "
    "agreement, the numbers between for what lies between. Give just the score.",
    "As a strict examiner, mark the following piece of work from 1 (off the subject) to {K} (correct, complete and to the "
    "point), looking only at whether it does what the instruction says. The mark is one digit.",
    "Would the person who wrote this instruction be content with this response? Express how content as a number from 1, not "
    "at all, to {K}, fully. Name the number and no reason.",
    "Assess the pair of instruction and response below. Does the response understand what is wanted and deliver it? Put "
    "your verdict as one number, 1 being the worst and {K} the best.",
    "Pick the number from 1 to {K} that best describes how faithfully the response obeys the instruction. The more faithful "
    "it is, the larger the number. Only the number is needed.",
)
"""Rating prompts; {K} is the highest grade."""

_INSTRUCTION, _RESPONSE, _ANSWER = "\nInstruction:\n", "\nResponse:\n", "The answer is:"


@dataclass(frozen=True, slots=True)
class Rating:
    """A rating question in tokens; prompt, row and ending are tokenised apart, so that prompts are shared as prefixes.

    Attributes:
        prefixes: [Q] token ids in front of a row, one for each rating prompt.
        between: ids between a row's instruction and its response.
        ending: ids behind the response, up to where the grade is read.
        grades: [K] the token of each grade there.
        room: how many tokens a row may have.
    """

    prefixes: tuple[tuple[int, ...], ...]
    between: tuple[int, ...]
    ending: tuple[int, ...]
    grades: tuple[int, ...]
    room: int

    def words(self, lm: LanguageModel, row: Example) -> tuple[tuple[int, ...], bool] | None:
        """What stands behind every prefix for one row, and whether text was cut; None where the response has no token.

        Where a row is too long, instruction and response may each fill half of the room, and more where the other needs
        less; the instruction loses its left end, the response its right end. The ending always stays.
        """
        asked = text_ids(lm.tokenizer, row.prompt, special=False)
        given = text_ids(lm.tokenizer, row.response, special=False)
        if not given:
            return None
        kept = max(self.room - len(given), min(len(asked), self.room // 2))
        asked, cut = asked[max(0, len(asked) - kept) :], len(asked) + len(given) > self.room
        return (*asked, *self.between, *given[: self.room - len(asked)], *self.ending), cut


def ask_for_rating(lm: LanguageModel, prompts: Sequence[str], *, grades: int, template: str) -> Rating:
    """The question as one model reads it: plain, or as a user message whose answer has begun with "The answer is:".

    Raises:
        ConfigError: grades are not one token each under this tokenizer, or the context has no room for a row.
    """
    chosen = choose_template(lm.tokenizer, template)
    before, after = (chosen.before, chosen.after) if isinstance(chosen, ChatTemplate) else ("", "\n")
    bos = () if chosen.special else bos_ids(lm.tokenizer)

    def ids(text: str) -> tuple[int, ...]:
        return tuple(text_ids(lm.tokenizer, text, special=chosen.special))

    prefixes = tuple((*bos, *ids(f"{before}{prompt.replace('{K}', str(grades))}{_INSTRUCTION}")) for prompt in prompts)
    between, ending = ids(_RESPONSE), ids(f"{after}{_ANSWER}")
    digits = [str(grade) for grade in range(1, grades + 1)]
    tokens = choice_tokens(lm.tokenizer, f"{after}{_ANSWER}", digits, special=chosen.special)
    fixed = max(map(len, prefixes)) + len(between) + len(ending)
    if lm.max_length < fixed + 2:
        raise ConfigError(
            f"--max-length {lm.max_length} leaves no room for a row beside the rating prompt ({fixed} tokens). Raise it."
        )
    return Rating(prefixes, between, ending, tokens, lm.max_length - fixed)
