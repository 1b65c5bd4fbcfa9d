"""The most memory that a run will hold at once, told from its rows and options before anything is spent.

The peak is what is held throughout (the program, rows, models) and the largest of what the stages need beside it. Each
constant was fitted to measured runs (`make bench-memory`, docs/memory.md; Linux, Python 3.11, torch 2.13 on a CPU) and says
what it was measured on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nncift.config import SelectConfig
from nncift.data.rows import Pool
from nncift.data.stored import StoredRows
from nncift.embed.base import BLOCK
from nncift.embed.precomputed import Precomputed
from nncift.embed.sentence import SentenceEmbedder
from nncift.estimator.posterior import DENSE
from nncift.kernel.compiled import cores
from nncift.lm.size import Size, model_size, size_of
from nncift.pipeline.inputs import kernel_shape
from nncift.pipeline.models import Models
from nncift.pipeline.setup import Setup
from nncift.pipeline.twins import BLOCK as BLOCK_OF_TWINS
from nncift.registry import is_served

_PROGRAM = 350e6
"""Python, numpy, pyarrow, numba and torch, imported and used once: 339 to 366 MB of which 150 are their files."""

_ENCODER = 310e6
"""sentence-transformers and what it imports (280 MB), a first text encoded (30 MB more, beside the weights)."""

_CAUSAL = 60e6
"""What `transformers` imports for a causal model, and its tokenizer but for the words."""

_WORD = 1400
"""Bytes of a tokenizer for each word of its vocabulary: 370 MB of the 262,144 words of Gemma 3."""

_ROW, _CHARACTER = 480, 2.2
"""Bytes of a row in memory, and for each byte of its text: 917 B of rows of 201 B, 2,208 B of rows of 799 B."""

_STORED_ROW = 150
"""Bytes of a row that stays in its file: 132 to 164 B with ids of 9 letters, sorted by id."""

_FORWARD, _SCORES = 2, 4
"""Float32 numbers of a token in a forward: so many times its width and inner width, and beside them numbers in the model's
format for each head and token of its sequence. MiniLM 33 kB at 121 tokens and 67 kB at 256, Gemma 3 41 kB at 256."""

_BACKWARD = 11
"""Numbers in the model's format that a token leaves in each layer for going back, times its width and inner width: 1.1 MB a
token of Gemma 3 270M in bfloat16, the same at 64, 128 and 256 tokens a row."""

_COPIES = 1.5
"""Keys and values of prefixes at once, over those of one copy for each row: 300 MB with 64 rows of 132 tokens."""

_PREFIX_CACHE = 1 << 30  # as nncift.lm.batches bounds it

_SYSTEM = 6
"""Matrices of labels × labels, float64, at once while a Gaussian process is fitted."""

_GRADIENTS = 2
"""Bytes for each weight that a model holds beside them once it went backward (adapter, Adam's moments, sketch, and what the
libraries keep): what three runs at 512 tokens held at their peak beyond all other parts was 0.24, 0.25 and 0.74 GB, with 268 M
weights; a number between."""

_CHOOSING = 100
"""Bytes of a candidate while rows are chosen: gains, the heap, what is covered, ids and positions."""

_REPORT, _SEEN = 60e6, 5000 * (1 << 16)
"""The libraries of the report, and the pages of the vectors' files that its map of 5,000 points touches at most."""

_PER_TOKEN = 3.5
"""Characters of a token, few rather than many."""

_VECTORS = "Give vectors that were made elsewhere (--embedder POOL.npy,TARGET.npy), or a smaller --embedder."

_TEXTS = 64
"""Texts that are encoded at once (`nncift.embed.sentence`)."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a part of a run holds.

    Attributes:
        name: in words.
        bytes: of memory.
        mend: the option that lowers it, empty where none does.
        returnable: whether the system takes it back when memory is short: pages of files.
    """

    name: str
    bytes: int
    mend: str = ""
    returnable: bool = False


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a run holds at its peak.

    Attributes:
        stage: the one that has the peak.
        parts: what is held then.
        unknown: what could not be counted, in words; empty where everything was.
    """

    stage: str
    parts: tuple[Part, ...]
    unknown: str = ""

    @property
    def bytes(self) -> int:
        """All parts together: what the system calls resident."""
        return sum(part.bytes for part in self.parts)

    @property
    def needed(self) -> int:
        """What there must be: without what the system can take back."""
        return sum(part.bytes for part in self.parts if not part.returnable)

    def text(self) -> str:
        """The peak in words, largest parts first."""
        largest = sorted(self.parts, key=lambda part: -part.bytes)[:4]
        told = ", ".join(f"{part.name} {size(part.bytes)}" for part in largest if part.bytes >= 1e6)
        missing = f"; without {self.unknown}" if self.unknown else ""
        return f"Memory: about {size(self.bytes)} at most, in the stage `{self.stage}` ({told}{missing})."

    def record(self) -> dict[str, object]:
        """Plain values for JSON."""
        parts = {part.name: part.bytes for part in self.parts}
        return {"bytes": self.bytes, "stage": self.stage, "parts": parts, "unknown": self.unknown}


def footprint(setup: Setup, models: Models) -> Footprint:
    """What a run holds at its peak; nothing is loaded but what tells an embedder by its files.

    A language model on a GPU holds its weights and activations there: they are not counted.
    """
    held, stages, unknown = parts(setup, models)
    stage = max(stages, key=lambda name: sum(part.bytes for part in stages[name]), default="label")
    return Footprint(stage, (*held, *stages.get(stage, [])), " and ".join(unknown))


def parts(setup: Setup, models: Models) -> tuple[list[Part], dict[str, list[Part]], list[str]]:
    """What is held throughout, what by stage beside it, and what could not be counted."""
    held, stages, unknown, width = before_kernels(setup, models)
    vectors = (
        [Part("vectors in the run folder", 4 * width * sum(setup.axes.shape), "", returnable=True)] if width else []
    )
    if isinstance(setup.config, SelectConfig):
        if not setup.exact:
            stages["estimate"] = [*_estimating(setup), *vectors]
        stages["select"] = [*_choosing(setup), *vectors]
        again = [Part("vectors for the report", min(_SEEN, vectors[0].bytes), "", returnable=True)] if vectors else []
        stages["report"] = [*_kept(setup), *vectors, *again, Part("report", int(_REPORT))]
    return held, stages, unknown


def before_kernels(setup: Setup, models: Models) -> tuple[list[Part], dict[str, list[Part]], list[str], int]:
    """What `parts` tells of a run up to its labels, and how long vectors are (0 where that is not known)."""
    held, stages, unknown = list(_rows(setup)), dict[str, list[Part]](), []
    if setup.config.executor != "serial":
        unknown.append("what its workers hold")
    embeds, dedups, width = setup.influence.traits.needs_embeddings or not setup.exact, _dedups(setup), 0
    if embeds or dedups:
        pools = [pool for _, pool in setup.pools()]
        encoder, width, stages["embed"] = _embedding(models, pools if embeds else [setup.pool])
        held += encoder
        if not width:
            unknown.append("the embedder")
        if dedups:
            _, _, first = _embedding(models, [setup.pool])
            stages["dedup"] = [*first, _comparing(len(setup.pool), width)]
    if setup.influence.traits.needs_model or setup.reads_states or setup.difficulty is not None:
        sizes = [model_size(name) for name in setup.config.model if not is_served(name)]
        if models.placement.device == "cpu":
            held += [_weights(one, models) for one in sizes if one is not None]
            stages["label"] = [part for one in sizes[:1] if one is not None for part in _labelling(setup, models, one)]
        if None in sizes:
            unknown.append("a language model that is not on this disk yet")
    if isinstance(path := getattr(setup.influence, "matrix", None), str) and Path(path).is_file():
        stages["label"] = [Part("recorded influences", 2 * Path(path).stat().st_size)]
    return held, stages, unknown, width


def size(count: float) -> str:
    """Bytes in words."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"


def _rows(setup: Setup) -> Iterator[Part]:
    yield Part("program", int(_PROGRAM))
    rows = sum(_of_rows(pool) for _, pool in setup.pools())
    if setup.twins is not None and len(setup.pool):  # what is left out stays in memory, to be told
        rows += int(_of_rows(setup.pool) * (setup.twins.of / len(setup.pool) - 1))
    yield Part("rows", rows, "Select from parts of the pool first, or make its rows one file of more than 32 MB.")


def _of_rows(pool: Pool) -> int:
    count = len(pool)
    if isinstance(pool.examples, StoredRows):
        return _STORED_ROW * count
    return int(count * (_ROW + _CHARACTER * _mean(_lengths(pool))))


def _lengths(pool: Pool, some: int = 256) -> list[int]:
    """Characters of some rows, evenly spread."""
    step = max(1, len(pool) // some)
    return [len(pool.examples[k].text) for k in range(0, len(pool), step)]


def _mean(values: list[int]) -> float:
    return sum(values) / max(1, len(values))


def _dedups(setup: Setup) -> bool:
    """Whether near-copies are still to be found."""
    return isinstance(setup.config, SelectConfig) and bool(setup.config.dedup) and setup.twins is None


def _comparing(rows: int, width: int) -> Part:
    """Two blocks of vectors, what is read of one more, and the cosines of the two, as numbers and as answers."""
    some = min(BLOCK_OF_TWINS, rows)
    return Part("rows that are compared", 4 * 3 * some * width + 5 * some * some)


def _embedding(models: Models, pools: list[Pool]) -> tuple[list[Part], int, list[Part]]:
    """What an embedder holds, how long its vectors are (0 where that is not known), and what encoding takes beside it."""
    embedder, rows = models.embedder, sum(map(len, pools))
    if isinstance(embedder, Precomputed):
        return [], embedder.dimension, [Part("vectors of a block", 3 * 8 * min(BLOCK, rows) * embedder.dimension)]
    found = size_of(embedder.folder) if isinstance(embedder, SentenceEmbedder) else None
    if found is None:
        return [Part("embedder", int(_ENCODER))], 0, []
    held = [Part("embedder", int(_ENCODER + 4 * found.weights))]
    tokens = min(found.context, _tokens(pools))
    activations = min(rows, _TEXTS) * tokens * _forward(found, tokens, 4)
    return (
        held,
        found.width,
        [Part("encoding texts", int(activations), _VECTORS), Part("vectors", 8 * rows * found.width)],
    )


def _tokens(pools: Iterable[Pool]) -> int:
    """Tokens of a long row, about."""
    return max(int(max(_lengths(pool), default=0) / _PER_TOKEN) + 2 for pool in pools)


def _forward(found: Size, tokens: int, width: int) -> float:
    """Bytes of a token in a forward."""
    return 4 * _FORWARD * (found.width + found.inner) + _SCORES * width * found.heads * tokens


def _weights(found: Size, models: Models) -> Part:
    held = found.weights * models.placement.torch_dtype.itemsize
    mend = (
        "Use a smaller --model, or --dtype bfloat16."
        if models.placement.dtype == "float32"
        else "Use a smaller --model."
    )
    return Part("language model", int(held + _CAUSAL + _WORD * found.words), mend)


def _labelling(setup: Setup, models: Models, found: Size) -> Iterator[Part]:
    """What goes through a language model at once."""
    width, budget = models.placement.torch_dtype.itemsize, models.placement.batch_tokens
    longest = min(setup.config.max_length, found.context, _tokens(pool for _, pool in setup.pools()))
    mend = f"Say --batch-tokens {max(16, budget // 4)}."
    every = longest * sum(len(pool) for _, pool in setup.pools())
    at_once = min(max(budget, longest), every)
    yield Part("a forward of the language model", int(at_once * _forward(found, longest, width)), mend)
    if setup.influence.traits.gradients:
        left = _BACKWARD * width * found.layers * (found.width + found.inner)
        yield Part("a backward of the language model", int(at_once * left), mend)
        yield Part("adapter and gradients", _GRADIENTS * found.weights)
    elif setup.influence.traits.pairwise:
        rows = max(1, at_once // max(1, longest))
        kept = found.cached * found.layers * width * longest
        yield Part("keys and values of prefixes", int(min(_PREFIX_CACHE, rows * kept) * 2 * _COPIES), mend)


def _estimating(setup: Setup) -> Iterator[Part]:
    labels = setup.rounds.most if setup.rounds is not None else 0 if setup.pairs is None else len(setup.pairs[0])
    yield Part("labels while the estimator learns", _SYSTEM * 8 * min(labels, DENSE) ** 2, "Lower --labels.")
    factors = 4 * setup.factors * sum(kernel_shape(setup.axes))  # labels that are left out are predicted
    yield Part("factors of the estimator", factors, "Say --estimator paper.")


def _choosing(setup: Setup) -> Iterator[Part]:
    yield from _kept(setup)
    rows, columns = kernel_shape(setup.axes)
    if setup.factors and setup.route.backend == "dense":
        yield Part("factors while kernels are filled", 4 * setup.factors * (rows + columns), "Say --estimator paper.")
    config = setup.config
    if isinstance(config, SelectConfig) and config.entries:
        covered = rows * (config.entries + 1) * 8
        yield Part("best entries", covered * ((config.threads or cores()) + 1), "Lower --entries, or say --threads 1.")


def _kept(setup: Setup) -> Iterator[Part]:
    """What stays of choosing for the report."""
    route = setup.route
    if route.backend == "dense":
        smaller = (
            ""
            if setup.exact and not getattr(setup.influence, "inner_product", False)
            else "Say --backend tiled, or lower"
        )
        yield Part("kernels", route.bytes, f"{smaller or 'Lower'} --max-targets.")
    else:
        yield Part("factors of the kernels", route.bytes, "Say --estimator paper.")
    yield Part("candidates while rows are chosen", _CHOOSING * setup.axes.shape[1])
