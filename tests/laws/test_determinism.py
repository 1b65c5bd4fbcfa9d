"""What a run does not depend on: how much goes through the model at once, threads, blocks of the journal, the order of rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import nncift
from nncift import registry
from nncift.data.arrays import read_npz
from nncift.pipeline import journal
from toy_road import save_model, write_rows

WITH_MODEL = [name for name in registry.names("influence") if registry.load("influence", name)().traits.needs_model]
TOLERANCE = 1e-5  # of float32
M, N = 5, 14
CHANGES: dict[str, dict[str, Any]] = {
    "batch size": {"batch_tokens": 96},
    "threads": {"torch_threads": 2},
    "block size": {"block": 7},
    "order of the pool": {"turned": ("pool",)},
    "order of the target": {"turned": ("target",)},
    "everything": {"batch_tokens": 96, "torch_threads": 2, "block": 7, "turned": ("pool", "target")},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("determinism") / "model")


@pytest.fixture(params=[True, False], ids=["own ids", "no ids"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Rows in one order and in another; without ids of their own they have those of their content."""
    for role, count in (("pool", N), ("target", M)):
        rows = [{"prompt": f"{role} {k}?", "completion": "yes " * (1 + k % 5)} for k in range(count)]
        rows = [{"id": f"{role}{k * 7 % count:02d}"} | row for k, row in enumerate(rows)] if request.param else rows
        mixed = [rows[k] for k in np.random.default_rng(1).permutation(count)]
        for name, some in (("", rows), ("-turned", mixed)):
            write_rows(tmp_path / f"{role}{name}.jsonl", some)
            vectors = [np.random.default_rng(len(row["prompt"] + row["completion"])).normal(size=6) for row in some]
            np.save(tmp_path / f"{role}{name}.npy", np.array(vectors, dtype=np.float32))
    return tmp_path


@contextmanager
def changed(torch_threads: int, block: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        if block is not None:
            patch.setattr(journal, "BLOCK", block)
            patch.setattr(journal, "ROWS", 3)
        torch.set_num_threads(torch_threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def asked(
    files: Path,
    name: str,
    *,
    turned: tuple[str, ...] = (),
    torch_threads: int = 1,
    block: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A call of the front door's function `name`."""
    place = {role: files / f"{role}{'-turned' if role in turned else ''}" for role in ("pool", "target")}
    options = {"target": f"{place['target']}.jsonl", "dtype": "float32"} | more
    if options["target"] is not None:
        options["embedder"] = ",".join(f"{path}.npy" for path in place.values())
    with changed(torch_threads, block):
        return getattr(nncift, name)(f"{place['pool']}.jsonl", **options)


def labels_by_id(path: Path) -> dict[tuple[str, str], float]:
    stored = read_npz(path)
    targets, pool = stored["target_ids"].tolist() or ["every"], stored["pool_ids"].tolist()
    return {
        (targets[i], pool[j]): float(y)
        for i, j, y in zip(stored["i"].tolist(), stored["j"].tolist(), stored["y"].tolist(), strict=True)
    }


ALONE = [("delift", what) for what in CHANGES]
"""Each change alone for one influence, all at once for every one."""


@pytest.mark.parametrize(
    ("influence", "what"), [*ALONE, *((name, "everything") for name in WITH_MODEL if name != "delift")]
)
def test_labels_agree(influence: str, what: str, files: Path, model: Path) -> None:
    options: dict[str, Any] = {"influence": influence, "model": str(model), "labels": "all"}
    asked(files, "label", output=files / "one.npz", **options)
    asked(files, "label", output=files / "other.npz", **options, **CHANGES[what])
    one, other = labels_by_id(files / "one.npz"), labels_by_id(files / "other.npz")
    assert one.keys() == other.keys() and len(one) >= N and np.ptp(list(one.values())) > 1e-4
    np.testing.assert_allclose([other[pair] for pair in one], list(one.values()), atol=TOLERANCE)


@pytest.mark.parametrize("estimator", ["gaussian-process", "network"])
@pytest.mark.parametrize("what", CHANGES)
def test_equal_labels_give_equal_subsets(what: str, estimator: str, files: Path, model: Path) -> None:
    """Half of the pairs, whose influences stand in a file; which half is drawn, what is learnt and what is chosen are the same
    to the byte, but for where rows stand in their file."""
    asked(files, "label", influence="delift", model=str(model), labels="all", output=files / "exact.npz")
    recorded: dict[str, Any] = {"influence": "recorded", "option": f"matrix={files / 'exact.npz'}", "labels": "50%"}
    recorded |= {"budget": 6, "estimator": estimator}
    asked(files, "select", output=files / "one", **recorded)
    more = {"threads": 2} | CHANGES[what]
    asked(files, "select", output=files / "other", **recorded | more)
    one, other = files / "one", files / "other"
    assert labels_by_id(one / "labels.npz") == labels_by_id(other / "labels.npz")
    learnt, again = (load_file(run / "estimator.safetensors") for run in (one, other))
    assert learnt.keys() == again.keys() and all(learnt[key].tobytes() == again[key].tobytes() for key in learnt)
    same = ("subset.jsonl", "fidelity.json")
    assert {name: (one / name).read_bytes() for name in same} == {name: (other / name).read_bytes() for name in same}
    assert picks(one) == picks(other)


def picks(run: Path) -> list[dict[str, Any]]:
    lines = (run / "selection.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in ("row", "line")} for line in lines]
