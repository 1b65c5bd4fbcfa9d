"""What reads an export: the trainers' own code, each where it is installed, on rows of every shape that its format holds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import nncift
from nncift.data.files import load_pool
from nncift.handing.formats import TRAINERS
from nncift.handing.writing import Handed, hand_over
from toy_road import write_rows as write_lines
from toys import toy_model, toy_tokenizer

pytestmark = pytest.mark.filterwarnings("default")  # their code warns of its own

PACKAGED = {"jsonl": "json", "parquet": "parquet"}
TEMPLATE = "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{{ eos_token }}{% endfor %}"
USER, ANSWER = {"role": "user", "content": "What’s 1+1?\u2028\n"}, {"role": "assistant", "content": 'two, "2" 🙂'}
TALKS = [
    [USER, ANSWER],
    [{"role": "system", "content": "Be brief."}, USER, ANSWER],
    [USER, ANSWER, {"role": "user", "content": "And 2+2?"}, {"role": "assistant", "content": "four"}],
    [USER, ANSWER, {"role": "system", "content": "late"}, USER, ANSWER],
    [ANSWER],
    [USER, USER, ANSWER],
]

Hand = Callable[[str], Handed]


@pytest.fixture(params=[0, 2], ids=["one file", "shards"])
def hand(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hand:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))  # of processes
    if find_spec("datasets"):  # of this one, which has read its environment
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    rows = load_pool([{"messages": talk} for talk in TALKS]).examples
    told: dict[str, Any] = {"name": "toy run", "source": "rows.jsonl", "shard_rows": request.param}
    one_file = ("litgpt",)
    if request.param and request.node.name.startswith("test_litgpt"):
        pytest.skip("LitGPT reads one file")
    return lambda trainer: hand_over(
        rows, tmp_path / "out", trainer=trainer, **told | ({"shard_rows": 0} if trainer in one_file else {})
    )


def needs(name: str) -> ModuleType:
    """A module of somebody else's; without it, or where it does not import beside what is here, the test is skipped."""
    try:
        return __import__(name, fromlist=["_"])
    except Exception as error:
        pytest.skip(f"{name} cannot be imported: {type(error).__name__}: {str(error)[:100]}")


def loaded(path: Path, cache: Path) -> Any:
    files = path / "*.jsonl" if path.is_dir() else path
    return needs("datasets").load_dataset("json", data_files=str(files), split="train", cache_dir=str(cache))


@pytest.mark.parametrize("trainer", TRAINERS)
def test_datasets_reads_every_export(hand: Hand, tmp_path: Path, trainer: str) -> None:
    handed = hand(trainer)
    rows = loaded(handed.data, tmp_path / "cache")
    paths = sorted(handed.data.iterdir()) if handed.shards else [handed.data]
    written = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    assert rows.to_list() == written and len(written) == handed.rows


def test_trl_takes_two_steps(hand: Hand, tmp_path: Path) -> None:
    trl, rows = needs("trl"), loaded(hand("trl").data, tmp_path / "cache")
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = TEMPLATE
    told: dict[str, Any] = {"max_steps": 2, "per_device_train_batch_size": 2, "max_length": 64, "report_to": []}
    told |= {"use_cpu": True, "bf16": False, "save_strategy": "no", "logging_steps": 1}
    options = trl.SFTConfig(output_dir=str(tmp_path / "sft"), **told)
    trainer = trl.SFTTrainer(model=toy_model(), args=options, train_dataset=rows, processing_class=tokenizer)
    assert len(trainer.train_dataset) == len(TALKS)
    assert trainer.train().global_step == 2


def test_trl_reads_its_fragment(hand: Hand) -> None:
    utils = needs("trl.scripts.utils")
    told = yaml.safe_load(hand("trl").fragments[1].read_text(encoding="utf-8"))
    mixture = utils.DatasetMixtureConfig(**told)
    assert len(utils.get_dataset(mixture)["train"]) == len(TALKS)


def test_llamafactory_reads_its_entry_and_skips_no_row(hand: Hand, tmp_path: Path) -> None:
    parser, converter = needs("llamafactory.data.parser"), needs("llamafactory.data.converter")
    handed = hand("llamafactory")
    told = yaml.safe_load((tmp_path / "out" / "llamafactory.yaml").read_text(encoding="utf-8"))
    (entry,) = parser.get_dataset_list([told["dataset"]], told["dataset_dir"])
    assert (entry.load_from, tmp_path / "out" / entry.dataset_name) == (
        "file",
        handed.data,
    )  # a file, or a folder of files
    convert = converter.SharegptDatasetConverter(entry, None)
    rows = [convert(row) for row in loaded(handed.data, tmp_path / "cache")]
    assert [row["_response"] for row in rows] == [[talk[-1]] for talk in TALKS[:3]]
    assert [row["_system"] for row in rows] == ["", "Be brief.", ""]
    assert rows[2]["_prompt"] == TALKS[2][:-1]


def test_torchtune_reads_its_component(hand: Hand) -> None:
    datasets, messages = needs("torchtune.datasets"), needs("torchtune.data")
    told = yaml.safe_load(hand("torchtune").fragments[0].read_text(encoding="utf-8"))["dataset"]
    assert told.pop("_component_") == "torchtune.datasets.chat_dataset"

    class Reader:
        max_seq_len = 64

        def __call__(self, sample: dict[str, Any], inference: bool = False) -> dict[str, Any]:
            messages.validate_messages(sample["messages"])
            roles = [message.role for message in sample["messages"]]
            return {"tokens": [0], "mask": [False], "roles": roles, "messages": sample["messages"]}

    rows = datasets.chat_dataset(Reader(), **told)
    assert [rows._prepare_sample(row)["roles"] for row in rows._data] == [
        [turn["role"] for turn in talk] for talk in TALKS[:3]
    ]


def test_litgpt_reads_its_arguments(hand: Hand) -> None:
    data = needs("litgpt.data")
    handed = hand("litgpt")
    told = yaml.safe_load(handed.fragments[0].read_text(encoding="utf-8"))["data"]
    assert told["class_path"] == "litgpt.data.JSON"
    module = data.JSON(**told["init_args"] | {"json_path": Path(told["init_args"]["json_path"])})
    train, held_out = module.get_splits()
    assert (len(train), len(held_out), handed.rows) == (1, 1, 2)
    assert {row["output"] for row in [*train, *held_out]} == {ANSWER["content"]}


def test_axolotl_reads_its_entry(hand: Hand, tmp_path: Path) -> None:
    schema = needs("axolotl.utils.schemas.datasets")
    strategy, configs = needs("axolotl.prompt_strategies.chat_template"), needs("axolotl.utils.dict")
    told = yaml.safe_load(hand("axolotl").fragments[0].read_text(encoding="utf-8"))["datasets"][0]
    entry = schema.SFTDataset(**told).model_dump(exclude_none=True)
    assert entry["chat_template"] == "tokenizer_default" and set(told) < set(entry)
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = TEMPLATE
    config = configs.DictDefault({"sequence_len": 512, "datasets": [entry]})
    reader = strategy.load(tokenizer, config, configs.DictDefault(entry))
    assert entry.get("data_files", entry["path"]).startswith(entry["path"])
    for row in loaded(Path(entry["path"]), tmp_path / "cache"):
        made = reader.tokenize_prompt(row)
        learnt = [token for token in made["labels"] if token != -100]
        assert 0 < len(learnt) < len(made["input_ids"])


def test_the_code_beside_the_rows_runs_up_to_its_model(hand: Hand, tmp_path: Path) -> None:
    needs("trl")
    code = (
        hand("trl")
        .fragments[0]
        .read_text(encoding="utf-8")
        .replace("trainer = ", "print(len(rows)); raise SystemExit\n")
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, str(len(TALKS))), done.stderr


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_datasets_reads_the_folder_of_a_subset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    datasets = needs("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = [{"prompt": f"q{k}", "completion": f"a{k}", "n": k} for k in range(30)]
    path = tmp_path / f"pool.{kind}"
    datasets.Dataset.from_list(rows).to_parquet(path) if kind == "parquet" else write_lines(path, rows)
    options: dict[str, Any] = {"influence": "random", "budget": 23, "shard_rows": 2, "output": str(tmp_path / "run")}
    picked = nncift.select(str(path), **options)
    assert picked.subset is not None and len(list(picked.subset.iterdir())) == 12
    for told in ({"path": str(picked.subset)}, {"path": PACKAGED[kind], "data_files": str(picked.subset / "*")}):
        found = datasets.load_dataset(**told, split="train", cache_dir=str(tmp_path / "cache"))
        assert found.to_list() == picked.rows
    streamed = datasets.load_dataset(str(picked.subset), split="train", streaming=True)
    assert list(streamed) == picked.rows and streamed.num_shards == 12
