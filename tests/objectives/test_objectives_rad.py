"""RAD against a direct composition of its equation, and what its options change."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from objective_fixtures import TinyCamera, TinyImage, TinyLidar, make_batch
from torch import Tensor, nn

from pc3d.contrast.region_distillation import region_distillation
from pc3d.data.batch import Batch
from pc3d.geometry.grid import BevGrid
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.rad import RAD


class Setup:
    def __init__(self, **options: object) -> None:
        torch.manual_seed(0)
        self.lidar, self.image = TinyLidar(), TinyImage()
        self.camera = TinyCamera(self.image)
        self.objective = RAD(self.lidar, self.camera, **options)  # type: ignore[arg-type]

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        return self.objective(Encodings(batch, self.lidar, self.image, self.camera))


def bilinear(bev: Tensor, grid: BevGrid, xy: Tensor) -> Tensor:
    """(M, C) samples of one map (C, rows, cols) by torch's own grid sampler."""
    half = (grid.x_max - grid.x_min) / 2
    return F.grid_sample(bev[None], xy[None, None] / half, align_corners=False)[0, :, 0].T


@pytest.mark.parametrize("mask_own_region", [False, True])
def test_is_the_mean_over_sweeps_of_its_loss(mask_own_region: bool) -> None:
    """With more room than points, every region point of view "a" takes part."""
    batch, setup = make_batch(), Setup(num_points=500, mask_own_region=mask_own_region)
    result = setup(batch)
    frame, view = batch.now, batch.now.views["a"]
    features = setup.image(frame.images.flatten(0, 1))
    bev = setup.camera(features, None, None, frame.camera_mask, None)
    expected = torch.zeros(())
    for b in range(2):
        rows = torch.nonzero((frame.row_batch == b) & (frame.regions >= 0))[:, 0]
        xy = view.points[rows, :2]
        c = setup.objective.student_projector(bilinear(bev[b], setup.camera.grid, xy))
        t = setup.objective.teacher_projector(bilinear(setup.lidar.map, setup.lidar.grid, xy))
        c, t = F.normalize(c, dim=1), F.normalize(t, dim=1)
        expected = expected + region_distillation(c, t, frame.regions[rows], 0.07, mask_own_region) / 2
    torch.testing.assert_close(result["loss"], expected, rtol=1e-4, atol=1e-4)
    assert float(result["point_share"]) == pytest.approx(float((frame.regions >= 0).float().mean()))


@pytest.mark.parametrize("teacher_head", ["frozen", "trained"])
def test_gradient_reaches_the_cameras_and_never_the_teacher(teacher_head: str) -> None:
    batch, setup = make_batch(), Setup(teacher_head=teacher_head)
    setup(batch)["loss"].backward()

    def trained(module: nn.Module) -> set[bool]:
        return {p.grad is not None and bool((p.grad != 0).any()) for p in module.parameters()}

    assert trained(setup.lidar) == {False}
    assert (
        trained(setup.camera) == trained(setup.image) == trained(setup.objective.student_projector) == {True}
    )
    assert trained(setup.objective.teacher_projector) == {teacher_head == "trained"}


def test_a_teacher_head_that_another_objective_trains_gets_no_gradient_from_here() -> None:
    setup = Setup()
    setup.objective.teacher_projector = nn.Sequential(nn.Linear(setup.lidar.bev_channels, 128))
    setup(make_batch())["loss"].backward()
    assert all(p.grad is None for p in setup.objective.teacher_projector.parameters())


def test_points_outside_a_map_do_not_take_part() -> None:
    """The camera's grid reaches to 12 m, the LiDAR's to 10 m; the points reach to 16 m after scaling."""
    batch, setup = make_batch(), Setup(num_points=500)
    view = batch.now.views["a"]
    view.points[:, :2] *= 2
    inside = (view.points[:, :2].abs() < 10).all(dim=1) & (batch.now.regions >= 0)
    assert 0 < int(inside.sum()) < int((batch.now.regions >= 0).sum())
    assert float(setup(batch)["point_share"]) == pytest.approx(int(inside.sum()) / batch.now.num_points)


def test_takes_at_most_the_points_asked_for_and_the_map_in_the_frame_of_the_view() -> None:
    batch, setup = make_batch(points=200), Setup(num_points=20)
    turned = torch.eye(4)
    turned[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    batch.now.views["a"].lidar_SE3 = turned.expand(2, 4, 4)
    seen = {}
    setup.camera.register_forward_pre_hook(lambda _, args: seen.update(pose=args[2]))
    assert float(setup(batch)["point_share"]) == pytest.approx(40 / 400)
    torch.testing.assert_close(seen["pose"][0, 0], turned.T)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="unknown teacher_head 'loose'; known: frozen, trained"):
        Setup(teacher_head="loose")
    batch = make_batch()
    batch.now.regions = None
    with pytest.raises(ValueError, match="pc3d regions"):
        Setup()(batch)
