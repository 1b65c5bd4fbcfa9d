"""Embeddings by any sentence-transformers model: a hub id or a local folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from nncift.embed.base import Progress, first_bad_row, text_order, unit_rows
from nncift.embed.weights import cannot_load, folder_hash, model_folder
from nncift.errors import ModelError
from nncift.ledger import Ledger

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class SentenceEmbedder:
    """A sentence-transformers model, computed in float32 and loaded when the first text has to be encoded.

    Use it for every model that is not an alias. The weights are found (or downloaded) and hashed at once, so that a
    wrong name fails early and a run whose vectors are all cached never loads torch.

    Args:
        model_name: a hub id, or a local folder as `SentenceTransformer.save_pretrained` writes it.
        device: `cpu`, `cuda`, `cuda:1`, `mps`.
        batch_size: texts per batch, at least 1; changes the vectors by float noise only.
        folder: where the weights are, if that is known already.

    Raises:
        ModelError: there are no weights under this name.

    *Cost*: one pass of the encoder per different text; memory `batch_size` times the longest text it reads.
    """

    def __init__(
        self, model_name: str, device: str = "cpu", *, batch_size: int = 64, folder: Path | None = None
    ) -> None:
        self.name = model_name
        self.ledger = Ledger()  # whoever starts a piece of work sets its own
        self._device = device
        self._batch_size = batch_size
        self.folder = model_folder(model_name) if folder is None else folder
        # Weights, tokenizer and settings; the device changes the vectors by float noise only, so it has no part.
        self.fingerprint = sha256(f"sentence-transformers float32 {folder_hash(self.folder)}".encode()).hexdigest()

    def load(self) -> None:
        """Loads the weights now.

        Raises:
            ModelError: they cannot be.
        """
        _ = self._model

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        size = self._model.get_embedding_dimension()
        if size is None:
            raise cannot_load(self.name, "it does not say how long its vectors are")
        return size

    def encode(self, texts: Sequence[str], *, on_progress: Progress | None = None) -> Float[ndarray, "n d"]:
        """One float32 vector of length 1 per text; equal texts are encoded once.

        Raises:
            ModelError: the model cannot be loaded, or gives NaN or infinity.
        """
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        times = Counter(texts)
        order = sorted(times, key=text_order)
        vectors = np.empty((len(order), self.dimension), dtype=np.float32)
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            vectors[start : start + len(batch)] = self._model.encode(
                batch, batch_size=len(batch), show_progress_bar=False, convert_to_numpy=True
            )
            if on_progress is not None:
                on_progress(sum(times[text] for text in batch))
        bad = first_bad_row(vectors)
        if bad is not None:
            raise ModelError(f"the embedder {self.name!r} gives NaN or infinity for the text {order[bad][:80]!r}.")
        place = {text: row for row, text in enumerate(order)}
        return unit_rows(vectors)[[place[text] for text in texts]]

    def overlong(self, texts: Sequence[str]) -> Bool[ndarray, "n"]:
        """Which texts have more tokens than the encoder reads. *Cost*: tokenises them once more."""
        from transformers import PreTrainedTokenizerBase

        model, tokenizer = self._model, self._model.tokenizer
        # Models without a transformer (static embeddings, bags of words) read texts of any length.
        if not texts or model.max_seq_length is None or not isinstance(tokenizer, PreTrainedTokenizerBase):
            return np.zeros(len(texts), dtype=np.bool_)
        prompt = model.prompts.get(model.default_prompt_name or "") or ""
        tokens = tokenizer([prompt + text for text in texts], truncation=False, verbose=False)["input_ids"]
        return np.array([len(ids) > model.max_seq_length for ids in tokens], dtype=np.bool_)

    @cached_property
    def _model(self) -> SentenceTransformer:
        from sentence_transformers import SentenceTransformer

        try:
            with _no_loading_bar():
                model = SentenceTransformer(
                    str(self.folder),
                    device=self._device,
                    local_files_only=True,
                    model_kwargs={"dtype": "float32"},
                )
        except Exception as error:  # a damaged folder raises anything: KeyError, SafetensorError, RuntimeError, ...
            raise cannot_load(self.name, error) from error
        model[0].register_forward_pre_hook(self._count)
        return model

    def _count(self, module: Any, args: tuple[Any, ...]) -> None:
        """Counts the texts that go through the first module, the transformer; one without a mask (a bag of words) looks its
        words up and multiplies nothing."""
        mask = args[0].get("attention_mask")
        self.ledger.encoder_forwards += len(args[0]["offsets"] if mask is None else mask)
        if mask is not None:
            weights = sum(w.numel() for name, w in module.named_parameters() if "embeddings" not in name)
            self.ledger.flops += 2 * weights * mask.numel()


@contextmanager
def _no_loading_bar() -> Iterator[None]:
    """Keeps the second it takes to read weights from a local folder from drawing a progress bar of its own."""
    from transformers.utils import logging as transformers_logging

    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
