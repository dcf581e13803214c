"""Sampled features, kNN and logistic regression against scikit-learn and planted classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from pc3d.data.batch import Batch, FrameBatch, PointView
from pc3d.evaluation.features import PointFeatures, collect_features, sample_points
from pc3d.evaluation.knn import knn_predict, knn_probe
from pc3d.evaluation.linear import linear_probe
from pc3d.geometry.grid import BevGrid
from pc3d.models.lidar.base import LidarEncoder, LidarFeatures

CLASSES = 4


class _Encoder(LidarEncoder):
    """The coordinates through a batch norm; sees x >= -1 only."""

    def __init__(self) -> None:
        super().__init__()
        self.point_channels, self.bev_channels, self.grid = 4, 4, BevGrid()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, view: PointView, want_bev: bool = True) -> LidarFeatures:
        valid = view.points[:, 0] >= -1
        return LidarFeatures(self.norm(view.points) * valid[:, None], valid, None)


def _loader(batches: int = 2, points: int = 300, labelled: bool = True) -> Iterator[Batch]:
    """Batches of two sweeps whose classes are directions of the plane; class 3 is rare."""
    generator = torch.Generator().manual_seed(0)
    for index in range(batches):
        cloud = torch.randn(2 * points, 4, generator=generator)
        labels = (cloud[:, 0] > 0) * 2 + (cloud[:, 1] > 1.5).long()
        labels[::7] = -1
        row = torch.arange(2 * points)
        view = PointView(cloud, row // points, row, torch.eye(4).repeat(2, 1, 1), 2)
        eye = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
        frame = FrameBatch({"a": view}, len(row), row // points, eye, labels=labels if labelled else None)
        yield Batch([f"{index}-0", f"{index}-1"], {"t": frame})


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(
    seed=st.integers(0, 2**31), points=st.integers(0, 60), count=st.integers(0, 80), balanced=st.booleans()
)
@settings(max_examples=60, deadline=None)
def test_sample_points(seed: int, points: int, count: int, balanced: bool) -> None:
    labels = torch.randint(-1, CLASSES, (points,), generator=_generator(seed)) // (1 + seed % 2)
    rows = sample_points(labels, count, _generator(seed), balanced)
    assert len(rows) == min(count, int((labels >= 0).sum()))
    assert (labels[rows] >= 0).all()
    assert (rows.diff() > 0).all()
    if balanced and len(rows):
        drawn, there = (
            labels[rows].bincount(minlength=CLASSES),
            labels[labels >= 0].bincount(minlength=CLASSES),
        )
        # A class that is not used up has at most one point fewer than any other.
        left = drawn[drawn < there]
        assert not len(left) or int(drawn.max()) - int(left.min()) <= 1


def test_uniform_sample_keeps_the_shares() -> None:
    labels = (torch.arange(20_000) % 10 == 0).long()
    assert labels[sample_points(labels, 5000, _generator())].double().mean().item() == pytest.approx(
        0.1, abs=0.02
    )


def test_collect_features() -> None:
    encoder = _Encoder().train()
    found = collect_features(encoder, _loader(), 50, _generator())
    assert encoder.training
    assert encoder.norm.num_batches_tracked == 0
    assert found.features.shape == (200, 4)
    assert found.tokens == ["0-0", "0-1", "1-0", "1-1"]
    assert found.sweep.bincount().tolist() == [50, 50, 50, 50]
    clouds = torch.cat([batch.now.views["a"].points for batch in _loader()])
    labels = torch.cat([batch.now.labels for batch in _loader()])  # type: ignore[misc]
    scale = 1 / (1 + encoder.norm.eps) ** 0.5
    for feature, label, sweep in zip(*found[:2], found.sweep, strict=True):
        if feature.any():
            match = (clouds * scale - feature).abs().sum(1).argmin()
            assert labels[match] == label
            assert match // 300 == sweep
    assert torch.equal(found.valid, found.features.any(dim=1))
    assert 0 < len(found.within_range().labels) < 200
    again = collect_features(encoder, _loader(), 50, _generator())
    other = collect_features(encoder, _loader(), 50, _generator(1))
    assert torch.equal(again.features, found.features)
    assert not torch.equal(other.features, found.features)


def test_the_same_points_are_drawn_for_every_encoder() -> None:
    seeing_all = _Encoder()
    seeing_all.forward = lambda view, want_bev=True: LidarFeatures(  # type: ignore[method-assign]
        torch.ones(len(view.points), 9), torch.ones(len(view.points), dtype=torch.bool), None
    )
    first = collect_features(_Encoder(), _loader(), 40, _generator(), balanced=True)
    second = collect_features(seeing_all, _loader(), 40, _generator(), balanced=True)
    assert torch.equal(first.labels, second.labels)
    assert torch.equal(first.sweep, second.sweep)


def test_collect_features_refuses() -> None:
    with pytest.raises(ValueError, match="has no labels"):
        collect_features(_Encoder(), _loader(labelled=False), 5, _generator())
    with pytest.raises(ValueError, match="no point"):
        collect_features(_Encoder(), [], 5, _generator())


def _clusters(count: int, seed: int) -> tuple[Tensor, Tensor]:
    centers = torch.randn(CLASSES, 8, generator=_generator(99))
    labels = torch.randint(0, CLASSES, (count,), generator=_generator(seed))
    return centers[labels] + 0.9 * torch.randn(count, 8, generator=_generator(seed + 1)), labels


@pytest.mark.parametrize("k", [1, 20])
def test_knn_against_scikit_learn(k: int) -> None:
    (bank, labels), (queries, _) = _clusters(500, 0), _clusters(300, 7)
    reference = KNeighborsClassifier(
        k, weights=lambda d: np.exp((1 - d) / 0.07), metric="cosine", algorithm="brute"
    )
    reference.fit(bank.double().numpy(), labels.numpy())
    expected = reference.predict(queries.double().numpy())
    # Float32 decides between classes with equal votes, and between the k-th neighbour and the next.
    votes = np.sort(reference.predict_proba(queries.double().numpy()), axis=1)
    apart = np.diff(reference.kneighbors(queries.double().numpy(), k + 1)[0], axis=1)[:, -1]
    clear = (votes[:, -1] - votes[:, -2] > 1e-4) & (apart > 1e-6)
    assert clear.mean() > 0.95
    found = knn_predict(bank, labels, queries, CLASSES, k=k, chunk=128).numpy()
    np.testing.assert_array_equal(found[clear], expected[clear])


def test_knn_of_a_small_bank_and_of_nothing() -> None:
    bank = torch.eye(3)
    assert knn_predict(bank, torch.tensor([2, 0, 1]), 5 * bank, CLASSES).tolist() == [2, 0, 1]
    assert len(knn_predict(bank, torch.tensor([2, 0, 1]), bank[:0], CLASSES)) == 0
    with pytest.raises(ValueError, match="no labelled feature"):
        knn_predict(bank[:0], torch.zeros(0, dtype=torch.long), bank, CLASSES)


def _features(count: int, seed: int, blind: int = 0) -> PointFeatures:
    features, labels = _clusters(count, seed)
    valid = torch.arange(count) >= blind
    return PointFeatures(
        features * valid[:, None], labels, valid, torch.zeros(count, dtype=torch.long), ["x"]
    )


@pytest.mark.parametrize("probe", [knn_probe, linear_probe])
def test_probes_tell_good_features_from_noise(probe: object) -> None:
    train, val = _features(600, 0), _features(400, 7)
    good = probe(train, val, CLASSES)  # type: ignore[operator]
    noise = torch.randn(600, 8, generator=_generator(5))
    bad = probe(train._replace(features=noise), val, CLASSES)  # type: ignore[operator]
    assert good["accuracy"] > 0.8
    assert bad["accuracy"] < 0.45
    assert good["miou"] == good["miou_truth"] > bad["miou"]
    assert len(good["iou"]) == CLASSES


def test_points_out_of_range_are_no_neighbours_but_count() -> None:
    train = _features(600, 0)
    blind = _features(600, 0, blind=300)
    assert knn_probe(blind, _features(400, 7), CLASSES) == knn_probe(
        PointFeatures(*(part[300:] for part in train[:4]), train.tokens), _features(400, 7), CLASSES
    )
    assert (
        knn_probe(train, _features(400, 7, blind=200), CLASSES)["accuracy"]
        < knn_probe(train, _features(400, 7), CLASSES)["accuracy"]
    )


def test_linear_probe_needs_two_classes() -> None:
    train = _features(50, 0)
    with pytest.raises(ValueError, match="1 classes"):
        linear_probe(train._replace(labels=torch.zeros(50, dtype=torch.long)), train, CLASSES)
