"""A worker that has another language model than the run, or another number format, says so before it computes anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nncift.config import SelectConfig
from nncift.embed.choose import load_embedder
from nncift.embed.sentence import SentenceEmbedder
from nncift.errors import RunError
from nncift.ledger import Ledger
from nncift.pipeline.encoding import LoadEncoder
from nncift.pipeline.loading import OwnModels
from nncift.pipeline.models import Models
from nncift.pipeline.preparing import prepare
from nncift.pipeline.readers import readers_of
from nncift.progress import Silent
from nncift.run import Work
from nncift.scale.executor import Seat
from toy_encoder import make_toy_encoder
from toy_road import make_corpus, save_model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    place = tmp_path_factory.mktemp("run")
    corpus, model = make_corpus(place, n=12, m=3), str(save_model(place / "lm"))
    options = corpus.options(influence="delift", model=model, budget=3, output=str(place / "run"))
    return Models(prepare(SelectConfig.of({"pool": str(corpus.pool), **options})), Silent())


def test_a_worker_has_the_models_of_the_run(models: Models) -> None:
    assert OwnModels.of(models).make(Seat(), lambda own: own.lm_key) == models.lm_key


def test_another_model_or_number_format_is_refused(models: Models) -> None:
    load, known = OwnModels.of(models), models.lm_key
    other = replace(load, known=known | {"models": ["0" * 64]})
    with pytest.raises(RunError, match="is another one on a worker's machine than here: its files differ"):
        other.make(Seat(), lambda own: own.lms)
    half = replace(load, known=known | {"dtype": "float64"})
    with pytest.raises(
        RunError, match=rf"a worker computes in {known['dtype']} and this process in float64\. Name one --dtype"
    ):
        half.make(Seat(), lambda own: own.lms)


def test_one_worker_needs_no_readers(models: Models) -> None:
    assert models.executor.name == "serial" and readers_of(models, Ledger()) is None


def test_what_nothing_read_is_not_told(models: Models, tmp_path: Path) -> None:
    class Elsewhere:
        name, workers = "threads", 2

    readers = readers_of(models, Ledger(), Elsewhere())  # pyright: ignore[reportArgumentType]
    assert readers is not None and readers.facts() == {}
    done = Work()
    readers.tell(done)
    assert done.facts == {} and done.cpu_elsewhere == 0


def test_a_workers_encoder_is_loaded_before_its_first_text(tmp_path: Path) -> None:
    """Two threads that loaded weights at once would change the process under one another."""
    name = str(make_toy_encoder(tmp_path / "encoder"))
    embedder, _ = LoadEncoder(name, "cpu", load_embedder(name, device="cpu").fingerprint)(Seat())
    assert isinstance(embedder, SentenceEmbedder) and "_model" in vars(embedder)
