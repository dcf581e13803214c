"""LiDAR encoders: outputs at points and on the map, gradients, invariances, a real sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pc3d.data.batch import PointView
from pc3d.geometry.grid import BevGrid
from pc3d.models.lidar import LidarEncoder, build_lidar_encoder
from pc3d.ops.sparse import SparseTensor

GRID = {"x_min": -8.0, "x_max": 8.0, "y_min": -8.0, "y_max": 8.0, "cell": 0.8}
RANGE = (-8.0, -8.0, -2.0, 8.0, 8.0, 2.0)
UNET: dict[str, Any] = {
    "type": "MinkUNet",
    "depth": 18,
    "widths": (8, 8, 12, 12, 12, 8, 8, 8),
    "stem": 8,
    "point_range": RANGE,
    "grid": GRID,
    "bev_channels": 6,
}
SECOND: dict[str, Any] = {
    "type": "SECOND",
    "widths": (4, 8, 8, 8),
    "height_channels": 8,
    "bev_widths": (8, 8),
    "bev_layers": (1, 1),
    "bev_channels": 8,
    "z_range": (-2.0, 2.0),
    "voxel_height": 0.1,
    "grid": GRID,
}
PILLARS: dict[str, Any] = {
    "type": "PointPillars",
    "pillar_channels": 8,
    "bev_widths": (8, 8),
    "bev_layers": (1, 1),
    "bev_channels": 8,
    "z_range": (-2.0, 2.0),
    "grid": GRID,
}
ENCODERS = {
    "unet": UNET,
    "unet-34": {**UNET, "depth": 34},
    "unet-cylinder": {**UNET, "voxel": "cylinder"},
    "second": SECOND,
    "pillars": PILLARS,
    "second-trilinear": {**SECOND, "point_source": "trilinear"},
    "unet-50": {**UNET, "depth": 50, "stem_kernels": (5, 3)},
    "second-residual": {**SECOND, "blocks": "residual", "point_source": "trilinear"},
}


def make_view(sizes: list[int], seed: int = 0, spread: float = 9.0) -> PointView:
    """Clouds that reach a little beyond the range, x y z intensity."""
    generator = torch.Generator().manual_seed(seed)
    count = sum(sizes)
    scale = torch.tensor([spread, spread, 2.0, 1.0])
    points = (torch.rand(count, 4, generator=generator) * 2 - 1) * scale
    batch = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return PointView(points, batch, torch.arange(count), torch.eye(4).repeat(len(sizes), 1, 1), len(sizes))


@pytest.fixture(params=list(ENCODERS))
def encoder(request: pytest.FixtureRequest) -> LidarEncoder:
    torch.manual_seed(0)
    return build_lidar_encoder(ENCODERS[request.param])


def warmed(encoder: LidarEncoder) -> LidarEncoder:
    """In evaluation mode with batch statistics that are not the initial ones."""
    with torch.no_grad():
        encoder(make_view([900, 900], seed=9))
    return encoder.eval()


def test_shapes_and_points_out_of_range(encoder: LidarEncoder) -> None:
    view = make_view([700, 300])
    out = encoder(view)
    assert out.points.shape == (1000, encoder.point_channels)
    assert out.bev is not None
    assert out.bev.shape == (2, encoder.bev_channels, encoder.grid.rows, encoder.grid.cols)
    inside = (view.points[:, :2].abs() < 8).all(1)
    assert 0 < int((~inside).sum()) < 500
    assert torch.equal(out.valid, inside)
    assert not out.points[~inside].any()
    assert encoder(view, want_bev=False).bev is None


def test_every_parameter_gets_a_gradient(encoder: LidarEncoder) -> None:
    view = make_view([700, 300])
    out = encoder(view)
    generator = torch.Generator().manual_seed(1)
    (out.points * torch.randn(out.points.shape, generator=generator)).sum().backward(retain_graph=True)
    (out.bev * torch.randn(out.bev.shape, generator=generator)).sum().backward()
    without = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_a_single_voxel_is_a_clear_error_in_training_only(encoder: LidarEncoder) -> None:
    view = make_view([1, 0], spread=1.0)
    with pytest.raises(ValueError, match="a single voxel of the whole batch"):
        encoder(view)
    assert encoder.eval()(view).points.isfinite().all()


def test_bfloat16_changes_little_and_gradients_flow(encoder: LidarEncoder) -> None:
    view = make_view([700, 300])
    expected = encoder(view)
    with torch.autocast("cpu", torch.bfloat16):
        out = encoder(view)
    assert out.bev is not None
    for found, wanted in ((out.points, expected.points), (out.bev, expected.bev)):
        assert (found.float() - wanted).norm() < 0.05 * wanted.norm()
    (out.points.float().square().sum() + out.bev.float().square().sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


def test_points_may_come_in_any_order(encoder: LidarEncoder) -> None:
    encoder = warmed(encoder)
    view = make_view([700, 300])
    generator = torch.Generator().manual_seed(1)
    order = torch.cat(
        (torch.randperm(700, generator=generator), 700 + torch.randperm(300, generator=generator))
    )
    shuffled = PointView(view.points[order], view.batch, view.row, view.lidar_SE3, view.size)
    with torch.no_grad():
        first, second = encoder(view), encoder(shuffled)
    torch.testing.assert_close(first.points[order], second.points, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first.bev, second.bev, rtol=1e-4, atol=1e-5)


def test_a_sample_does_not_see_its_batch(encoder: LidarEncoder) -> None:
    encoder = warmed(encoder)
    both = make_view([700, 300])
    with torch.no_grad():
        together = encoder(both)
        for sample in (0, 1):
            mine = both.batch == sample
            alone = encoder(
                PointView(
                    both.points[mine],
                    torch.zeros(int(mine.sum()), dtype=torch.long),
                    torch.arange(int(mine.sum())),
                    both.lidar_SE3[:1],
                    1,
                )
            )
            torch.testing.assert_close(alone.points, together.points[mine], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(alone.bev[0], together.bev[sample], rtol=1e-4, atol=1e-5)


def test_a_sample_without_points_gets_an_empty_row_of_the_batch(encoder: LidarEncoder) -> None:
    out = warmed(encoder)(make_view([400, 0]))
    assert out.bev is not None
    assert out.bev.shape[0] == 2
    assert torch.isfinite(out.bev).all()


def test_a_cloud_out_of_range_is_an_error_that_says_so(encoder: LidarEncoder) -> None:
    view = make_view([50])
    view.points[:, 0] += 1000.0
    with pytest.raises(ValueError, match="within the encoder's range"):
        encoder(view)


def test_bev_map_lies_where_the_points_are(encoder: LidarEncoder) -> None:
    """Moving one point's intensity changes the map most near that point."""
    encoder = warmed(encoder)
    view = make_view([600], spread=7.0)
    view.points[0, :3] = torch.tensor([5.0, -3.0, 0.0])
    points = view.points.clone().requires_grad_()
    out = encoder(PointView(points, view.batch, view.row, view.lidar_SE3, 1))
    row, col = int((-3.0 + 8) / 0.8), int((5.0 + 8) / 0.8)
    mirrored = out.bev[0, :, col, row].abs().sum()
    near = out.bev[0, :, row, col].abs().sum()
    (at_point,) = torch.autograd.grad(near, points, retain_graph=True)
    (at_mirror,) = torch.autograd.grad(mirrored, points)
    assert at_point[0].abs().sum() > at_mirror[0].abs().sum()


def test_the_far_side_of_a_range_has_all_levels() -> None:
    """A range that the coarsest voxels do not fill evenly gives what a wider one gives."""
    narrow = {**UNET, "voxel_size": (0.3, 0.3, 0.3)}
    encoder = warmed(build_lidar_encoder(narrow))
    wider = build_lidar_encoder({**narrow, "point_range": (-8.0, -8.0, -2.0, 20.0, 20.0, 10.0)})
    wider.load_state_dict(encoder.state_dict())
    view = make_view([900], spread=7.9)
    with torch.no_grad():
        first, second = encoder(view), wider.eval()(view)
    torch.testing.assert_close(first.points, second.points, rtol=1e-4, atol=1e-5)


def test_a_voxel_may_take_its_first_point() -> None:
    encoder = build_lidar_encoder({**UNET, "in_channels": 1, "columns": (3,), "voxel_feature": "first"})
    points = torch.tensor([[1.01, 1.01, 0.01, 7.0], [99.0, 0.0, 0.0, 5.0], [2.01, 1.01, 0.01, 3.0]])
    points = points[[0, 1, 2, 0, 2]]
    points[3:, 3] = torch.tensor([8.0, 9.0])
    view = PointView(points, torch.zeros(5, dtype=torch.long), torch.arange(5), torch.eye(4)[None], 1)
    voxels, features = encoder.inputs(view)
    assert features[voxels.index[[0, 2, 3, 4]], 0].tolist() == [7.0, 3.0, 7.0, 3.0]
    with pytest.raises(ValueError, match="unknown voxel_feature 'last'; known: mean, first"):
        build_lidar_encoder({**UNET, "voxel_feature": "last"})


@pytest.mark.parametrize("blocks", ["plain", "residual"])
def test_trilinear_knows_where_the_voxels_of_each_level_are(blocks: str) -> None:
    """Levels whose features are the centres of their receptive fields give each point its position."""
    encoder = build_lidar_encoder({**SECOND, "blocks": blocks, "point_source": "trilinear"})
    view = make_view([50], spread=4.0)
    view.points[:, 2] = torch.linspace(-0.5, 0.5, 50)
    size, low = torch.tensor([0.1, 0.1, 0.1]), torch.tensor([-8.0, -8.0, -2.0])
    levels = []
    for k, sides in enumerate([(40, 160, 160), (20, 80, 80), (10, 40, 40), (5, 20, 20)]):
        indices = torch.cartesian_prod(torch.arange(1), *map(torch.arange, sides)).int()
        centre = indices[:, [3, 2, 1]] * 2.0**k
        if k == 3 and blocks == "residual":
            centre[:, 2] += 4  # a kernel without padding starts at 8 i, not at 8 i - 4
        levels.append(SparseTensor((centre + 0.5) * size + low, indices, list(sides), 1))
    encoder.point_head = torch.nn.Identity()
    encoder.point_channels = 12
    points = encoder._trilinear(view, encoder.inputs.voxels(view), levels)
    torch.testing.assert_close(points, view.points[:, :3].repeat(1, 4), rtol=0, atol=1e-4)


@pytest.mark.parametrize("columns", [(3,), (0, 2, 3)])
def test_only_the_chosen_columns_enter(columns: tuple[int, ...]) -> None:
    encoder = warmed(build_lidar_encoder({**UNET, "in_channels": len(columns), "columns": columns}))
    points = make_view([200]).points.requires_grad_()
    view = make_view([200])
    encoder(PointView(points, view.batch, view.row, view.lidar_SE3, 1)).points.sum().backward()
    assert points.grad is not None
    assert points.grad.abs().sum(0).nonzero().flatten().tolist() == list(columns)


def test_mistakes_in_the_configuration_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown LiDAR encoder type 'Mink'; did you mean 'MinkUNet'"):
        build_lidar_encoder({"type": "Mink"})
    with pytest.raises(ValueError, match=r"has no argument width.*known: .*widths"):
        build_lidar_encoder({"type": "MinkUNet", "width": 3})
    with pytest.raises(ValueError, match=r"has no argument cel.*known: x_min"):
        build_lidar_encoder({"type": "MinkUNet", "grid": {"cel": 1.0}})
    with pytest.raises(ValueError, match="no depth 20; known: 18, 34"):
        build_lidar_encoder({"type": "MinkUNet", "depth": 20})
    with pytest.raises(ValueError, match="8 numbers"):
        build_lidar_encoder({"type": "MinkUNet", "widths": (1, 2)})
    with pytest.raises(ValueError, match="columns names 2"):
        build_lidar_encoder({**UNET, "columns": (0, 1)})
    with pytest.raises(ValueError, match="the points have 4 columns"):
        build_lidar_encoder({**UNET, "in_channels": 5})(make_view([10]))
    with pytest.raises(ValueError, match="known: bev, trilinear"):
        build_lidar_encoder({**SECOND, "point_source": "x"})
    with pytest.raises(ValueError, match="known: plain, residual"):
        build_lidar_encoder({**SECOND, "blocks": "x"})
    with pytest.raises(ValueError, match=r"stem_kernels needs odd sizes, at least one, got \(2,\)"):
        build_lidar_encoder({**UNET, "stem_kernels": (2,)})
    with pytest.raises(ValueError, match="too few"):
        build_lidar_encoder({**SECOND, "voxel_height": 1.0})


def test_published_depths_have_the_published_size() -> None:
    """MinkUNet-34 with the published planes has 37.9 million parameters (SPVNAS, SLidR)."""
    encoder = build_lidar_encoder({"type": "MinkUNet", "depth": 34})
    unet = sum(p.numel() for name, p in encoder.named_parameters() if not name.startswith("bev_head"))
    assert 37.0e6 < unet < 38.8e6


def real_sweep(path: Path, columns: int, scale: float) -> PointView:
    points = torch.from_numpy(np.fromfile(path, np.float32).reshape(-1, columns)[:, :4].copy())
    points[:, 3] /= scale
    count = len(points)
    return PointView(points, torch.zeros(count, dtype=torch.long), torch.arange(count), torch.eye(4)[None], 1)


@pytest.mark.parametrize("kind", ["unet", "unet-cylinder", "second", "pillars"])
def test_real_sweeps_forward_and_backward(real_data: Path, kind: str) -> None:
    config = {**ENCODERS[kind], "grid": BevGrid()}
    if "point_range" in config:
        config["point_range"] = (-54.0, -54.0, -5.0, 54.0, 54.0, 3.0)
    else:
        config["z_range"] = (-5.0, 3.0)
    encoder = build_lidar_encoder(config)
    nuscenes = next((real_data / "nuscenes/samples/LIDAR_TOP").glob("*.bin"))
    kitti = next((real_data / "kitti_raw").rglob("velodyne_points/data/*.bin"))
    for view in (real_sweep(nuscenes, 5, 255.0), real_sweep(kitti, 4, 1.0)):
        encoder.zero_grad()
        out = encoder(view)
        assert out.valid.float().mean() > 0.9
        (out.points.square().mean() + out.bev.square().mean()).backward()
        assert all(torch.isfinite(p.grad).all() for p in encoder.parameters())
