"""Formats: the columns are the trainers' own, and what they cannot hold is set aside with the reason."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import yaml

from nncift.data.rows import Example, Turn
from nncift.errors import ConfigError, DataError, RunError
from nncift.handing.formats import TRAINERS
from nncift.handing.writing import hand_over
from nncift.run import LOCK

CHAT = Example("chat", (Turn("system", "s"), Turn("user", "u"), Turn("assistant", "a")), 0, 1, {"messages": []})
PLAIN = Example("plain", (Turn("user", "u"), Turn("assistant", "a")), 1, 2, {"prompt": "u", "response": "a"})
ALPACA = Example(
    "alpaca", (Turn("user", "i x"), Turn("assistant", "o")), 2, 3, b'{"instruction":"i","input":"x","output":"o"}'
)
LONG = Example("long", (*PLAIN.turns, *PLAIN.turns), 3, 4, b"{}")
ALONE = Example("alone", (Turn("assistant", "a"),), 4, 5, b'{"text":"a"}')
ROWS = (CHAT, PLAIN, ALPACA, LONG, ALONE)


def written(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_columns_are_the_trainers_own(tmp_path: Path) -> None:
    def of(trainer: str, *rows: Example) -> list[dict[str, object]]:
        return written(hand_over(rows, tmp_path, trainer=trainer, name="a", source="f").data)

    roles = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "a"},
    ]
    for trainer in ("trl", "axolotl", "llamafactory", "torchtune", "messages"):
        assert of(trainer, CHAT) == [{"messages": roles}]
    speakers = [{"from": "system", "value": "s"}, {"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]
    assert of("sharegpt", CHAT) == [{"conversations": speakers}]
    for trainer in ("alpaca", "litgpt"):
        assert of(trainer, PLAIN, ALPACA, ALONE) == [
            {"instruction": "u", "input": "", "output": "a"},
            {"instruction": "i", "input": "x", "output": "o"},
            {"instruction": "", "input": "", "output": "a"},
        ]


def test_what_a_format_cannot_hold_is_named_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        handed = hand_over(ROWS, tmp_path, trainer="alpaca", name="a", source="rows.jsonl")
    (note,) = caplog.messages
    assert note.startswith("2 of 5 rows are left out") and "alpaca.rejected.jsonl" in note
    assert handed.rows == 3 and sum(handed.reasons.values()) == 2
    assert handed.rejected is not None
    found = written(handed.rejected)
    assert [(row["file"], row["line"]) for row in found] == [("rows.jsonl", 1), ("rows.jsonl", 4)]
    assert str(found[0]["reason"]).startswith("a system turn") and str(found[1]["reason"]).startswith("several turns")
    again = hand_over([PLAIN], tmp_path, trainer="alpaca", name="a", source="rows.jsonl")
    assert again.rejected is None and not (tmp_path / "alpaca.rejected.jsonl").exists()


def test_a_format_that_holds_no_row_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of the 1 rows, most often: no user turn"):
        hand_over([ALONE], tmp_path, trainer="torchtune", name="a", source="f")
    assert [path.name for path in tmp_path.iterdir()] == ["torchtune.rejected.jsonl"]


def test_a_wrong_name_and_a_run_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown trainer 'trll'\. Did you mean 'trl'"):
        hand_over([PLAIN], tmp_path, trainer="trll", name="a", source="f")
    (tmp_path / LOCK).touch()
    with pytest.raises(RunError, match="is a run folder"):
        hand_over([PLAIN], tmp_path, trainer="trl", name="a", source="f")


def test_every_trainer_shares_a_folder(tmp_path: Path) -> None:
    named = {
        trainer: hand_over([PLAIN], tmp_path, trainer=trainer, name="a", source="f").fragments for trainer in TRAINERS
    }
    every = [path.name for paths in named.values() for path in paths]
    assert len(every) == len(set(every)) == 7
    assert not any(named[one] for one in ("alpaca", "sharegpt", "messages"))
    for path in tmp_path.glob("*.yaml"):
        assert yaml.safe_load(path.read_text(encoding="utf-8"))


def test_llamafactorys_other_sets_stay(tmp_path: Path) -> None:
    info = tmp_path / "dataset_info.json"
    info.write_text(json.dumps({"mine": {"hf_hub_url": "a/b"}, "old": {"file_name": "llamafactory.jsonl"}}))
    hand_over([PLAIN], tmp_path, trainer="llamafactory", name="run of a:b", source="f")
    found = json.loads(info.read_text(encoding="utf-8"))
    assert list(found) == ["mine", "run-of-a-b"] and found["mine"] == {"hf_hub_url": "a/b"}
    info.write_text("[]")
    with pytest.raises(DataError, match="no JSON object"):
        hand_over([PLAIN], tmp_path, trainer="llamafactory", name="a", source="f")
    assert info.read_text() == "[]"


@pytest.mark.parametrize(("rows", "share"), [(1, 0.5), (2, 0.5), (10, 0.15), (1000, 0.05)])
def test_litgpt_always_has_a_row_to_validate_on(tmp_path: Path, rows: int, share: float) -> None:
    handed = hand_over([PLAIN] * rows, tmp_path, trainer="litgpt", name="a", source="f")
    told = yaml.safe_load(handed.fragments[0].read_text(encoding="utf-8"))["data"]["init_args"]
    assert told["val_split_fraction"] == share
    assert int(rows * share) >= 1 or rows == 1


@pytest.mark.parametrize(("size", "count"), [(1, 7), (3, 3), (7, 1), (50, 1)])
def test_shards_are_the_file_in_pieces(tmp_path: Path, size: int, count: int) -> None:
    some = [*ROWS, *[PLAIN] * 4]
    whole = hand_over(some, tmp_path / "one", trainer="alpaca", name="a", source="f")
    handed = hand_over(some, tmp_path / "many", trainer="alpaca", name="a", source="f", shard_rows=size)
    paths = sorted(handed.data.iterdir())
    assert whole.rows == handed.rows == 7 and handed.data == tmp_path / "many" / "alpaca"
    assert [path.name for path in paths] == [f"alpaca-{k:05d}-of-{count:05d}.jsonl" for k in range(count)]
    assert b"".join(path.read_bytes() for path in paths) == whole.data.read_bytes()
    assert (handed.shards, whole.shards, handed.reasons) == (count, 0, whole.reasons)
    assert (handed.pattern, whole.pattern) == ("alpaca/*.jsonl", "alpaca.jsonl")
    assert all(path.read_bytes().count(b"\n") == size for path in paths[:-1])


def test_an_export_replaces_the_other_layout_and_nothing_else(tmp_path: Path) -> None:
    told: dict[str, Any] = {"trainer": "llamafactory", "name": "a", "source": "f"}
    for size, expected in (
        (2, {"llamafactory"}),
        (1, {"llamafactory"}),
        (0, {"llamafactory.jsonl"}),
        (3, {"llamafactory"}),
    ):
        handed = hand_over([PLAIN] * 3, tmp_path, **told, shard_rows=size)
        assert {path.name for path in tmp_path.iterdir()} == {"dataset_info.json", "llamafactory.yaml"} | expected
        assert handed.shards == (size and -(-3 // size)) == (len(list(handed.data.iterdir())) if size else 0)
        (entry,) = json.loads((tmp_path / "dataset_info.json").read_text()).values()
        assert entry["file_name"] == handed.data.name
    (handed.data / "mine.txt").write_text("mine")
    before = {path: path.read_bytes() for path in handed.data.iterdir()}
    with pytest.raises(DataError, match="holds other files than the shards of an export"):
        hand_over([PLAIN], tmp_path, **told, shard_rows=2)
    hand_over([PLAIN], tmp_path, **told)
    assert {path: path.read_bytes() for path in handed.data.iterdir()} == before


def test_a_format_that_holds_no_row_leaves_the_shards_of_before(tmp_path: Path) -> None:
    told: dict[str, Any] = {"trainer": "torchtune", "name": "a", "source": "f", "shard_rows": 1}
    handed = hand_over([PLAIN] * 2, tmp_path, **told)
    with pytest.raises(DataError, match="can hold none"):
        hand_over([ALONE], tmp_path, **told)
    assert len(list(handed.data.iterdir())) == 2 and not list(tmp_path.glob("*.part"))


def test_what_reads_one_file_alone_says_so_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"litgpt reads its rows from one file.*Leave it out for litgpt"):
        hand_over([PLAIN], tmp_path / "out", trainer="litgpt", name="a", source="f", shard_rows=5)
    with pytest.raises(ConfigError, match="--shard-rows is -5; it must be at least 0"):
        hand_over([PLAIN], tmp_path / "out", trainer="trl", name="a", source="f", shard_rows=-5)
    assert not (tmp_path / "out").exists()
