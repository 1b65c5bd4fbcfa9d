"""Embeddings from the user's files: which row belongs to which, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nncift.data.rows import Example, Pool, Rejected, Turn
from nncift.embed.precomputed import Precomputed, embedding_paths
from nncift.errors import ConfigError

RAW = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32) * 9
UNIT = RAW / np.linalg.norm(RAW, axis=1, keepdims=True)


def pool_of(numbers: dict[str, int], rejected: int) -> Pool:
    """Usable rows with the given ids and row numbers, in that order."""
    examples = tuple(
        Example(id, (Turn("user", "q"), Turn("assistant", id)), number, number + 1, b"")
        for id, number in numbers.items()
    )
    return Pool(examples, (Rejected("pool.jsonl", 1, "empty", ""),) * rejected, "pool.jsonl", "messages", "jsonl")


def saved(path: Path, array: np.ndarray) -> str:
    np.save(path, array)
    return str(path)


def test_one_vector_per_row_of_the_file(tmp_path: Path) -> None:
    pool = pool_of({"m": 0, "z": 3, "a": 4}, rejected=2).by_id()  # sorted by id: a, m, z
    file = saved(tmp_path / "e.npy", RAW)
    np.testing.assert_allclose(Precomputed(file).rows(pool), UNIT[[4, 0, 3]], rtol=1e-6)


def test_one_vector_per_usable_row(tmp_path: Path) -> None:
    pool = pool_of({"m": 0, "z": 3, "a": 4}, rejected=2).by_id()
    vectors = Precomputed(saved(tmp_path / "e.npy", RAW[:3].astype(np.float64))).rows(pool)
    np.testing.assert_allclose(vectors, UNIT[[2, 0, 1]], rtol=1e-6)
    assert vectors.dtype == np.float32


def test_any_other_length_is_refused_with_all_numbers(tmp_path: Path) -> None:
    pool = pool_of({"z": 0, "m": 3, "a": 4}, rejected=2)
    with pytest.raises(ConfigError, match=r"has 4 rows, but pool.jsonl has 3 usable rows \(5 with the rejected ones\)"):
        Precomputed(saved(tmp_path / "e.npy", RAW[:4])).rows(pool)


def test_a_bad_vector_is_named_only_where_it_is_used(tmp_path: Path) -> None:
    pool = pool_of({"z": 0, "m": 3, "a": 4}, rejected=2).by_id()
    unused, used = RAW.copy(), RAW.copy()
    unused[1:3] = np.nan
    used[3, 1] = np.inf
    np.testing.assert_allclose(Precomputed(saved(tmp_path / "ok.npy", unused)).rows(pool), UNIT[[4, 3, 0]], rtol=1e-6)
    with pytest.raises(ConfigError, match=r"row 3 \(0-based\) holds NaN or infinity; it belongs to the row 'm'"):
        Precomputed(saved(tmp_path / "bad.npy", used)).rows(pool)


def test_one_file_per_set(tmp_path: Path) -> None:
    pool, target = pool_of({"a": 0, "b": 1, "c": 2}, rejected=0), pool_of({"t": 0, "s": 1}, rejected=0)
    first, second = saved(tmp_path / "p.npy", RAW[:3]), saved(tmp_path / "t.npy", RAW[3:])
    both = Precomputed(f"{first}, {second}")
    assert both.dimension == 3
    np.testing.assert_allclose(both.rows(pool), UNIT[:3], rtol=1e-6)
    np.testing.assert_allclose(both.rows(target, role="target"), UNIT[3:], rtol=1e-6)
    with pytest.raises(
        ConfigError, match=r"no file for the existing\. Write: --embedder pool.npy,target.npy,existing.npy"
    ):
        both.rows(pool, role="existing")
    swapped = Precomputed(f"{second},{first}")
    assert len({both.fingerprint, swapped.fingerprint, Precomputed(first).fingerprint}) == 3
    assert Precomputed(f"{first},{second}").fingerprint == both.fingerprint
    with pytest.raises(ConfigError, match="different widths"):
        Precomputed(f"{first},{saved(tmp_path / 'w.npy', RAW[:, :2])}")


def test_paths_are_split_at_commas_unless_the_comma_is_in_a_name(tmp_path: Path) -> None:
    assert embedding_paths("a.npy,b.npy") == (Path("a.npy"), Path("b.npy"))
    assert embedding_paths("a.npy, b.NPY ,c.npy")[1:] == (Path("b.NPY"), Path("c.npy"))
    odd = saved(tmp_path / "a,b.npy", RAW)
    assert embedding_paths(odd) == (Path(odd),)
    for wrong in ("a.npy,b.npy,c.npy,d.npy", "a.npy,", ",a.npy", "a.npy,b.txt", ""):
        with pytest.raises(ConfigError):
            embedding_paths(wrong)


def test_what_is_not_an_array_of_numbers_is_refused(tmp_path: Path) -> None:
    objects = tmp_path / "objects.npy"
    np.save(objects, np.array([[{}, 1]], dtype=object), allow_pickle=True)
    cut = tmp_path / "cut.npy"
    cut.write_bytes((tmp_path / saved(tmp_path / "e.npy", RAW)).read_bytes()[:-4])
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.npy").write_text("0.1 0.2")
    files = [objects, cut, tmp_path / "empty.npy", tmp_path / "text.npy", tmp_path / "absent.npy", tmp_path]
    files += [
        Path(saved(tmp_path / f"{k}.npy", array)) for k, array in enumerate([RAW[0], RAW > 0, RAW + 1j, RAW[:, :0]])
    ]
    for file in files:
        with pytest.raises(ConfigError):
            Precomputed(str(file))
