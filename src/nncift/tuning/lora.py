"""Low-rank adapters on a frozen language model: put on by seed, taken off without a trace.

An adapter adds (alpha / rank) · B(A(x)) to a linear map; A starts as small uniform noise and B at zero, so that a fresh
adapter changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from weakref import WeakKeyDictionary

import torch

from nncift.errors import ModelError
from nncift.lm.model import LanguageModel
from nncift.seeds import generator

Where = Literal["attention", "all-linear"]
"""Which maps get an adapter: the projections of the attention blocks, or every linear map but the output head."""

_ATTENTION = ("attn", "attention")  # in the name of the module that holds a family's projections

_thawed: WeakKeyDictionary[torch.nn.Module, frozenset[str]] = WeakKeyDictionary()
"""Which weights of an adapted model wanted gradients before."""


def attach(
    lm: LanguageModel,
    *,
    rank: int,
    alpha: float,
    seed: int,
    where: Where = "attention",
    dropout: float = 0.0,
) -> dict[str, torch.nn.Parameter]:
    """Puts a fresh adapter on linear maps of the model; everything else of the model is frozen.

    Args:
        lm: a language model without an adapter; changed in place until `detach`.
        rank: rank of each adapted map's update, 1 or more.
        alpha: the update is scaled by alpha / rank.
        seed: of the initial weights; the same on every device, and no global generator is touched.
        where: which maps are adapted.
        dropout: share of an adapter's inputs that are dropped while the model is in training mode, in [0, 1).

    Returns:
        The trainable weights by name, in the model's order, float32 whatever the model's own format.

    Raises:
        ModelError: the model has no such map, or has an adapter already.
    """
    from peft import LoraConfig, inject_adapter_in_model

    model = lm.model
    if model in _thawed:
        raise ModelError(f"the language model {lm.name!r} has an adapter already; detach it first.")
    names, transposed = _adaptable(lm, where)
    thawed = frozenset(name for name, weight in model.named_parameters() if weight.requires_grad)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # pyright: ignore[reportArgumentType]  # annotated int; it is only divided by the rank
        lora_dropout=dropout,
        target_modules=names,
        fan_in_fan_out=transposed,
        bias="none",
    )
    with torch.random.fork_rng(devices=[]):  # the layers draw weights of their own, which are replaced below
        inject_adapter_in_model(config, model)
    model.train(model.training)  # new modules begin in training mode, where their inputs are dropped
    _thawed[model] = thawed
    model._hf_peft_config_loaded = True  # what tells `transformers` that a model in four bits has something to train
    trainable: dict[str, torch.nn.Parameter] = {}
    for name, weight in model.named_parameters():
        weight.requires_grad_("lora_" in name)
        if weight.requires_grad:
            weight.data = _initial(name, tuple(weight.shape), seed).to(weight.device)
            trainable[name] = weight
    return trainable


def install(weights: Mapping[str, torch.nn.Parameter], adapter: Mapping[str, torch.Tensor]) -> None:
    """Gives the attached adapter other weights, those of a checkpoint."""
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(adapter[name])


def detach(lm: LanguageModel) -> None:
    """Takes the adapter off: modules, weights and what wants a gradient are as they were before `attach`."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    model = lm.model
    thawed = _thawed.pop(model, None)
    if thawed is None:
        return
    adapted = [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, module in adapted:
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, module.get_base_layer())
    del model.peft_config, model._hf_peft_config_loaded
    for name, weight in model.named_parameters():
        weight.requires_grad_(name in thawed)


def _adaptable(lm: LanguageModel, where: Where) -> tuple[list[str], bool]:
    """Names of the maps to adapt, and whether they keep their weights transposed, as GPT-2 does."""
    from transformers.pytorch_utils import Conv1D

    head = lm.model.get_output_embeddings()
    linear = {
        name: module
        for name, module in lm.model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D))
        and module is not head
        and (where == "all-linear" or _in_attention(name))
    }
    if not linear:
        what = "linear maps" if where == "all-linear" else "attention projections"
        raise ModelError(f"the language model {lm.name!r} ({type(lm.model).__name__}) has no {what} to adapt.")
    transposed = {isinstance(module, Conv1D) for module in linear.values()}
    if len(transposed) > 1:
        raise ModelError(f"the language model {lm.name!r} mixes kinds of linear maps; its adapters are not supported.")
    return list(linear), transposed.pop()


def _in_attention(name: str) -> bool:
    return any(word in part for part in name.split(".")[:-1] for word in _ATTENTION)


def _initial(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    if "lora_A" not in name:
        return torch.zeros(shape)
    bound = shape[1] ** -0.5  # the variance of uniform noise that the usual initialisation of linear maps has
    noise = generator(seed, f"lora/{name}").uniform(-bound, bound, shape)
    return torch.from_numpy(noise).float()
