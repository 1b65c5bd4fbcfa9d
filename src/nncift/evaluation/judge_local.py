"""A local language model as the judge: the grade that it expects to give, read from the digits' probabilities, without
writing a word."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nncift.data.template import ChatTemplate, choose_template
from nncift.errors import ConfigError
from nncift.evaluation.judging import Grades, JudgeItem, OnGrade, OnProgress
from nncift.evaluation.rubric import DEFAULT_RUBRIC, GRADES, MARKER, Rubric, judge_prompt, judge_task
from nncift.lm.choices import choice_tokens, score_choices
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import bos_ids, text_ids

log = logging.getLogger(__name__)

TOO_LONG = "too long"

_BLOCK = 64  # items between two deliveries; a kill loses at most so many


Template = Literal["auto", "plain", "chat"]


@dataclass(frozen=True, slots=True)
class GradeQuestion:
    """How a model is asked for a grade, as far as its tokenizer decides it: in tokens, but for the item itself.

    Attributes:
        tokenizer: the judge's.
        rubric: what is judged.
        template: `plain` or `chat`.
        prefix: what all prompts begin with.
        ending: what stands between an item and its grade.
        grades: the tokens of 1 to 5.
    """

    tokenizer: Any
    rubric: Rubric
    template: str
    prefix: tuple[int, ...]
    ending: tuple[int, ...]
    grades: tuple[int, ...]

    @classmethod
    def of(
        cls, tokenizer: Any, context: int, *, rubric: Rubric = DEFAULT_RUBRIC, template: Template = "auto"
    ) -> GradeQuestion:
        """The question for a judge with this tokenizer and a context of so many tokens.

        Raises:
            ConfigError: the grades are not one token each, the template does not work, or the context is too short.
        """
        chosen = choose_template(tokenizer, template)
        before, after = (chosen.before, chosen.after) if isinstance(chosen, ChatTemplate) else ("", "")
        bos = () if chosen.special else bos_ids(tokenizer)
        task = text_ids(tokenizer, judge_task(feedback=False), special=False)
        marker = f"{after}{MARKER}"
        question = cls(
            tokenizer,
            rubric,
            chosen.name,
            prefix=(*bos, *text_ids(tokenizer, before, special=chosen.special), *task),
            ending=tuple(text_ids(tokenizer, marker, special=chosen.special)),
            grades=choice_tokens(
                tokenizer, marker, [str(grade) for grade in GRADES], special=chosen.special, flag="--judge-model"
            ),
        )
        least = len(question.prefix) + len(question.words(JudgeItem("", "", "", "")))
        if context <= least:
            raise ConfigError(
                f"the judge's context of {context:,} tokens leaves no room for a response beside its prompt "
                f"({least:,} tokens). Take a --judge-model with a longer one."
            )
        return question

    def words(self, item: JudgeItem) -> tuple[int, ...]:
        """The tokens of all that differs between items, and of what follows until the grade is read."""
        prompt = judge_prompt(self.rubric, item.instruction, item.response, item.reference, feedback=False)
        rest = prompt.removeprefix(judge_task(feedback=False))
        return (*text_ids(self.tokenizer, rest, special=False), *self.ending)


class LocalJudge:
    """Grades with the probabilities of 1 to 5 behind the result marker, given that one of them follows.

    Use it where no judge is served: it is exact, deterministic and cheap, since nothing is generated, but the model grades
    without giving reasons first; small base models are not able to judge. With p_g the probability of grade g,

        score = Σ_g g · p_g     in [1, 5]

    Prompt, data and marker are tokenised apart, so that nothing in the data becomes a special token. A prompt that is
    longer than `lm.max_length` is not scored: cut, it would be another response.

    Args:
        lm: the judge.
        rubric: what is judged.
        template: `auto` asks in the model's chat format where it has one and lets its turn begin with the marker; `plain`
            is bare text; `chat`.

    Raises:
        ConfigError: as in `GradeQuestion.of`.

    *Cost*: one forward an item, and the task's description once a block; five rows of the output head at one position.
    *Reference*: the prompt of Kim et al., Prometheus 2, 2024; the expected grade as in Liu et al., G-Eval, 2023.
    """

    __slots__ = ("_question", "lm", "rubric")

    def __init__(self, lm: LanguageModel, *, rubric: Rubric = DEFAULT_RUBRIC, template: Template = "auto") -> None:
        self.lm, self.rubric = lm, rubric
        self._question = GradeQuestion.of(lm.tokenizer, lm.max_length, rubric=rubric, template=template)

    @property
    def fingerprint(self) -> str:
        """Hash of the weights, their number format and quantisation, the wording and the rubric."""
        told = {
            "judge": "local 1",
            "model": self.lm.fingerprint,
            "dtype": self.lm.placement.dtype,
            "template": self._question.template,
            "rubric": asdict(self.rubric),
            "prompt": judge_prompt(self.rubric, "", "", "", feedback=False),
        }
        if self.lm.quantize is not None:
            told["quantize"] = self.lm.quantize
        return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def grade(
        self,
        items: Sequence[JudgeItem],
        *,
        on_grade: OnGrade = lambda item, score: None,
        on_progress: OnProgress = lambda count: None,
    ) -> Grades:
        """Grades all items that fit into the model's context.

        Args:
            items: [T] responses.
            on_grade: told of each grade after its block of 64 items.
            on_progress: told of the items that are done.

        Raises:
            ModelError: the model returned NaN or infinity, or the device is out of memory.
        """
        scores: list[float | None] = [None] * len(items)
        ask = self._question
        for start in range(0, len(items), _BLOCK):
            words = {k: ask.words(items[k]) for k in range(start, min(start + _BLOCK, len(items)))}
            fitting = [k for k in words if len(ask.prefix) + len(words[k]) <= self.lm.max_length]
            on_progress(len(words) - len(fitting))
            queries = [words[k] for k in fitting]
            logits = score_choices(self.lm, [ask.prefix] * len(queries), queries, ask.grades, on_progress=on_progress)
            for k, score in zip(fitting, expected_grades(logits).tolist(), strict=True):
                scores[k] = score
                on_grade(items[k].id, score)
        missing = scores.count(None)
        if missing:
            log.warning(
                "the judge %s gave no grade for %d of %d responses: their prompts are longer than its context of %d tokens",
                *(self.lm.name, missing, len(items), self.lm.max_length),
            )
        return Grades(scores, {TOO_LONG: missing} if missing else {})


def expected_grades(logits: Float[ndarray, "B 5"]) -> Float[ndarray, " B"]:
    """The mean of the grades 1 to 5 under the softmax of their logits, in float64."""
    p = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return np.clip(p @ np.array(GRADES, dtype=np.float64) / p.sum(axis=1), GRADES[0], GRADES[-1])
