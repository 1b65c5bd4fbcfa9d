"""The piece of configuration that makes a trainer read the exported file, in the schema of the versions that docs/trainers.md
names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from nncift.errors import DataError
from nncift.plain import DAMAGE

DATASET_INFO = "dataset_info.json"
"""Where LLaMA-Factory looks its data sets up; one file for all of a folder."""

_HELD_OUT = 0.05  # LitGPT's own share of rows to validate on
_LEAST_HELD_OUT = 1.5  # rows; LitGPT rounds down, and cannot validate on none


def write_fragments(trainer: str, data: Path, *, name: str, rows: int) -> tuple[Path, ...]:
    """Writes what a trainer wants to be told of the data file beside it; nothing for a mere format.

    Args:
        trainer: one of `nncift.handing.formats.TRAINERS`.
        data: the data file, or the folder of its shards, which is named by its full path.
        name: what the data set is called where it needs a name.
        rows: in the file.

    Raises:
        DataError: a `dataset_info.json` is there that cannot be added to.
    """
    make = _FRAGMENTS.get(trainer)
    if make is None:
        return ()
    written = []
    for file, text in make(data.resolve(), name, rows).items():
        path = data.with_name(file)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return tuple(written)


def _files(data: Path) -> str:
    """What `datasets` reads: the file, or all shards of the folder in the order of their names."""
    return str(data / "*.jsonl") if data.is_dir() else str(data)


def _trl(data: Path, name: str, rows: int) -> dict[str, str]:
    code = f"""\
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

rows = load_dataset("json", data_files={_files(data)!r}, split="train")
trainer = SFTTrainer(model="MODEL", args=SFTConfig(output_dir="sft"), train_dataset=rows)
trainer.train()
"""
    config = {"datasets": [{"path": "json", "data_files": _files(data), "split": "train"}]}
    told = "trl sft --config trl.yaml --model_name_or_path MODEL --output_dir sft"
    return {"trl.py": code, "trl.yaml": _yaml(told, config)}


def _axolotl(data: Path, name: str, rows: int) -> dict[str, str]:
    entry = {
        "path": str(data),
        "ds_type": "json",
        "type": "chat_template",
        "field_messages": "messages",
        "message_property_mappings": {"role": "role", "content": "content"},
    } | ({"data_files": _files(data)} if data.is_dir() else {})
    told = (
        "Into the configuration of `axolotl train`. A base model without a chat template needs `chat_template: chatml`."
    )
    return {"axolotl.yaml": _yaml(told, {"datasets": [entry]})}


def _llamafactory(data: Path, name: str, rows: int) -> dict[str, str]:
    entry = {
        "file_name": data.name,
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    }
    known = {
        other: told  # not those of an earlier export, whose rows are replaced
        for other, told in _known_sets(data.with_name(DATASET_INFO)).items()
        if not isinstance(told, dict) or told.get("file_name") not in (f"{data.stem}.jsonl", data.stem)
    }
    told = "Into the configuration of `llamafactory-cli train`."
    training = {"dataset_dir": str(data.parent), "dataset": name}
    return {
        DATASET_INFO: json.dumps(known | {name: entry}, indent=2, ensure_ascii=False) + "\n",
        "llamafactory.yaml": _yaml(told, training),
    }


def _known_sets(path: Path) -> dict[str, Any]:
    """The data sets that a folder of LLaMA-Factory's has already."""
    if not path.exists():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, *DAMAGE) as error:
        known = error
    if not isinstance(known, dict):
        raise DataError(
            f"{path} is there and is no JSON object that an entry could be added to. Choose another folder."
        )
    return known


def _torchtune(data: Path, name: str, rows: int) -> dict[str, str]:
    component = {
        "_component_": "torchtune.datasets.chat_dataset",
        "source": "json",
        "data_files": _files(data),
        "split": "train",
        "conversation_column": "messages",
        "conversation_style": "openai",
        "train_on_input": False,
        "packed": False,
    }
    return {
        "torchtune.yaml": _yaml("In place of `dataset:` in the configuration of `tune run`.", {"dataset": component})
    }


def _litgpt(data: Path, name: str, rows: int) -> dict[str, str]:
    held_out = min(0.5, max(_HELD_OUT, round(_LEAST_HELD_OUT / rows, 4)))
    options = {
        "json_path": str(data),
        "mask_prompt": True,
        "val_split_fraction": held_out,
        "prompt_style": "alpaca",
        "ignore_index": -100,
        "seed": 42,
        "num_workers": 4,
    }
    told = "litgpt finetune_lora MODEL --config litgpt.yaml"
    return {"litgpt.yaml": _yaml(told, {"data": {"class_path": "litgpt.data.JSON", "init_args": options}})}


def _yaml(told: str, body: dict[str, Any]) -> str:
    return f"# {told}\n{yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=1000)}"


_FRAGMENTS: dict[str, Callable[[Path, str, int], dict[str, str]]] = {
    "trl": _trl,
    "axolotl": _axolotl,
    "llamafactory": _llamafactory,
    "torchtune": _torchtune,
    "litgpt": _litgpt,
}
