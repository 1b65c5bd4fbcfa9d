"""Loads the local causal language model: a hub id, a folder, a GGUF file, or an alias whose weights travel as a package."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from difflib import get_close_matches
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from nncift.cachedir import cache_folder
from nncift.errors import MissingExtraError, ModelError
from nncift.ledger import Ledger
from nncift.lm.address import read_served
from nncift.lm.atomic import aside_folder
from nncift.lm.device import Placement
from nncift.lm.head import OutputHead
from nncift.lm.hub import ask_hub
from nncift.lm.identity import identify, identify_tokenizer
from nncift.lm.layers import check_layers, cut_fingerprint, cut_layers, whole_name
from nncift.lm.meter import Meter, count_weights
from nncift.lm.model import LanguageModel
from nncift.lm.score import shares_prefixes
from nncift.registry import PACKAGED_MODELS, TOKENIZER, is_served

log = logging.getLogger(__name__)


def load_language_model(
    name: str,
    placement: Placement,
    *,
    max_length: int = 2048,
    quantize: str | None = None,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Loads a causal language model and its tokenizer.

    Args:
        name: a hub id, a folder, a `.gguf` file, or an alias (`gemma-3-270m`); `NAME#layers=6` keeps its first layers.
        placement: from `nncift.lm.device.place`.
        max_length: context limit in tokens; the model's own limit where that is smaller.
        quantize: `4bit` loads through bitsandbytes (NF4, double quantisation); not with a `.gguf` file.
        trust_remote_code: lets the model bring code of its own; only ever on the user's word.

    Raises:
        ModelError: it cannot be loaded; the message says why and what to try.
        MissingExtraError: the alias, the GGUF file or the quantisation needs a package that is not installed.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if is_served(name):
        raise ModelError(
            f"{name!r} is a server, and what is asked here needs the weights themselves on this machine. Name a hub id, a "
            "folder or a .gguf file."
        )
    refuse_packed(name, quantize)
    whole, layers = whole_name(name)
    source, options = _opened(whole, trust_remote_code=trust_remote_code)
    file = options.get("gguf_file")
    # straight to where it runs: the memory beside a GPU is often too small to hold a model first
    straight = quantize or placement.device.startswith("cuda")
    with _fitting(name, placement, quantize):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tokenizer = AutoTokenizer.from_pretrained(source, **options)
                model = AutoModelForCausalLM.from_pretrained(
                    source,
                    dtype=placement.torch_dtype,
                    device_map={"": placement.device} if straight else None,
                    quantization_config=_quantization(quantize, file),
                    **options,
                )
                if not straight:
                    model.to(placement.device)  # pyright: ignore[reportArgumentType]
        except (MissingExtraError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # the loaders raise a dozen types; all mean the same to a user
            raise ModelError(_load_sentence(name, error)) from error
        cut_layers(name, model, layers)
        _keep_packing(model)
        fingerprint = cut_fingerprint(identify(source if not file else Path(source) / file) or whole, layers)
        limit = context_length(model.config, max_length)
        lm = prepare(name, model, tokenizer, placement, fingerprint=fingerprint, max_length=limit)
    return replace(lm, quantize=quantize)


@contextmanager
def _fitting(name: str, placement: Placement, quantize: str | None) -> Iterator[None]:
    """Raises:
    ModelError: the device is too small for the model, or for the probes behind it.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        smaller = "" if quantize else "Try --quantize 4bit. "
        raise ModelError(
            f"the language model {name!r} does not fit into the memory of {placement.device} in {placement.dtype}. "
            f"{smaller}Otherwise take a smaller model, or --device cpu."
        ) from error


def load_tokenizer(name: str, *, max_length: int = 2048, trust_remote_code: bool = False) -> tuple[Any, int]:
    """The tokenizer of a language model and its context in tokens, at most `max_length`: what can be found out of a model
    without its weights, before anything is spent. How much a server takes is asked when it is connected.

    Raises:
        ModelError, MissingExtraError: as in `load_language_model`.
    """
    from transformers import AutoConfig, AutoTokenizer

    if is_served(name):
        return _served_tokenizer(name, trust_remote_code=trust_remote_code), max_length
    whole, layers = whole_name(name)
    source, options = _opened(whole, trust_remote_code=trust_remote_code)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = AutoConfig.from_pretrained(source, **options)
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
    except Exception as error:  # as above
        raise ModelError(_load_sentence(name, error)) from error
    check_layers(name, config, layers)
    return tokenizer, context_length(config, max_length)


def _served_tokenizer(name: str, *, trust_remote_code: bool) -> Any:
    """The tokenizer of a served model, from a folder, the hub or its copy in the cache."""
    from transformers import AutoTokenizer

    source = read_served(name).tokenizer
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    try:
        place, file = _resolve(source)
        if not Path(place).exists() and (problem := ask_hub(place)):
            log.warning("%s: %s; its tokenizer in the cache is used", source, problem)
            options["local_files_only"] = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return AutoTokenizer.from_pretrained(place, **options, **({"gguf_file": file} if file else {}))
    except MissingExtraError:
        raise
    except Exception as error:  # as above
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ModelError(
            f"cannot load the tokenizer {source!r} of the served model: {reason}. Name its hub id or folder behind the model: "
            f"{name.partition(TOKENIZER)[0]}{TOKENIZER}HUB_ID_OR_FOLDER."
        ) from error


def served_fingerprint(name: str, tokenizer: Any) -> str:
    """What tells a served model from others: its name and its tokenizer, not where it is served."""
    return sha256(f"served {read_served(name).model}\n{identify_tokenizer(tokenizer)}".encode()).hexdigest()


def refuse_packed(name: str, quantize: str | None) -> None:
    """Raises:
    ModelError: a `.gguf` file is to be loaded in four bits.
    """
    if quantize and Path(whole_name(name)[0]).suffix == ".gguf":
        raise ModelError(
            f"--quantize {quantize} does not apply to {name!r}: a .gguf file is unpacked when it is read. Leave the option "
            "out, or name the folder or hub id of the model that the file was made from."
        )


def context_length(config: Any, most: int) -> int:
    """The longest sequence that a model with this configuration takes, at most `most`."""
    return min(most, getattr(config.get_text_config(), "max_position_embeddings", None) or most)


def _opened(name: str, *, trust_remote_code: bool) -> tuple[str, dict[str, Any]]:
    """Where `from_pretrained` finds a model, and its options.

    Raises:
        ModelError: it is not there.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    source, file = _resolve(name)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if file:
        options["gguf_file"] = file
    if not Path(source).exists() and (problem := ask_hub(source)):
        if identify(source) is None:
            raise ModelError(_load_sentence(name, f"{problem}, and it is not in the cache"))
        log.warning("%s: %s; its copy in the cache is used", name, problem)
        options["local_files_only"] = True
    return source, options


def prepare(
    name: str, model: Any, tokenizer: Any, placement: Placement, *, fingerprint: str, max_length: int
) -> LanguageModel:
    """A loaded `transformers` model as a `LanguageModel`; what it can do is found out on probes, not assumed."""
    lm = LanguageModel(
        name,
        model.eval(),
        tokenizer,
        placement,
        OutputHead.of(model),
        False,
        fingerprint,
        max_length,
        count_weights(model),
        Meter(model),
    )
    lm = replace(lm, shares_prefixes=shares_prefixes(lm))
    lm.meter.ledger = Ledger()  # what the probes did is nobody's work
    return lm


def model_fingerprint(name: str, *, trust_remote_code: bool = False) -> str | None:
    """What `LanguageModel.fingerprint` will be, without loading the model; None where it is not on this disk yet.

    Raises:
        ModelError, MissingExtraError: as in `load_language_model`.
    """
    if is_served(name):
        tokenizer, _ = load_tokenizer(name, trust_remote_code=trust_remote_code)
        return served_fingerprint(name, tokenizer)
    whole, layers = whole_name(name)
    source, file = _resolve(whole)
    known = identify(Path(source) / file if file else source)
    return None if known is None else cut_fingerprint(known, layers)


def _resolve(name: str) -> tuple[str, str | None]:
    """The folder or hub id to load from, and the GGUF file inside it where there is one."""
    if name in PACKAGED_MODELS:
        return str(_unpacked(name, PACKAGED_MODELS[name])), None
    path = Path(name)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"no GGUF file at {name!r}. Check the path.")
        _need_gguf()
        return str(path.parent), path.name
    if not path.exists() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise ModelError(f"no model folder at {name!r}. Check the path, or give a hub id such as `Qwen/Qwen2.5-0.5B`.")
    return name, None


def _need_gguf() -> None:
    if find_spec("gguf") is None:
        raise MissingExtraError("gguf", "gguf", "reading a GGUF file")


def _unpacked(name: str, module: str) -> Path:
    """The cached safetensors folder of a packaged 4-bit GGUF model: made once in about 45 s, loaded in 2 s afterwards."""
    folder = cache_folder() / "models" / name
    if (folder / "done").is_file():
        return folder
    if find_spec(module) is None:
        raise MissingExtraError(module.replace("_", "-"), "offline", f"the model alias {name!r}")
    _need_gguf()
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    log.warning("unpacking %s once into %s; this takes about a minute", name, folder)
    with aside_folder(folder) as work:
        file: Path = import_module(module).assemble(work / "model.gguf")  # checks the SHA-256 of the assembled file
        tokenizer = AutoTokenizer.from_pretrained(work, gguf_file=file.name)
        with redirect_stderr(StringIO()):  # a bar of its own, which pipes and logs would hold by the line
            model = AutoModelForCausalLM.from_pretrained(
                work, gguf_file=file.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
            )
        file.unlink()
        for attribute in ("quantization_config", "_pre_quantization_dtype"):
            if hasattr(model.config, attribute):
                delattr(model.config, attribute)
        model.save_pretrained(work)
        tokenizer.save_pretrained(work)
        (work / "done").touch()
        if not (folder / "done").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            work.replace(folder)
    return folder


def _quantization(quantize: str | None, gguf_file: str | None) -> Any:
    from transformers import BitsAndBytesConfig, GgufConfig

    if gguf_file:
        return GgufConfig(dequantize=True)
    if quantize is None:
        return None
    if find_spec("bitsandbytes") is None:
        raise MissingExtraError("bitsandbytes", "qlora", "`--quantize 4bit`")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def _keep_packing(model: Any) -> None:
    """Keeps bitsandbytes from packing four-bit weights anew in the first forward, as it does on CPUs with AVX512-BF16: no
    gradient passes through weights so packed, their scales are rounded, and shapes that are no multiple of the block fail."""
    for module in model.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False):
            module.support_avx512bf16_for_cpu = False


def _load_sentence(name: str, reason: object) -> str:
    first = (str(reason).strip().splitlines() or [type(reason).__name__])[0].rstrip(".")
    near = get_close_matches(name, PACKAGED_MODELS, n=1)
    spelling = f"Did you mean {near[0]!r}?" if near else "Check the spelling."
    return (
        f"cannot load the language model {name!r}: {first}. {spelling} Without a network give a local folder, a .gguf file, "
        f'or the alias `gemma-3-270m` (pip install "nncift[offline]").'
    )
