"""PointContrast against a direct composition, and what its options change."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from objective_fixtures import TinyLidar, make_batch

from pc3d.contrast.nce import info_nce
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.point_contrast import PointContrast


def test_is_nce_of_the_points_that_both_views_hold() -> None:
    batch, lidar = make_batch(), TinyLidar()
    view = batch.now.views["b"]
    view.points = view.points * 1.1
    objective = PointContrast(lidar, dim=8, temperature=0.2)
    result = objective(Encodings(batch, lidar))
    f = F.normalize(objective.head(lidar.linear(batch.now.views["a"].points[view.row])), dim=1)
    g = F.normalize(objective.head(lidar.linear(view.points)), dim=1)
    torch.testing.assert_close(result["loss"], info_nce(f, g, 0.2))
    assert abs(result["loss"].item() - info_nce(g, f, 0.2).item()) > 1e-4
    assert float(result["point_share"]) == pytest.approx(len(view.row) / batch.now.num_points)


def test_draws_at_most_the_points_asked_for() -> None:
    batch, lidar = make_batch(points=300), TinyLidar()
    share = PointContrast(lidar, num_points=100)(Encodings(batch, lidar))["point_share"]
    assert float(share) == pytest.approx(100 / 600)


def test_gathered_points_are_more_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, lidar = make_batch(), TinyLidar()
    objective = PointContrast(lidar, gather=True)
    alone = objective(Encodings(batch, lidar))["loss"].item()
    monkeypatch.setattr("pc3d.objectives.point_contrast.rows_of_other_ranks", lambda rows: rows)
    doubled = objective(Encodings(batch, lidar))["loss"].item()
    assert doubled == pytest.approx(alone + math.log(2), abs=1e-5)
