"""The shipped recipes: each parses into runs that could begin, and the large ones take their path with a toy model, stubbed
only where something would be downloaded."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from nncift.data.files import load_pool
from nncift.embed import weights
from nncift.experiment.grid import make_grid
from nncift.experiment.recipe import load_recipe, parse_recipe, shipped
from nncift.experiment.rows import expected_rows, prepare_rows
from nncift.experiment.running import run_experiment
from nncift.lm import load as loading
from nncift.lm.layers import whole_name
from toy_encoder import WORDS, make_toy_encoder
from toys import toy_model, toy_tokenizer

STUDIES = (
    *("main-table", "cost-table", "estimator-quadrants", "network-size", "training-size", "u-v-grid", "embedders"),
    "use-cases",
)


@pytest.mark.parametrize("name", [*STUDIES, *(f"{name}-small" for name in STUDIES)])
def test_every_recipe_says_what_it_shows_and_what_it_costs(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name and name in shipped()
    assert len(recipe.title) > 10 and re.search(r"slides|arXiv", recipe.claim)
    assert recipe.hardware is not None and (recipe.hardware.gpus == 0) == name.endswith("-small")
    assert recipe.tables and all(entry.keys() >= {"kind", "name"} for entry in recipe.tables)
    assert make_grid(recipe)  # every option is one of its verb, with a value that this takes
    for data in recipe.data.values():
        assert data.tokens and data.expect.keys() == data.roles.keys()
        for role, spec in data.roles.items():
            assert expected_rows(spec) in (None, data.expect[role])
        local = [file for spec in data.roles.values() for file in files_of(spec)]
        assert all(file.startswith("hub:") != name.endswith("-small") for file in local)


def test_nothing_else_is_shipped() -> None:
    assert set(shipped()) == {*STUDIES, *(f"{name}-small" for name in STUDIES)}


@pytest.mark.parametrize("name", [*STUDIES, *(f"{name}-small" for name in STUDIES)])
def test_tables_name_axes_that_there_are(name: str) -> None:
    recipe = load_recipe(name)
    words = {"data", "by", "metric", "design", "estimator", "candidates", "labels", *recipe.axes}
    for table in recipe.tables:
        assert table["kind"] in ("main", "costs", "fidelity", "quadrants", "heat")
        named = [axis for key in ("rows", "columns", "pages", "over", "lines") for axis in table.get(key, [])]
        named += [table[key] for key in ("x", "y") if key in table]
        assert set(named) <= words
        for key in ("exact", "estimated"):
            for axis, value in table.get(key, {}).items():
                assert value in recipe.values(axis)
        for axis, values in table.get("words", {}).items():
            assert set(values) <= set(recipe.values(axis))


def test_the_published_layouts_are_all_there() -> None:
    layouts = load_recipe("network-size").axes["layout"]
    depth = [0 if value["hidden"] == "none" else value["hidden"].count(",") + 1 for value in layouts.values()]
    assert [depth.count(k) for k in range(5)] == [1, 6, 16, 11, 12]
    assert len({value["hidden"] for value in layouts.values()}) == 45  # one of them twice


def test_the_cost_table_is_of_the_runs_of_the_main_table_each_paying_for_itself() -> None:
    cost, main = (make_grid(load_recipe(f"{kind}-table")) for kind in ("cost", "main"))
    assert all(cell.alone for cell in cost) and not any(cell.alone for cell in main)
    assert [replace(cell, alone=False) for cell in cost] == [cell for cell in main if cell.verb == "select"]


@pytest.mark.parametrize("name", [f"{name}-small" for name in STUDIES])
def test_small_recipes_find_their_rows(name: str, tmp_path: Path, shared_data: Path) -> None:
    recipe = load_recipe(name)
    for data in recipe.data.values():
        found = {role: tmp_path / f"{role}.jsonl" for role in data.roles}
        for role, spec in data.roles.items():
            assert prepare_rows(spec, root=shared_data, out=found[role])["rows"] == data.expect[role]
        keys = {role: set(load_pool(path).keys) for role, path in found.items()}
        assert not keys["pool"] & keys.get("test", set()) and not keys.get("target", set()) & keys.get("test", set())
        assert data.matrix is None or (shared_data / data.matrix).is_file()


def files_of(spec: dict[str, Any]) -> list[str]:
    return [spec["file"]] if "file" in spec else [file for part in spec["parts"] for file in files_of(part)]


# ---- the large ones with a toy


def hub_rows(name: str, config: str | None, *, split: str) -> list[dict[str, Any]]:
    """Rows in the columns of the data sets of the hub; no text is in two of its splits."""

    def words(k: int) -> str:
        return " ".join(WORDS[(k * step + len(split)) % len(WORDS)] for step in (1, 3, 5)) + f" {split} {k}"

    makers: dict[str, Callable[[int], dict[str, Any]]] = {
        "llm-blender/mix-instruct": lambda k: {
            "id": f"{split}-{k}", "instruction": words(k), "input": "", "output": words(k + 1), "candidates": [{"text": "x"}]
        },
        "tatsu-lab/alpaca": lambda k: {
            "instruction": words(k), "input": "a" * (k % 2), "output": words(k + 2), "text": "whole"
        },
        "openai/gsm8k": lambda k: {"question": words(k), "answer": f"{words(k)} #### {k}"},
        "hotpotqa/hotpot_qa": lambda k: {
            "id": str(k), "question": words(k), "answer": words(k + 3), "type": "bridge", "level": "easy",
            "supporting_facts": {"title": ["t"], "sent_id": [0]},
            "context": {"title": ["t", "u"], "sentences": [[words(k)], ["a", "b"]]},
        },
    }  # fmt: skip
    assert config in (None, {"openai/gsm8k": "main", "hotpotqa/hotpot_qa": "distractor"}.get(name))
    return [makers[name](k) for k in range(60)]


@pytest.fixture
def no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Puts a toy in the place of everything that is downloaded; the names that were asked for."""
    asked: set[str] = set()
    model, encoder = tmp_path / "toy", make_toy_encoder(tmp_path / "encoder")
    language_model = toy_model("llama")
    language_model.config.max_position_embeddings = 4096  # a character a token: prompts of judges are long
    language_model.save_pretrained(model)
    toy_tokenizer().save_pretrained(model)

    def resolve(name: str) -> tuple[str, None]:
        asked.add(whole_name(name)[0])
        return str(model), None

    def download(name: str) -> Path:
        asked.add(name)
        return encoder

    if find_spec("datasets"):
        monkeypatch.setattr("datasets.load_dataset", hub_rows)
    else:
        monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=hub_rows))
    monkeypatch.setattr(loading, "_resolve", resolve)
    monkeypatch.setattr(weights, "_download", download)
    monkeypatch.setenv("NNCIFT_CACHE", str(tmp_path / "cache"))
    return asked


def shrunk(name: str, *, keep: dict[str, list[str]]) -> Any:
    """A shipped recipe with an eightieth of its rows, most of either axis labelled, short trainings and answers.

    Args:
        name: of the recipe.
        keep: axis -> the values that stay.
    """
    body = yaml.safe_load(yaml.safe_dump(load_recipe(name).body))

    def visit(value: Any) -> Any:
        if isinstance(value, list):
            return [visit(one) for one in value]
        if not isinstance(value, dict):
            return value
        found = {key: visit(one) for key, one in value.items()}
        if isinstance(found.get("rows"), str):
            low, high = (int(end) for end in found["rows"].split(":"))
            found["rows"] = f"{low // 80}:{max(low // 80 + 1, high // 80)}"
        if str(found.get("labels")).startswith("u="):
            found["labels"] = "u=90%"
        small = {"max_length": 2048, "repeats": 1, "draws": 1, "seeds": 1}
        found |= {key: most for key, most in small.items() if key in found}
        if "metrics" in found:
            found |= {"max_new_tokens": 4, "max_length": 512, "quantize": None, "epochs": 1}
        return found

    body = visit(body)
    for axis, values in keep.items():
        place = body if axis == "data" else body["axes"]
        place[axis] = {value: options for value, options in place[axis].items() if str(value) in values}
    for data in body["data"].values():
        del data["expect"]
    body["without"] = [
        entry
        for entry in body.get("without", [])
        if all(entry[axis] in body["axes"][axis] for axis in entry if axis in body["axes"])
    ]
    return parse_recipe(yaml.safe_dump(body), name)


@pytest.mark.parametrize(
    ("name", "keep", "asked"),
    [
        ("main-table", {"data": ["mixinstruct"], "model": ["phi-3"], "influence": ["delift"]},
         {"microsoft/Phi-3-mini-4k-instruct", "distilbert/distilgpt2", "prometheus-eval/prometheus-7b-v2.0",
          "BAAI/bge-large-en-v1.5"}),
        ("cost-table", {"data": ["alpaca"], "model": ["llama-8b"]},
         {"meta-llama/Llama-3.1-8B", "distilbert/distilgpt2", "BAAI/bge-large-en-v1.5"}),
        ("embedders", {},
         {"microsoft/Phi-3-mini-4k-instruct", "BAAI/bge-large-en-v1.5", "Qwen/Qwen3-Embedding-0.6B",
          "intfloat/e5-mistral-7b-instruct", "Snowflake/snowflake-arctic-embed-l-v2.0"}),
        ("network-size", {"layout": ["none", "100", "200-20-2", "4000-2000-1000-again"]}, None),
        ("training-size", {"u": ["5%", "40%"]}, None),
        ("estimator-quadrants", {"u": ["5%"]}, None),
        ("u-v-grid", {"u": ["0%", "5%"], "v": ["20%", "50%"]}, None),
        ("use-cases", {}, {"meta-llama/Llama-3.1-8B", "BAAI/bge-large-en-v1.5"}),
    ],
)  # fmt: skip
def test_large_recipes_take_their_path_with_a_toy(
    name: str, keep: dict[str, list[str]], asked: set[str] | None, no_download: set[str], tmp_path: Path
) -> None:
    recipe = shrunk(name, keep=keep)
    outcome = run_experiment(recipe, tmp_path / "out", root=tmp_path)
    assert not outcome.failed and not outcome.skipped
    assert len(outcome.done) == len(make_grid(recipe)) > 1
    assert asked is None or asked == no_download
    records = [json.loads(path.read_text()) for path in sorted((tmp_path / "out" / "cells").rglob("*.json"))]
    assert all(record["result"] for record in records)
    again = run_experiment(recipe, tmp_path / "out", root=tmp_path)
    assert not again.done and len(again.kept) == len(outcome.done)


def test_recorded_influences_of_a_data_set_are_not_labelled_again(tmp_path: Path, no_download: set[str]) -> None:
    """The grid over u and v on a matrix that is at hand, with a copy of it made by `label`."""
    import nncift

    rows = [{"id": f"r{k:02d}", "text": f"row {WORDS[k % 14]} {k}"} for k in range(24)]
    for role, part in (("pool", rows[:14]), ("target", rows[14:22]), ("test", rows[22:])):
        (tmp_path / f"{role}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    nncift.label(
        tmp_path / "pool.jsonl", target=tmp_path / "target.jsonl", influence="delift", model="toy/toy", labels="all",
        output=tmp_path / "labels.npz",
    )  # fmt: skip
    body = load_recipe("u-v-grid-small").body
    data = {role: {"file": f"{role}.jsonl"} for role in ("pool", "target", "test")}
    body = body | {"data": {"toy": data | {"matrix": "labels.npz", "tokens": 9}}}
    body["axes"] = body["axes"] | {
        "u": {"60%": {"select": {"labels": "u=60%"}}},
        "v": {"50%": {"select": {"budget": "50%"}}},
    }
    body["steps"] = [body["steps"][0] | {"options": {"influence": "recorded", "estimator": "means", "embedder": "a/b"}}]
    del body["axes"]["model"]
    recipe = parse_recipe(yaml.safe_dump(body), "toy")
    keys = []
    for out in ("one", "other"):
        (tmp_path / out).mkdir()
        for path in (*tmp_path.glob("*.jsonl"), tmp_path / "labels.npz"):
            (tmp_path / out / path.name).write_bytes(path.read_bytes())
        done = run_experiment(recipe, tmp_path / out / "out", root=tmp_path / out)
        assert not done.failed, done.failed
        record = json.loads(next((tmp_path / out / "out" / "cells").rglob("*.json")).read_text())
        assert record["result"]["costs"]["total"]["lm_forwards"] == 0
        assert record["result"]["fidelity"] is not None
        keys.append(record["key"])
    assert keys[0] == keys[1]  # told by content, wherever it lies
