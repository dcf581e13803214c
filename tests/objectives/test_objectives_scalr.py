"""ScaLR against a direct composition, and what its options change."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from objective_fixtures import IMAGE, TinyImage, TinyLidar, make_batch

from pc3d.objectives.encodings import Encodings
from pc3d.objectives.scalr import ScaLR


def test_is_the_mean_distance_to_the_teachers_pixels() -> None:
    batch, lidar, image = make_batch(), TinyLidar(), TinyImage()
    objective = ScaLR(lidar, image)
    result = objective(Encodings(batch, lidar, image))
    frame = batch.now
    maps = image(frame.images.flatten(0, 1))
    points = F.normalize(objective.head(lidar(frame.views["a"]).points), dim=1)
    total = 0.0
    for row, camera, uv in zip(frame.pairs.row, frame.pairs.camera, frame.pairs.uv, strict=True):
        place = uv / torch.tensor([IMAGE[1], IMAGE[0]]) * 2 - 1
        pixel = F.grid_sample(maps[None, camera], place[None, None, None], "bilinear", "border", False)
        pixel = pixel.flatten()
        total += (points[row] - pixel / pixel.norm()).norm().item()
    assert result["loss"].item() == pytest.approx(total / len(frame.pairs.row), rel=1e-5)


def test_the_teacher_never_learns() -> None:
    batch, lidar, image = make_batch(), TinyLidar(), TinyImage()
    ScaLR(lidar, image)(Encodings(batch, lidar, image))["loss"].backward()
    assert all(p.grad is None for p in image.parameters())
    assert bool((lidar.linear.weight.grad != 0).any())


def test_takes_all_pairs_or_as_many_as_asked() -> None:
    batch, lidar, image = make_batch(points=100), TinyLidar(), TinyImage()
    seen = len(batch.now.pairs.row.unique()) / batch.now.num_points
    for num_pairs, low, high in ((None, seen, seen), (30, 20 / 200, 30 / 200)):
        share = ScaLR(lidar, image, num_pairs)(Encodings(batch, lidar, image))["point_share"].item()
        assert low - 1e-6 <= share <= high + 1e-6
