"""The Gaussian process: its factors are its covariance, and both ways of solving agree with the textbook."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nncift.data.labels import Labels
from nncift.errors import ModelError
from nncift.estimator import evidence, posterior
from nncift.estimator.covariance import Coordinates, squared_distances
from nncift.estimator.evidence import Weights
from nncift.estimator.features import Features
from nncift.estimator.gaussian import FittedGaussian, GaussianProcess
from nncift.estimator.lens import Lens
from nncift.estimator.means import Means
from nncift.estimator.posterior import System, sound_factor

M, N, L = 7, 11, 40


def rows(count: int, side: str, seed: int) -> Features:
    rng = np.random.default_rng(seed)
    blocks = {"last_state": rng.normal(size=(count, 4)), "scalars": rng.normal(size=(count, 2))}
    return Features(
        {name: block.astype(np.float32) for name, block in blocks.items()}, tuple(f"{side}{k}" for k in range(count))
    )


def system() -> tuple[System, list[torch.Tensor], list[torch.Tensor]]:
    target, pool = rows(M, "t", 0), rows(N, "p", 1)
    coordinates = Coordinates.of([target, pool])
    of_rows, of_columns = coordinates.apply(target), coordinates.apply(pool)
    flat = torch.from_numpy(np.random.default_rng(2).normal(-1, 0.7, size=len(Weights.start(2).flat)))
    weights = Weights.unpacked(flat, 2)
    lens = Lens.of(weights, of_rows, of_columns, np.random.default_rng(0))
    chosen = np.random.default_rng(3).permutation(M * N)[:L]
    i, j = (torch.from_numpy(axis) for axis in divmod(chosen, N))
    return System(i, j, *lens.rows(of_rows), lens.columns(of_columns), weights), of_rows, of_columns


def textbook(which: System, of_rows: list[torch.Tensor], of_columns: list[torch.Tensor]) -> torch.Tensor:
    """The covariance of the labels, pair by pair from the definition."""
    w, i, j = which.weights, which.i, which.j
    near, far = squared_distances(of_rows, of_rows), squared_distances(of_columns, of_columns)
    row = w.row(near) + w.variance("row_own") * torch.eye(M, dtype=torch.float64)
    target = w.target(near) + w.variance("target_own") * torch.eye(M, dtype=torch.float64)
    candidate = w.candidate(far) + w.variance("candidate_own") * torch.eye(N, dtype=torch.float64)
    found = torch.empty(L, L, dtype=torch.float64)
    for a in range(L):
        for b in range(L):
            found[a, b] = row[i[a], i[b]] + target[i[a], i[b]] * candidate[j[a], j[b]] + w.noise * (a == b)
    return found


def test_the_factors_are_the_covariance() -> None:
    which, of_rows, of_columns = system()
    exact = textbook(which, of_rows, of_columns)
    assert torch.allclose(which.dense(), exact, atol=1e-4)
    vector = torch.from_numpy(np.random.default_rng(5).normal(size=L))
    assert torch.allclose(which.times(vector), which.dense() @ vector, atol=1e-9)


def test_conjugate_gradients_solve_what_cholesky_solves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    which, _, _ = system()
    y = torch.from_numpy(np.random.default_rng(6).normal(size=L))
    direct = which.solve(y, which.factor())
    monkeypatch.setattr(posterior, "DENSE", L - 1)
    monkeypatch.setattr(posterior, "_TOLERANCE", 1e-10)
    monkeypatch.setattr(posterior, "_CHUNK", 32)  # several chunks
    assert which.factor() is None
    assert torch.allclose(which.solve(y, None), direct, atol=1e-6)
    assert not caplog.messages
    monkeypatch.setattr(posterior, "_MOST_STEPS", 3)
    near = which.solve(y, None)  # not there, and on the way
    assert 1e-6 < float((near - direct).norm()) < 0.9 * float(direct.norm())
    assert "fitting 40 labels ended after 3 steps" in caplog.text
    with pytest.raises(ModelError, match="are no numbers"):
        which.solve(y * float("nan"), None)


def test_predictions_are_the_textbook_mean() -> None:
    labels, target, pool = problem()
    found = GaussianProcess().fit(labels, target, pool, seed=0)
    weights = found.lens.weights
    of_rows, of_columns = found.coordinates.apply(target), found.coordinates.apply(pool)
    near, far = squared_distances(of_rows, of_rows), squared_distances(of_columns, of_columns)
    row = weights.row(near) + weights.variance("row_own") * torch.eye(M, dtype=torch.float64)
    dealings = weights.target(near) + weights.variance("target_own") * torch.eye(M, dtype=torch.float64)
    candidate = weights.candidate(far) + weights.variance("candidate_own") * torch.eye(N, dtype=torch.float64)
    i, j = torch.from_numpy(labels.i).long(), torch.from_numpy(labels.j).long()
    between = (
        row[i][:, i] + dealings[i][:, i] * candidate[j][:, j] + weights.noise * torch.eye(len(i), dtype=torch.float64)
    )
    y = (torch.from_numpy(labels.y.astype(np.float64)) - found.offset) / found.scale
    solved = torch.linalg.solve(between, y)
    everywhere = found.offset + found.scale * torch.stack(
        [row[k, i] @ solved + (dealings[k, i][None] * candidate[:, j]) @ solved for k in range(M)]
    )
    unlabelled = np.isnan(labels.dense())  # a labelled pair's own part is noise to the factors
    assert found.kernel(target, pool).fill().T[unlabelled] == pytest.approx(everywhere.numpy()[unlabelled], abs=1e-3)


def problem() -> tuple[Labels, Features, Features]:
    target, pool = rows(M, "t", 0), rows(N, "p", 1)
    chosen = np.sort(np.random.default_rng(3).permutation(M * N)[:L])
    i, j = (axis.astype(np.int32) for axis in divmod(chosen, N))
    y = (pool.blocks["scalars"][j, 0] + target.blocks["scalars"][i, 1]).astype(np.float32)
    return Labels(i, j, y, (M, N)), target, pool


def textbook_sd(found: FittedGaussian, labels: Labels, target: Features, pool: Features) -> np.ndarray:
    """Posterior standard deviations of candidates' means against the mean of the pool by features, pair by pair."""
    weights = found.lens.weights
    of_rows, of_columns = found.coordinates.apply(target), found.coordinates.apply(pool)
    near, far = squared_distances(of_rows, of_rows), squared_distances(of_columns, of_columns)
    rows, columns = torch.eye(len(target), dtype=torch.float64), torch.eye(len(pool), dtype=torch.float64)
    row = weights.row(near) + weights.variance("row_own") * rows
    dealings = weights.target(near) + weights.variance("target_own") * rows
    by_features = weights.candidate(far)
    candidate = by_features + weights.variance("candidate_own") * columns
    i, j = torch.from_numpy(labels.i).long(), torch.from_numpy(labels.j).long()
    noise = weights.noise * torch.eye(len(i), dtype=torch.float64)
    between = row[i][:, i] + dealings[i][:, i] * candidate[j][:, j] + noise
    against = columns - 1 / len(pool)  # of what features say; a row's own part is compared with nothing
    prior = dealings.mean()
    seen = dealings.mean(0)[i][None] * (against @ by_features[:, j] + weights.variance("candidate_own") * columns[:, j])
    before = prior * ((against @ by_features @ against.T).diagonal() + weights.variance("candidate_own"))
    after = before - (seen * torch.linalg.solve(between, seen.T).T).sum(1) + weights.noise / len(target)
    return (found.scale * after.clamp(min=0).sqrt()).numpy()


@pytest.mark.parametrize(
    ("count", "tolerance"), [(14, 0.05), (40, 0.002)]
)  # where no landmark stands, a little is guessed
def test_it_is_as_sure_as_the_textbook(count: int, tolerance: float) -> None:
    labels, target, pool = problem()
    noisy = labels.y + np.random.default_rng(4).normal(0, 0.5, L).astype(np.float32)  # or landmarks' ridge would show
    few = replace(labels, y=noisy).take(np.sort(np.random.default_rng(0).permutation(L)[:count]))
    found = GaussianProcess().fit(few, target, pool, seed=0)
    calm = replace(found, doubt=replace(found.doubt, surprise=torch.tensor(1.0, dtype=torch.float64)))
    exact = textbook_sd(found, few, target, pool)
    assert calm.candidate_sd(pool) == pytest.approx(exact, rel=tolerance)
    if count == 14:  # some candidates have no label, and are less sure
        unseen = np.setdiff1d(np.arange(N), few.j)
        assert len(unseen) and calm.candidate_sd(pool)[unseen].mean() > calm.candidate_sd(pool)[few.j].mean()


def test_the_surprise_is_that_of_leaving_each_candidate_out() -> None:
    which, _, _ = system()
    y = torch.from_numpy(np.random.default_rng(8).normal(size=L))
    whole, apart = which.dense(), []
    for candidate in torch.unique(which.j).tolist():
        mine = which.j == candidate
        between = whole[mine][:, ~mine] @ torch.linalg.inv(whole[~mine][:, ~mine])
        error = y[mine] - between @ y[~mine]
        covariance = whole[mine][:, mine] - between @ whole[~mine][:, mine]
        apart.append(float(error.mean() ** 2 / covariance.mean()))
    found = which.doubt(
        which.target.mean(0), 1 / M, centre=which.candidate.mean(0), y=y, factor=which.factor()
    ).surprise
    assert float(found) == pytest.approx(np.sqrt(np.mean(apart)), rel=1e-6)


@pytest.mark.parametrize(("surprise", "wider"), [(0.5, 1), (3.0, 3)])
def test_what_surprised_is_known_less(surprise: float, wider: float) -> None:
    labels, target, pool = problem()
    found = GaussianProcess().fit(labels, target, pool, seed=0)
    calm, upset = (
        replace(found, doubt=replace(found.doubt, surprise=torch.tensor(value, dtype=torch.float64)))
        for value in (1.0, surprise)
    )
    assert upset.candidate_sd(pool) == pytest.approx(wider * calm.candidate_sd(pool))


def test_the_sd_of_a_row_does_not_depend_on_what_stands_beside_it() -> None:
    labels, target, pool = problem()
    found = GaussianProcess().fit(labels, target, pool, seed=0)
    assert found.candidate_sd(pool.take([3])) == pytest.approx(found.candidate_sd(pool)[[3]])


@pytest.mark.parametrize("estimator", [GaussianProcess(), Means()])
def test_twins_share_what_is_known_of_either(estimator: GaussianProcess | Means) -> None:
    labels, target, pool = problem()
    keys = ("p0", "p0", *pool.keys[2:])
    twins = Features(
        {name: np.concatenate([block[:1], block[:1], block[2:]]) for name, block in pool.blocks.items()}, keys
    )
    asked = labels.j != 1  # the second twin has no label
    found = estimator.fit(labels.take(asked), target, twins, seed=0).kernel(target, twins).fill()
    assert np.array_equal(found[0], found[1])
    alone = Features(twins.blocks, pool.keys)
    apart = estimator.fit(labels.take(asked), target, alone, seed=0).kernel(target, alone).fill()
    assert found[0] == pytest.approx(apart[0], abs=1e-6)


def test_a_pair_that_is_labelled_twice_is_one_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    which, _, _ = system()
    double = replace(which, i=torch.cat([which.i, which.i[:5]]), j=torch.cat([which.j, which.j[:5]]))
    vector = torch.from_numpy(np.random.default_rng(5).normal(size=L + 5))
    assert torch.allclose(double.times(vector), double.dense() @ vector, atol=1e-9)


def test_the_search_for_weights_keeps_the_best_sound_point() -> None:
    calls = []

    def surprise(flat: torch.Tensor) -> torch.Tensor:
        calls.append(flat.detach().clone())
        if len(calls) > 3:
            torch.linalg.cholesky(torch.zeros(1, 1) - 1)
        return (flat - 3).square().sum()

    found = evidence._minimum(surprise, torch.zeros(1, dtype=torch.float64))
    assert any(torch.equal(found, one) for one in calls[:3])
    assert float((found - 3).abs()) == min(float((one - 3).abs()) for one in calls[:3])


def test_the_labels_that_are_looked_at_are_of_many_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    j = np.repeat(np.arange(50), 40)
    monkeypatch.setattr(evidence, "_LABELS", 100)
    chosen = evidence._some(j, np.random.default_rng(0))
    assert len(chosen) == len(set(chosen.tolist())) == 100
    assert sorted(np.bincount(j[chosen])[np.unique(j[chosen])].tolist()) == [10] * 10
    few = evidence._some(j[:30], np.random.default_rng(0))
    assert few.tolist() == list(range(30))


def test_a_singular_covariance_gets_a_little_noise_and_no_number_is_an_error() -> None:
    factor = sound_factor(torch.ones(3, 3, dtype=torch.float64))
    assert torch.allclose(factor @ factor.T, torch.ones(3, 3, dtype=torch.float64), atol=1e-3)
    with pytest.raises(ModelError, match="no numbers"):
        sound_factor(torch.full((2, 2), torch.nan, dtype=torch.float64))


def test_what_is_left_out_is_predicted_as_without_it_and_believed_as_far_as_it_deserves() -> None:
    """Leaving a label out by refitting to the others, one by one, against the closed form behind `believed`."""
    which, of_rows, of_columns = system()
    y = torch.from_numpy(np.random.default_rng(4).normal(size=L))
    covariance = textbook(which, of_rows, of_columns)
    left_out = torch.empty(L, dtype=torch.float64)
    for k in range(L):
        rest = torch.arange(L) != k
        left_out[k] = covariance[k, rest] @ torch.linalg.solve(covariance[rest][:, rest], y[rest])
    factor = which.factor()
    assert factor is not None
    for labels in (y, left_out + 0.7 * y, torch.sin(torch.arange(L, dtype=torch.float64))):
        predicted = labels - torch.linalg.solve(covariance, labels) / torch.linalg.inv(covariance).diagonal()
        best = float(labels @ predicted / predicted.square().sum())
        found = float(which.believed(labels, which.solve(labels, factor), factor))
        assert found == pytest.approx(min(1.0, max(0.1, best)), rel=1e-4)
    predicted = y - which.solve(y, factor) / torch.cholesky_inverse(factor).diagonal()
    assert predicted.numpy() == pytest.approx(left_out.numpy(), rel=1e-4, abs=1e-5)


def test_scores_that_rows_do_not_explain_are_hardly_predicted() -> None:
    """Scores of noise from forty rows: over many draws less is promised than that the predictions do harm."""
    explained = []
    for seed in range(8):
        pool = rows(140, "p", 10 + seed)
        y = np.random.default_rng(seed).normal(size=140).astype(np.float32)
        labels = Labels(np.zeros(40, np.int32), np.arange(40, dtype=np.int32), y[:40], (1, 140))
        predicted = GaussianProcess().fit(labels, None, pool, seed=seed).kernel(None, pool).fill()[40:, 0]
        explained.append(1 - np.mean((predicted - y[40:]) ** 2) / np.mean((y[40:] - y[:40].mean()) ** 2))
    assert np.mean(explained) > -0.15  # -.22 with weights that are free to follow forty scores
