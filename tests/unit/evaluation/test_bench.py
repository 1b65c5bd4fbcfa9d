"""A cell depends on what its numbers depend on and on nothing else, is computed once, and leaves no trace on the model."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from nncift.data.files import load_pool
from nncift.data.rows import Example
from nncift.errors import ConfigError
from nncift.evaluation import bench as module
from nncift.evaluation import showing
from nncift.evaluation.bench import Bench, Trial
from nncift.evaluation.finetuning import FineTuning
from nncift.evaluation.options import By
from nncift.evaluation.showing import Measuring
from nncift.lm.generate import Decoding
from nncift.lm.model import LanguageModel
from nncift.progress import Silent
from nncift.run import RunFolder
from toy_evaluation import POOL, SUBSET, TEST, Toy, read_rows, toy_rows
from toys import toy_lm

HOW = Measuring(
    fine_tuning=FineTuning(rank=2, epochs=1, learning_rate=1e-2),
    shots=2,
    nearest="nearest-first",
    decoding=Decoding(max_new_tokens=4),
    max_length=256,
    wording="auto",
)
KEY = {"model": "toy", "dtype": "float32", "quantize": None}


def examples(rows: list[dict[str, Any]]) -> tuple[Example, ...]:
    return load_pool(rows).by_id().examples


TESTED, TAUGHT = examples(toy_rows("test", TEST)), examples(toy_rows("pool", POOL))[:SUBSET]


def vectors(texts: Any) -> Any:
    """Unit vectors that know the first letters of a text."""
    import numpy as np

    found = np.array([[*text.encode()[:6]] for text in texts], dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


class Loud(Silent):
    """Counts rows."""

    def __init__(self) -> None:
        self.rows = 0

    def advance(self, count: int) -> None:
        self.rows += count


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    opened: list[RunFolder] = []

    def made(
        name: str = "bench",
        *,
        lm: LanguageModel | None = None,
        test: tuple[Example, ...] = TESTED,
        how: Measuring = HOW,
        key: dict[str, Any] = KEY,
        embed_key: str = "toy",
    ) -> Bench:
        for folder in opened:
            folder.close()
        opened.append(RunFolder(tmp_path / name))
        language_model = lm or toy_lm()
        return Bench(
            opened[-1], test, how, load=lambda: language_model, load_tokenizer=lambda: language_model.tokenizer,
            lm_key=key, embed=vectors, embed_key=embed_key, reporter=Loud(),
        )  # fmt: skip

    yield made
    for folder in opened:
        folder.close()


def weights(lm: LanguageModel) -> str:
    digest = sha256()
    for name, weight in sorted(lm.model.state_dict().items()):
        digest.update(name.encode() + weight.numpy().tobytes())
    return digest.hexdigest()


OTHER = replace(TAUGHT[0], turns=(TAUGHT[0].turns[0], replace(TAUGHT[0].turns[1], content="no")))


@pytest.mark.parametrize("by", ["icl", "lora"])
def test_keys_change_with_what_the_numbers_depend_on(make: Callable[..., Bench], by: By) -> None:
    trial = Trial(TAUGHT, by, 1)
    fine = HOW.fine_tuning
    variants: dict[str, tuple[dict[str, Any], Trial]] = {
        "rows": ({}, replace(trial, rows=TAUGHT[1:])),
        "text": ({}, replace(trial, rows=(OTHER, *TAUGHT[1:]))),
        "test": ({"test": TESTED[1:]}, trial),
        "model": ({"key": KEY | {"model": "another"}}, trial),
        "dtype": ({"key": KEY | {"dtype": "bfloat16"}}, trial),
        "quantize": ({"key": KEY | {"quantize": "4bit"}}, trial),
        "max_length": ({"how": replace(HOW, max_length=99)}, trial),
        "wording": ({"how": replace(HOW, wording="plain")}, trial),
    }
    trained: dict[str, tuple[dict[str, Any], Trial]] = {
        "seed": ({}, replace(trial, seed=2)),
        **{
            name: ({"how": replace(HOW, fine_tuning=replace(fine, **{name: value}))}, trial)
            for name, value in {
                "rank": 3, "alpha": 3.0, "dropout": 0.5, "learning_rate": 1.0, "epochs": 2, "batch": 3,
            }.items()
        },
    }  # fmt: skip
    shown: dict[str, tuple[dict[str, Any], Trial]] = {
        "shots": ({"how": replace(HOW, shots=3)}, trial),
        "nearest": ({"how": replace(HOW, nearest="nearest-last")}, trial),
        "room": ({"how": replace(HOW, decoding=Decoding(5))}, trial),
        "embedder": ({"embed_key": "another"}, trial),
    }
    ours, theirs = (trained, shown) if by == "lora" else (shown, trained)

    def key(options: dict[str, Any], of: Trial) -> str:
        return make(**options).key(of)

    base = key({}, trial)
    changed = {name: key(*variant) for name, variant in (variants | ours).items()}
    assert len({base, *changed.values()}) == len(changed) + 1
    assert {name: key(*variant) for name, variant in theirs.items()} == dict.fromkeys(theirs, base)
    mixed = replace(trial, rows=tuple(random.Random(5).sample(TAUGHT, len(TAUGHT))))
    moved = replace(trial, rows=tuple(replace(row, number=row.number + 9, line=7, raw=b"") for row in TAUGHT))
    assert key({}, mixed) == key({}, moved) == key({"how": replace(HOW, decoding=Decoding(4, temperature=1.0))}, trial)
    assert key({}, mixed) == base != key({}, replace(trial, by="lora" if by == "icl" else "icl"))


def test_nothing_taught_depends_neither_on_seed_nor_on_training(make: Callable[..., Bench]) -> None:
    other = replace(HOW, fine_tuning=FineTuning(rank=5))
    assert make().key(Trial((), "lora", 1)) == make(how=other).key(Trial((), "lora", 2))


def test_answers_depend_on_the_seed_only_where_they_are_drawn(make: Callable[..., Bench]) -> None:
    one, two = Trial(TAUGHT, "icl", 1), Trial(TAUGHT, "icl", 2)
    assert make().answers_key(one) == make().answers_key(two)
    drawn = make(how=replace(HOW, decoding=Decoding(4, temperature=1.0)))
    assert len({drawn.answers_key(one), drawn.answers_key(two), make().answers_key(one)}) == 3
    assert drawn.key(one) == drawn.key(two)
    written = [drawn.cell(trial, answers=True) for trial in (one, two)]
    assert written[0].loss == written[1].loss and written[0].answers != written[1].answers


def test_a_cell_is_the_same_whatever_order_the_rows_are_in(make: Callable[..., Bench]) -> None:
    first = make("one").cell(Trial(TAUGHT, "lora", 1), answers=True)
    again = make("two").cell(Trial(TAUGHT[::-1], "lora", 1), answers=True)
    assert (first.key, first.loss, first.answers) == (again.key, again.loss, again.answers)
    assert first.rows == SUBSET and first.tokens > first.response_tokens > 0 and first.costs["flops"] > 0


def test_losses_are_the_models_own(make: Callable[..., Bench]) -> None:
    """Plain wording: the response behind prompt and line break, without the end that is only taught."""
    import torch

    lm = toy_lm()
    cell = make(lm=lm).cell(Trial((), "lora", 0), answers=False)
    for row, loss in zip(TESTED, cell.loss, strict=True):
        ids = lm.tokenizer(f"{row.prompt}\n{row.response}")["input_ids"]
        with torch.no_grad():
            logits = lm.model(input_ids=torch.tensor([ids])).logits[0]
        count = len(row.response)
        wanted = torch.nn.functional.cross_entropy(logits[-count - 1 : -1], torch.tensor(ids[-count:]))
        assert loss == pytest.approx(float(wanted), abs=1e-4)
    assert cell.rows == cell.tokens == 0 and cell.answers == []


@pytest.mark.parametrize("by", ["icl", "lora"])
def test_the_base_model_is_as_it_was_after_every_cell(
    make: Callable[..., Bench], by: By, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = toy_lm()
    before = weights(lm)
    if by == "icl":
        monkeypatch.setattr(showing, "fine_tuned", None)
    first = make("one", lm=lm).cell(Trial(TAUGHT, by, 1), answers=True)
    assert weights(lm) == before and lm.meter.ledger.lm_backwards == 0
    assert (first.costs["lm_backwards"] > 0) == (by == "lora")
    second = make("two", lm=lm).cell(Trial(TAUGHT, by, 1), answers=True)
    assert (first.loss, first.answers) == (second.loss, second.answers)


def test_icl_sees_the_base_model_after_a_fine_tuning(make: Callable[..., Bench]) -> None:
    alone = make("alone").cell(Trial(TAUGHT, "icl", 1), answers=True)
    both = make("both")
    tuned = both.cell(Trial(TAUGHT, "lora", 1), answers=True)
    behind = both.cell(Trial(TAUGHT, "icl", 1), answers=True)
    assert (behind.loss, behind.answers) == (alone.loss, alone.answers) and tuned.loss != alone.loss


@pytest.mark.parametrize("by", ["icl", "lora"])
def test_answers_later_train_again_and_keep_the_losses(
    make: Callable[..., Bench], by: By, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trial = Trial(TAUGHT, by, 1)
    bench = make()
    alone = bench.cell(trial, answers=False)
    record = (tmp_path / "bench" / "cells" / f"{alone.key}.json").read_bytes()
    trained: list[int] = []
    real = showing.fine_tuned
    monkeypatch.setattr(showing, "fine_tuned", lambda *given, **named: (trained.append(1), real(*given, **named))[1])
    scoring = module.score_responses
    monkeypatch.setattr(module, "score_responses", None)
    assert bench.missing(trial, answers=True) and not bench.missing(trial, answers=False)
    both = bench.cell(trial, answers=True)
    assert both.loss == alone.loss and len(both.answers) == TEST and len(trained) == (by == "lora")
    assert (tmp_path / "bench" / "cells" / f"{alone.key}.json").read_bytes() == record
    monkeypatch.setattr(module, "score_responses", scoring)
    anew = make("anew").cell(trial, answers=True)
    assert (anew.loss, anew.answers) == (both.loss, both.answers)


@pytest.mark.parametrize("by", ["icl", "lora"])
@pytest.mark.parametrize("answers", [False, True])
def test_the_work_that_is_foretold_is_done(make: Callable[..., Bench], by: By, answers: bool) -> None:
    long = replace(TESTED[0], turns=(replace(TESTED[0].turns[0], content="x" * 300), TESTED[0].turns[1]))
    trial = Trial(TAUGHT, by, 1)
    bench = make(test=(long, *TESTED[1:]))
    foretold = bench.work(trial, answers=answers)
    bench.cell(trial, answers=answers)
    assert isinstance(bench.reporter, Loud) and bench.reporter.rows == foretold
    bench.cell(trial, answers=answers)
    assert bench.reporter.rows == foretold


def test_rows_that_cannot_be_scored_are_none(make: Callable[..., Bench]) -> None:
    """By icl a row that leaves no room; by lora one whose only token has nothing in front of it."""
    long = replace(TESTED[0], turns=(replace(TESTED[0].turns[0], content="x" * 300), TESTED[0].turns[1]))
    for by in ("icl", "lora"):
        cell = make(by, test=(*TESTED[1:], long)).cell(Trial(TAUGHT, by, 1), answers=True)
        assert [loss is None for loss in cell.loss] == [answer is None for answer in cell.answers]
        assert [loss is None for loss in cell.loss] == [False] * (TEST - 1) + [by == "icl"]
        assert cell.facts["test_too_long" if by == "icl" else "test_cut"] == 1


@pytest.mark.parametrize("template", ["{{ raise_exception('no') }}", None])
def test_a_chat_wording_that_does_not_work_names_our_flag(make: Callable[..., Bench], template: str | None) -> None:
    lm = toy_lm()
    lm.tokenizer.chat_template = template
    for by in ("icl", "lora"):
        bench = make(lm=lm, how=replace(HOW, wording="chat"))
        with pytest.raises(ConfigError, match="--wording plain") as caught:
            bench.cell(Trial(TAUGHT, by, 1), answers=False)
        assert "--option" not in str(caught.value)


NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "<{{ m['role'] }}>{{ m['content'] }}</>{% endfor %}<assistant>"
)
STERN = examples([{"id": "s", "messages": [{"role": r, "content": "river"} for r in ("system", "user", "assistant")]}])


def chatting() -> LanguageModel:
    lm = toy_lm()
    lm.tokenizer.chat_template = NO_SYSTEM
    return lm


def test_a_row_that_the_chat_template_refuses_is_found_before_anything_is_trained(
    make: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    """`auto` gives way for all rows, once and aloud, and its cells are those of `plain`; `chat` refuses then and there."""
    trial = Trial((*TAUGHT, *STERN), "lora", 1)
    plain = make("plain", lm=chatting(), how=replace(HOW, wording="plain"))
    assert plain.refuse_unworded(trial.rows) is None
    wanted = plain.cell(trial, answers=True)
    bench = make("auto", lm=chatting())
    caplog.clear()
    told = bench.refuse_unworded(trial.rows)
    assert told is not None and f"refuses 1 of {SUBSET + 1 + TEST:,} rows" in told and "row 's': no system" in told
    assert [record.getMessage() for record in caplog.records] == [told]
    found = bench.cell(trial, answers=True)
    assert (found.key, found.loss, found.answers) == (wanted.key, wanted.loss, wanted.answers)
    assert make(lm=chatting(), test=(*TESTED, *STERN)).refuse_unworded(TAUGHT) is not None
    with pytest.raises(ConfigError, match=r"row 's': no system.*--wording plain"):
        make(lm=chatting(), how=replace(HOW, wording="chat")).refuse_unworded(trial.rows)


def test_a_chat_template_that_takes_every_row_is_used(make: Callable[..., Bench]) -> None:
    """A base model's keys are those of ever; a chat model's are new, as rows without a prompt now begin otherwise."""
    base, chat = make(), make(lm=chatting())
    assert base.refuse_unworded(TAUGHT) is chat.refuse_unworded(TAUGHT) is None
    trial = Trial(TAUGHT, "lora", 1)
    assert base.key(trial) == "63dad1d6e49d5666e51529c04069894e" != chat.key(trial)
    assert base.key(replace(trial, by="icl")) == chat.key(replace(trial, by="icl"))


def test_the_reference_says_nothing_of_what_may_be_written(make: Callable[..., Bench]) -> None:
    """A longer reference leaves the answer as it was; a prompt that is cut for an answer is counted."""
    other = [replace(row, turns=(row.turns[0], replace(row.turns[1], content="x" * 230))) for row in TESTED]
    trial = Trial(TAUGHT, "lora", 1)
    short = make("short").cell(trial, answers=True)
    long = make("long", test=tuple(other)).cell(trial, answers=True)
    assert short.answers == long.answers and short.loss != long.loss and long.facts["test_cut"] > 0
    assert short.facts["prompts_cut"] == long.facts["prompts_cut"] == short.facts["answers_cut"] == 0
    tight = replace(HOW, max_length=30, decoding=Decoding(20))
    cut = make("tight", how=tight).cell(trial, answers=True)
    assert cut.facts["prompts_cut"] == TEST
    assert "prompts_cut" not in make("tight", how=tight).cell(trial, answers=False).facts


def test_answers_that_end_where_the_context_is_full_are_counted(make: Callable[..., Bench]) -> None:
    lm = replace(toy_lm(), max_length=30)
    lm.model.generation_config.eos_token_id = lm.tokenizer.eos_token = None
    cell = make(lm=lm, how=replace(HOW, decoding=Decoding(20))).cell(Trial((), "lora", 1), answers=True)
    assert cell.facts["answers_cut"] == cell.facts["prompts_cut"] == TEST


def test_icl_does_not_need_a_chat_template_that_takes_every_row(make: Callable[..., Bench]) -> None:
    cell = make(lm=chatting()).cell(Trial(STERN, "icl", 1), answers=False)
    assert None not in cell.loss and cell.tokens > 0


def test_a_record_that_a_kill_cut_is_never_there(make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make()
    trial = Trial(TAUGHT, "icl", 1)
    monkeypatch.setattr(json, "dumps", lambda *given, **named: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        bench.folder.write_json("cells/x.json", {})
    monkeypatch.undo()
    assert not (bench.folder.path / "cells" / "x.json").exists() and bench.missing(trial, answers=False)


def test_four_bits_learn_and_their_bytes_stay(toy: Toy, make: Callable[..., Bench]) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (extra `qlora`)")
    import torch

    from nncift.lm.device import Placement
    from nncift.lm.load import load_language_model

    place = Placement("cpu", "float32", "a test", 512)
    lm = load_language_model(str(toy.model), place, max_length=256, quantize="4bit")
    quantised = [module_ for module_ in lm.model.modules() if type(module_).__name__ == "Linear4bit"]
    assert len(quantised) == 7 * 2
    states = [module_.weight.quant_state for module_ in quantised]
    assert all(state.quant_type == "nf4" and state.nested for state in states)

    def held() -> list[bytes]:
        return [weight.detach().contiguous().view(torch.uint8).numpy().tobytes() for weight in lm.model.parameters()]

    before = held()
    eager = replace(HOW, fine_tuning=FineTuning(rank=4, epochs=6, learning_rate=2e-2, dropout=0.0))
    taught_itself = make("four", lm=lm, test=TAUGHT, how=eager)
    fresh = taught_itself.cell(Trial((), "lora", 1), answers=False)
    tuned = taught_itself.cell(Trial(TAUGHT, "lora", 1), answers=False)
    shown = taught_itself.cell(Trial(TAUGHT, "icl", 1), answers=True)
    assert sum(tuned.loss) < sum(fresh.loss) - 0.3 * len(TAUGHT)  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert held() == before and None not in shown.answers
    again = make("again", lm=lm, test=TAUGHT, how=eager).cell(Trial((), "lora", 1), answers=False)
    assert again.loss == fresh.loss


def test_the_toy_is_what_it_says(toy: Toy) -> None:
    """Guards the tests of this folder: subset rows are pool rows, test and target rows are not."""
    pool, subset, test = (read_rows(path) for path in (toy.pool, toy.subset, toy.test))
    assert len(pool) == POOL and len(test) == TEST and all(row in pool for row in subset) and len(subset) == SUBSET
    assert not [row for row in test if row["prompt"] in {other["prompt"] for other in pool}]
