"""What every registered estimator promises: it learns what is there to learn, keeps its bits, and comes back from its file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nncift import registry
from nncift.data.labels import Labels
from nncift.errors import ConfigError, RunError
from nncift.estimator.base import Estimator, Fitted, Layered
from nncift.estimator.features import Features
from nncift.estimator.means import Means
from nncift.estimator.storage import load, save
from toy_road import cli_environment

NAMES = registry.names("estimator")
M, N = 23, 41


def features(rows: int, side: str, *, states: bool, seed: int) -> Features:
    """Embeddings, and with states two more blocks."""
    rng = np.random.default_rng(seed)
    blocks = {"embedding": rng.normal(size=(rows, 6))}
    if states:
        blocks |= {"mean_state": 9 * rng.normal(size=(rows, 5)), "scalars": rng.normal(size=(rows, 2))}
    return Features(
        {name: block.astype(np.float32) for name, block in blocks.items()}, tuple(f"{side}{k}" for k in range(rows))
    )


def problem(*, pointwise: bool = False, states: bool = True) -> tuple[Labels, Features | None, Features, np.ndarray]:
    """A third of the pairs of a matrix of effects of either side, and all of it."""
    target, pool = features(M, "t", states=states, seed=1), features(N, "p", states=states, seed=2)
    name = "mean_state" if states else "embedding"
    worth, need = pool.blocks[name][:, 0], target.blocks[name][:, 1]
    kernel = 3 + worth[None] / worth.std() + (0 if pointwise else need[:, None] / need.std())
    rows = 1 if pointwise else M
    i, j = np.nonzero(np.random.default_rng(3).uniform(size=(rows, N)) < (0.8 if pointwise else 0.35))
    labels = Labels(i.astype(np.int32), j.astype(np.int32), kernel[i, j].astype(np.float32), (rows, N))
    return labels, None if pointwise else target, pool, kernel


def fitted(name: str, *, pointwise: bool = False, seed: int = 0) -> tuple[Fitted, Features | None, Features]:
    labels, target, pool, _ = problem(pointwise=pointwise)
    estimator: Estimator = registry.load("estimator", name)()
    return estimator.fit(labels, target, pool, seed=seed), target, pool


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name != "paper"]
)  # 20 short passes learn nothing from 300 labels
def test_effects_of_targets_and_candidates_are_learnt(name: str) -> None:
    labels, target, pool, kernel = problem()
    estimator: Estimator = registry.load("estimator", name)()
    predicted = estimator.fit(labels, target, pool, seed=0).kernel(target, pool).fill().T
    open_ = np.isnan(labels.dense())
    assert predicted.shape == (M, N) and predicted.dtype == np.float32
    assert np.mean((predicted - kernel)[open_] ** 2) < 0.3 * kernel[open_].var()


def arrays_in(value: Any, name: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """All arrays and tensors of an object of dataclasses, modules, mappings and sequences, by where they are."""
    if isinstance(value, np.ndarray):
        yield name, value
    elif isinstance(value, torch.Tensor):
        yield name, value.detach().numpy()
    elif isinstance(value, torch.nn.Module):
        yield from arrays_in(value.state_dict(), name)
    elif is_dataclass(value):
        for part in fields(value):
            yield from arrays_in(getattr(value, part.name), f"{name}.{part.name}")
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from arrays_in(part, f"{name}.{key}")
    elif isinstance(value, (list, tuple)):
        for k, part in enumerate(value):
            yield from arrays_in(part, f"{name}.{k}")


@pytest.mark.parametrize("pointwise", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bits_and_a_file_keeps_them(name: str, pointwise: bool, tmp_path: Path) -> None:
    (one, target, pool), (two, _, _) = fitted(name, pointwise=pointwise), fitted(name, pointwise=pointwise)
    save(one, tmp_path / "one", features="some")
    save(two, tmp_path / "two", features="some")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    back = load(tmp_path / "one", registry.load("estimator", name)(), features="some")
    values = one.kernel(target, pool).fill()
    assert values.shape == (N, 1 if pointwise else M)
    assert np.array_equal(values, back.kernel(target, pool).fill())
    assert back.record() == one.record() and back.labels == one.labels and back.pointwise is pointwise
    orders = {name: array.flags.c_contiguous for name, array in arrays_in(one)}
    assert all(orders.values()), orders  # as a file keeps them: some machines round a product by the order of memory
    assert one.weights > 0 and one.flops > 0 and one.summary()


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_told_by_what_it_holds_and_not_by_where_it_stands(name: str) -> None:
    found, target, pool = fitted(name)
    assert target is not None
    whole = found.kernel(target, pool).fill()
    some, few = np.array([7, 3, 30]), np.array([20, 2])
    part = found.kernel(target.take(few), pool.take(some)).fill()
    assert part == pytest.approx(whole[np.ix_(some, few)], abs=1e-5)


@pytest.mark.parametrize("hidden", [(), (7,), (9, 4)])
@pytest.mark.parametrize("name", ["network", "paper"])
def test_networks_take_any_hidden_layers_and_their_files_keep_them(
    name: str, hidden: tuple[int, ...], tmp_path: Path
) -> None:
    labels, target, pool, _ = problem()
    estimator = registry.load("estimator", name)()
    assert isinstance(estimator, Layered)
    found = estimator.with_hidden(hidden).fit(labels, target, pool, seed=0)
    save(found, tmp_path / "one", features="some")
    back = load(tmp_path / "one", estimator, features="some")  # which has other layers itself
    values = found.kernel(target, pool).fill()
    assert np.array_equal(values, back.kernel(target, pool).fill()) and values.std() > 0
    widths = (found.record()["dimension"] * 2 + 1, *hidden, 1)
    assert found.weights == sum((into + 1) * out for into, out in pairwise(widths))


@pytest.mark.parametrize("name", NAMES)
def test_new_rows_are_predicted_too(name: str) -> None:
    found, target, _ = fitted(name)
    new = features(5, "new", states=True, seed=9)
    values = found.kernel(target, new).fill()
    assert values.shape == (5, M) and np.isfinite(values).all()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("means", "paper")])
def test_what_was_learnt_holds_for_other_data(name: str, tmp_path: Path) -> None:
    """Other targets and other candidates, through the file: their order is that of their features."""
    labels, target, pool, _ = problem()
    estimator: Estimator = registry.load("estimator", name)()
    save(estimator.fit(labels, target, pool, seed=0), tmp_path / "one", features="some")
    new_target, new_pool = (features(count, "new", states=True, seed=count) for count in (7, 55))
    kernel = load(tmp_path / "one", estimator, features="some").kernel(new_target, new_pool).fill()
    worth = new_pool.blocks["mean_state"][:, 0]
    assert kernel.shape == (55, 7)
    assert np.corrcoef(kernel.mean(axis=1), worth)[0, 1] > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_what_reads_nothing_knows_no_other_data(name: str) -> None:
    """Reusing an estimator of another run rests on this word."""
    estimator: Estimator = registry.load("estimator", name)()
    labels, target, pool, _ = problem()
    kernel = estimator.fit(labels, target, pool, seed=0).kernel(target, features(9, "new", states=True, seed=8)).fill()
    assert (np.ptp(kernel, axis=0).max() == 0) == (estimator.reads == "nothing")


@pytest.mark.filterwarnings("ignore:all")
@pytest.mark.parametrize("name", NAMES)
def test_constant_labels_are_predicted(name: str) -> None:
    labels, target, pool, _ = problem()
    same = Labels(labels.i, labels.j, np.full(len(labels), 2.5, np.float32), labels.shape)
    estimator: Estimator = registry.load("estimator", name)()
    assert estimator.fit(same, target, pool, seed=0).kernel(target, pool).fill() == pytest.approx(2.5)


@pytest.mark.parametrize("name", NAMES)
def test_two_labels_are_enough_and_one_is_not(name: str) -> None:
    labels, target, pool, _ = problem()
    estimator: Estimator = registry.load("estimator", name)()
    few = estimator.fit(labels.take(np.array([0, 50])), target, pool, seed=0).kernel(target, pool).fill()
    assert np.isfinite(few).all()
    with pytest.raises(ConfigError, match="1 label cannot teach"):
        estimator.fit(labels.take(np.array([0])), target, pool, seed=0)
    with pytest.raises(ConfigError, match=f"to one of {M} and {N - 1}"):
        estimator.fit(labels, target, pool.take(np.arange(N - 1)), seed=0)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "means"])
def test_other_features_are_refused(name: str) -> None:
    found, target, pool = fitted(name)
    narrow = Features({key: block[:, :-1] for key, block in pool.blocks.items()}, pool.keys)
    with pytest.raises(ConfigError, match="trained on"):
        found.kernel(target, narrow)


@pytest.mark.parametrize("damage", ["cut", "text", "other", "gone", "kind", "features"])
def test_a_damaged_or_foreign_file_is_an_error_that_names_it(damage: str, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "estimator.safetensors"
    save(fitted("means")[0], path, features="mine")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "text":
        path.write_text("not an estimator")
    elif damage == "other":
        save_file({"x": np.zeros(3, np.float32)}, path)
    elif damage == "gone":
        path.unlink()
    elif damage == "kind":
        save(fitted("network")[0], path, features="mine")
    else:
        with pytest.raises(ConfigError, match=r"fitted to the features of 'mine', here they come from 'yours'"):
            load(path, Means(), features="yours")
        return
    with pytest.raises(
        RunError, match=r"estimator\.safetensors (cannot be read as an estimator|is of the kind).*nncift run"
    ):
        load(path, Means(), features=None)


FIT = """
import hashlib, sys
import numpy as np
from nncift import registry
from nncift.data.labels import Labels
from nncift.estimator.features import Features
rng = np.random.default_rng(0)
sides = [Features({"embedding": rng.normal(size=(n, 384)).astype(np.float32), "mean_state": rng.normal(size=(n, 640)).astype(
    np.float32)}, tuple(f"{n}-{k}" for k in range(n))) for n in (150, 300)]
chosen = np.sort(rng.permutation(150 * 300)[:700])
i, j = (axis.astype(np.int32) for axis in divmod(chosen, 300))
labels = Labels(i, j, rng.normal(size=700).astype(np.float32), (150, 300))
values = registry.load("estimator", sys.argv[1])().fit(labels, *sides, seed=0).kernel(*sides).fill()
print(hashlib.sha256(values.tobytes()).hexdigest())
"""


@pytest.mark.parametrize("name", NAMES)
def test_the_threads_of_the_machine_do_not_change_a_bit(name: str) -> None:
    found = set()
    for threads in ("1", "2"):
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        done = subprocess.run(
            [sys.executable, "-c", FIT, name], env=cli_environment(**limits), capture_output=True, text=True, check=True
        )
        found.add(done.stdout.strip())
    assert len(found) == 1
