"""BEVDistill against a direct composition, and what its options change."""

from __future__ import annotations

import pytest
import torch
from objective_fixtures import TinyCamera, TinyImage, TinyLidar, make_batch
from torch import Tensor

from pc3d.data.batch import Batch
from pc3d.objectives.bev_distill import BEVDistill
from pc3d.objectives.encodings import Encodings


class Setup:
    def __init__(self, same_grid: bool = True, **options: object) -> None:
        torch.manual_seed(0)
        self.lidar, self.image = TinyLidar(), TinyImage()
        self.camera = TinyCamera(self.image)
        if same_grid:
            self.camera.grid = self.lidar.grid
            shape = (self.camera.bev_channels, self.lidar.grid.rows, self.lidar.grid.cols)
            self.camera.map = torch.nn.Parameter(torch.randn(shape))
        self.objective = BEVDistill(self.lidar, self.camera, **options)  # type: ignore[arg-type]

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        return self.objective(Encodings(batch, self.lidar, self.image, self.camera))


def foreground(batch: Batch) -> set[tuple[int, int, int]]:
    """(sample, row, col) of the cells with a point of a region, on TinyLidar's grid of 1 m from -10 m."""
    frame = batch.now
    return {
        (int(b), int(y // 1) + 10, int(x // 1) + 10)
        for (x, y, *_), b, r in zip(frame.views["a"].points, frame.row_batch, frame.regions, strict=True)
        if r >= 0
    }


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_is_the_mean_distance_of_the_maps_over_foreground_cells(distance: str) -> None:
    batch, setup = make_batch(), Setup(distance=distance)
    result = setup(batch)
    features = setup.image(batch.now.images.flatten(0, 1))
    adapted = setup.objective.adapter(setup.camera(features, None, None, batch.now.camera_mask, None))
    cells, total = foreground(batch), 0.0
    for b, row, col in cells:
        s, t = adapted[b, :, row, col], setup.lidar.map[:, row, col]
        t = t / t.norm()
        total += ((s - t) @ (s - t) if distance == "l2" else 1 - s @ t / s.norm()).item()
    assert result["loss"].item() == pytest.approx(total / len(cells), rel=1e-5)
    assert result["cells"].item() == len(cells)
    assert result["point_share"].item() == pytest.approx((batch.now.regions >= 0).float().mean().item())


def test_smooth_spreads_the_mask_around_the_regions() -> None:
    batch = make_batch()
    batch.now.regions[:] = -1
    batch.now.regions[0] = 0
    assert Setup()(batch)["cells"] == 1
    blurred = Setup(smooth=1.0)(batch)
    assert 1 < blurred["cells"] <= 49
    torch.testing.assert_close(Setup(smooth=0.1)(batch)["loss"], Setup()(batch)["loss"])
    assert abs((blurred["loss"] - Setup()(batch)["loss"]).item()) > 1e-3


def test_the_camera_map_may_lie_on_another_grid() -> None:
    """A constant camera map is the same on its own coarser grid."""
    batch, setup = make_batch(), Setup(same_grid=False)
    same = Setup()
    for one in (setup, same):
        torch.nn.init.ones_(one.camera.map)
    same.objective.load_state_dict(setup.objective.state_dict())
    same.lidar.load_state_dict(setup.lidar.state_dict())
    torch.testing.assert_close(setup(batch)["loss"], same(batch)["loss"])


def test_gradient_reaches_the_cameras_and_never_the_teacher() -> None:
    batch, setup = make_batch(), Setup()
    setup(batch)["loss"].backward()
    assert all(p.grad is None for p in setup.lidar.parameters())
    for module in (setup.image, setup.camera, setup.objective):
        assert all(bool((p.grad != 0).any()) for p in module.parameters())


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="unknown distance 'l1'; known: l2, cosine"):
        Setup(distance="l1")
    with pytest.raises(ValueError, match="smooth must not be negative"):
        Setup(smooth=-1.0)
    batch = make_batch()
    batch.now.regions = None
    with pytest.raises(ValueError, match="pc3d regions"):
        Setup()(batch)
