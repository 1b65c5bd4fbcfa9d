"""Length: the simplest score there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nncift.influence.base import Context, Direct, Progress, Traits


@dataclass(frozen=True, slots=True)
class Length:
    """Pointwise: how long a row is; longer is better.

    Use it as the control that any score of quality has to beat: many of them turn out to prefer long responses, and so do
    the judges that such subsets are measured with.

    Args:
        unit: `words` are what blanks separate, `characters` are Unicode code points.
        of: `response` counts the last turn alone, `row` the prompt too.

    *Cost*: nothing.
    *Reference*: Zhao et al., Long Is More for Alignment, 2024 (arXiv 2402.04833).
    """

    traits: ClassVar[Traits] = Traits(name="length", pairwise=False, objective="top-mean", free=True, harder=True)

    unit: Literal["words", "characters"] = "words"
    of: Literal["response", "row"] = "response"

    def start(self, context: Context) -> Direct:
        """Needs the texts only."""

        def values(i: ndarray, j: ndarray, on_progress: Progress) -> Float[ndarray, " L"]:
            on_progress(len(j))
            rows = (context.pool[int(row)] for row in j)
            texts = (row.response if self.of == "response" else row.text for row in rows)
            return np.array([len(text.split() if self.unit == "words" else text) for text in texts], dtype=np.float32)

        return Direct(values)
