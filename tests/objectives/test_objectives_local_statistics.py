"""The regression of local statistics against a direct composition in float64."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from objective_fixtures import TinyLidar, make_batch
from torch import Tensor

from pc3d.data.batch import Batch
from pc3d.data.local_statistics import LENGTHS
from pc3d.models.lidar.base import LidarFeatures
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.local_statistics import FLOOR, LocalStatistics


def batch_of(seed: int, scales: tuple[float, float] = (1.0, 1.0)) -> Batch:
    """Views with a part of the points, of samples that are scaled differently."""
    batch = make_batch(seed)
    now, g = batch.now, torch.Generator().manual_seed(seed)
    now.statistics = 3 * torch.rand(now.num_points, 13, generator=g) ** 3
    view = now.views["b"]
    view.lidar_SE3 = torch.stack([torch.diag(torch.tensor([-s, s, s, 1.0])) for s in scales])
    now.views["a"] = view
    return batch


class Half(TinyLidar):
    """Sees points with x > 0 alone."""

    def forward(self, view: Any, want_bev: bool = True) -> LidarFeatures:
        output = super().forward(view, want_bev)
        return LidarFeatures(output.points, view.points[:, 0] > 0, output.bev)


def plain_target(batch: Batch, lidar: TinyLidar, unit: float) -> np.ndarray:
    view = batch.now.views["a"]
    rows = []
    for n in range(len(view.points)):
        if lidar(view).valid[n]:
            statistics = batch.now.statistics[view.row[n]].double().numpy().copy()
            scale = float(view.lidar_SE3[view.batch[n], 2, 2])
            statistics[LENGTHS] = np.log(1 + scale * statistics[LENGTHS] / unit)
            rows.append(statistics)
    return np.array(rows)


def plain_loss(predicted: Tensor, target: np.ndarray, seen: np.ndarray, beta: float) -> float:
    wanted = (target - seen.mean(axis=0)) / np.maximum(seen.std(axis=0), FLOOR)
    apart = np.abs(predicted.detach().double().numpy() - wanted)
    return float(np.where(apart < beta, 0.5 * apart**2 / beta, apart - 0.5 * beta).mean())


@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("kind", [TinyLidar, Half])
def test_is_smooth_l1_of_what_was_seen_standardised(head: Any, kind: type[TinyLidar]) -> None:
    lidar = kind()
    objective = LocalStatistics(lidar, head=head, unit=0.3, beta=0.7)
    seen: list[np.ndarray] = []
    for seed, scales in ((0, (1.0, 1.0)), (1, (0.5, 2.0)), (2, (1.1, 0.9))):
        batch = batch_of(seed, scales)
        result = objective(Encodings(batch, lidar))
        target = plain_target(batch, lidar, 0.3)
        seen.append(target)
        view = batch.now.views["a"]
        output = lidar(view)
        predicted = objective.head(output.points[output.valid])
        expected = plain_loss(predicted, target, np.concatenate(seen), 0.7)
        assert result["loss"].item() == pytest.approx(expected, rel=1e-5)
        assert result["examples"].item() == len(target)
    # In evaluation nothing is counted.
    before = objective.count.clone()
    objective.eval()(Encodings(batch_of(3), lidar))
    assert objective.count == before == sum(map(len, seen))


def test_what_was_seen_is_saved_and_goes_on_exactly() -> None:
    lidar = TinyLidar()
    objective = LocalStatistics(lidar)
    for seed in range(3):
        objective(Encodings(batch_of(seed), lidar))
    other = LocalStatistics(lidar)
    other.load_state_dict(copy.deepcopy(objective.state_dict()))
    losses = [one(Encodings(batch_of(7), lidar))["loss"] for one in (objective, other)]
    assert torch.equal(*losses)
    assert all(torch.equal(a, b) for a, b in zip(objective.buffers(), other.buffers(), strict=True))


def test_the_encoder_learns_it() -> None:
    torch.manual_seed(0)
    lidar, batch = TinyLidar(), batch_of(0)
    # A target that the coordinates tell.
    row, points = batch.now.views["a"].row, batch.now.views["a"].points
    batch.now.statistics[row] = (points[:, :1] + 8) / 16 * torch.linspace(0.1, 1, 13)
    objective = LocalStatistics(lidar)
    optimizer = torch.optim.Adam([*lidar.parameters(), *objective.parameters()], lr=0.05)
    results = []
    for _ in range(60):
        results.append(objective(Encodings(batch, lidar)))
        optimizer.zero_grad()
        results[-1]["loss"].backward()
        optimizer.step()
    assert results[0]["explained"] < 0.2
    assert results[-1]["explained"] > 0.95
    assert bool((lidar.linear.weight.grad != 0).any())


def test_no_point_in_range_and_a_constant_column_stay_finite() -> None:
    lidar, batch = Half(), batch_of(0)
    batch.now.statistics[:, 4] = 0.25
    objective = LocalStatistics(lidar)
    objective(Encodings(batch, lidar))["loss"].backward()
    batch.now.views["a"].points[:, 0] = -1
    before = objective.mean.clone()
    result = objective(Encodings(batch, lidar))
    result["loss"].backward()
    assert result["loss"] == 0
    assert result["examples"] == 0
    assert torch.equal(objective.mean, before)
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters())


def test_what_it_cannot_do_is_refused() -> None:
    lidar = TinyLidar()
    with pytest.raises(ValueError, match="known: linear, mlp"):
        LocalStatistics(lidar, head="deep")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="above 0"):
        LocalStatistics(lidar, unit=0.0)
    with pytest.raises(ValueError, match="ask for them"):
        LocalStatistics(lidar)(Encodings(Batch([], {"t": replace(make_batch().now, statistics=None)}), lidar))
