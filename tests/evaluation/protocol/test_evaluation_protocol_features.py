"""Features of the drawn points: of files, of encoders with both kinds of statistics, of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_models import MINK
from torch import Tensor, nn

from pc3d.data.batch import PointView
from pc3d.data.frame_types import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.local_statistics import HAND_MADE
from pc3d.data.local_statistics import hand_made as hand_made_of
from pc3d.data.pairing import cam_SE3_lidar
from pc3d.data.points import load_sweep
from pc3d.data.records import Camera, Sweep
from pc3d.data.transforms import PointAugmentation, PointFilter
from pc3d.evaluation.protocol.data import ProbeData, draw_points, spread_key_frames
from pc3d.evaluation.protocol.features import (
    beside,
    estimated_statistics,
    hand_made,
    of_encoder,
    of_teacher,
    raw,
    without_intensity,
)
from pc3d.geometry.grid import BevGrid
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar import build_lidar_encoder
from pc3d.models.lidar.base import LidarEncoder, LidarFeatures

SIZE = (112, 224)


@pytest.fixture(scope="module")
def data(tiny_index: Path) -> ProbeData:
    index = SweepIndex.open(tiny_index)
    return draw_points(index, spread_key_frames(index, "sim_train", 2), 60)


class OneLayer(LidarEncoder):
    """Means of points in voxels of 2 m, a batch norm, and back to the points; sees x >= 0 only."""

    def __init__(self) -> None:
        super().__init__()
        self.point_channels, self.bev_channels, self.grid = 4, 4, BevGrid()
        self.norm = nn.BatchNorm1d(4)
        self.unused = nn.BatchNorm1d(3)

    def forward(self, view: PointView, want_bev: bool = True) -> LidarFeatures:
        key = torch.cat([view.batch[:, None], (view.points[:, :3] / 2).floor().long()], dim=1)
        _, voxel, count = key.unique(dim=0, return_inverse=True, return_counts=True)
        sums = torch.zeros(len(count), 4).index_add_(0, voxel, view.points[:, :4])
        return LidarFeatures(self.norm(sums / count[:, None])[voxel], view.points[:, 0] >= 0, None)


def cloud(data: ProbeData, number: int) -> NDArray[np.float32]:
    return load_sweep(data.index[data.index.row_of(data.tokens[number])])


def voxel_means(points: NDArray) -> NDArray[np.float64]:
    """Plain float64 form of what goes into the norm of `OneLayer`."""
    cells: dict[tuple, list] = {}
    for point in points:
        cells.setdefault(tuple(np.floor(point[:3] / np.float32(2))), []).append(point[:4].astype(np.float64))
    return np.array([np.mean(cell, axis=0) for cell in cells.values()])


def test_raw_columns(data: ProbeData) -> None:
    found = raw(data)
    rows = np.concatenate([cloud(data, n)[data.rows[n]] for n in range(2)])
    expected = np.column_stack([rows[:, 2], rows[:, 3], np.sqrt(rows[:, 0] ** 2 + rows[:, 1] ** 2)])
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)
    assert found.values.dtype == np.float32
    assert found.seen.all()


def test_hand_made_with_and_without_intensity(data: ProbeData) -> None:
    found = hand_made(data)
    np.testing.assert_array_equal(found.values[60:], hand_made_of(cloud(data, 1))[data.rows[1]])
    plain = without_intensity(found)
    assert plain.values.shape[1] == len(HAND_MADE) - 3
    # Other intensities change the one and not the other.
    changed = cloud(data, 1).copy()
    changed[:, 3] = 1 - changed[:, 3]
    other = hand_made_of(changed)[data.rows[1]]
    kept = [number for number in range(16) if (other[:, number] == found.values[60:, number]).all()]
    np.testing.assert_array_equal(plain.values, found.values[:, kept])


def test_beside(data: ProbeData) -> None:
    a, b = raw(data), of_encoder(data, OneLayer())
    both = beside(a, b)
    np.testing.assert_array_equal(both.values, np.hstack([a.values, b.values]))
    np.testing.assert_array_equal(both.seen, b.seen)


def test_points_out_of_range_are_zero(data: ProbeData) -> None:
    found = of_encoder(data, OneLayer())
    x = np.concatenate([cloud(data, n)[data.rows[n], 0] for n in range(2)])
    np.testing.assert_array_equal(found.seen, x >= 0)
    assert 20 < found.seen.sum() < 100
    assert not found.values[~found.seen].any()
    assert found.values[found.seen].any(axis=1).all()


def test_augmentation_and_choices_of_training_are_left_out(data: ProbeData) -> None:
    drawn = FrameConfig(
        augmentation=(PointAugmentation(rotation=(-3.0, 3.0), scale=(0.5, 2.0)),),
        points=PointFilter(max_points=50),
    )
    plain = of_encoder(data, OneLayer())
    np.testing.assert_array_equal(of_encoder(data, OneLayer(), frames=drawn).values, plain.values)
    near = FrameConfig(points=PointFilter(point_range=(-5.0, -5.0, -5.0, 5.0, 5.0, 5.0)))
    assert of_encoder(data, OneLayer(), frames=near).seen.sum() < plain.seen.sum()


@pytest.mark.parametrize("batch_size", [1, 2])
def test_estimated_statistics_are_plain_means_over_voxels(data: ProbeData, batch_size: int) -> None:
    encoder = OneLayer()
    parts = [voxel_means(cloud(data, number)) for number in range(2)]
    batches = [np.concatenate(parts)] if batch_size == 2 else parts
    mean = np.mean([batch.mean(axis=0) for batch in batches], axis=0)
    variance = np.mean([batch.var(axis=0, ddof=1) for batch in batches], axis=0)
    with estimated_statistics(encoder, data, batch_size=batch_size):
        np.testing.assert_allclose(encoder.norm.running_mean.numpy(), mean, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(encoder.norm.running_var.numpy(), variance, rtol=1e-4)
        found = of_encoder(data, encoder)
    # By default both sweeps are one batch, whose statistics are those of `of_encoder(..., "estimated")`.
    same = np.array_equal(of_encoder(data, encoder, "estimated").values, found.values)
    assert same == (batch_size == 2)


def test_an_encoder_is_given_back_as_it_was(data: ProbeData) -> None:
    torch.manual_seed(0)
    encoder = build_lidar_encoder(MINK).train()
    first = next(m for m in encoder.modules() if isinstance(m, nn.BatchNorm1d))
    first.eval()  # a mode of its own
    first.running_mean.fill_(0.1)  # type: ignore[union-attr]
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    modes = [module.training for module in encoder.modules()]
    momenta = [module.momentum for module in encoder.modules() if isinstance(module, nn.BatchNorm1d)]
    fixed, estimated = (of_encoder(data, encoder, kind) for kind in ("fixed", "estimated"))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="inside"), estimated_statistics(encoder, data):
        raise RuntimeError("inside")
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())
    assert [module.training for module in encoder.modules()] == modes
    assert [m.momentum for m in encoder.modules() if isinstance(m, nn.BatchNorm1d)] == momenta
    assert not np.allclose(fixed.values, estimated.values)


def test_estimated_on_one_sweep_is_its_pass_in_training_mode(data: ProbeData) -> None:
    """There running statistics are those of the batch, but for the n - 1 of the variance."""
    torch.manual_seed(0)
    encoder = build_lidar_encoder(MINK)
    one = ProbeData(data.index, data.tokens[:1], data.rows[:1], data.labels[:60], data.classes)
    found = of_encoder(data, encoder, "estimated", estimate_on=one)
    points = torch.from_numpy(cloud(data, 0))
    rows = torch.arange(len(points))
    view = PointView(points, torch.zeros_like(rows), rows, torch.eye(4)[None], 1)
    with torch.no_grad():
        expected = encoder.train()(view, want_bev=False).points.numpy()[data.rows[0]]
    fixed = of_encoder(one, encoder).values
    assert np.abs(found.values[:60] - expected).mean() < 0.05 * np.abs(expected).mean()
    assert np.abs(fixed - expected).mean() > 0.3 * np.abs(expected).mean()


def test_statistics_have_two_names(data: ProbeData) -> None:
    with pytest.raises(ValueError, match="'fixed' or 'estimated'"):
        of_encoder(data, OneLayer(), "frozen")  # type: ignore[arg-type]


class Positions(ImageEncoder):
    """A map of stride 8 that holds where each of its cells is in the image: (u, v) of its centre."""

    channels, stride, frozen = 2, 8, True

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2] // 8, images.shape[3] // 8
        v, u = torch.meshgrid(torch.arange(height) * 8 + 4.0, torch.arange(width) * 8 + 4.0, indexing="ij")
        return torch.stack([u, v]).repeat(len(images), 1, 1, 1)


def projected(sweep: Sweep, camera: Camera, points: NDArray) -> tuple[NDArray, NDArray]:
    """(M, 2) pixels in an image scaled to the width of `SIZE` whose top is cut off, and who lies inside."""
    inside = points[:, :3].astype(np.float64) @ cam_SE3_lidar(sweep, camera)[:3, :3].T
    inside += cam_SE3_lidar(sweep, camera)[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        uv = (inside @ camera.intrinsics.T)[:, :2] / inside[:, 2:]
    scale = SIZE[1] / camera.size[0]
    uv = uv * scale - [0, camera.size[1] * scale - SIZE[0]]
    return uv, (inside[:, 2] > 0.5) & (uv >= 0).all(axis=1) & (uv < SIZE[::-1]).all(axis=1)


def test_the_teachers_feature_of_a_point_is_bilinear_at_its_pixel(data: ProbeData) -> None:
    found = of_teacher(data, Positions(), FrameConfig(image_size=SIZE))
    expected, cameras = [], []
    for number, token in enumerate(data.tokens):
        sweep = data.index[data.index.row_of(token)]
        points = cloud(data, number)[data.rows[number]]
        pixels = [projected(sweep, camera, points) for camera in sweep.cameras]
        inside = np.stack([mask for _, mask in pixels])
        # Beyond the centres of the outermost cells the border value holds.
        low, high = [4, 4], [SIZE[1] - 4, SIZE[0] - 4]
        clipped = np.stack([np.clip(uv, low, high) for uv, _ in pixels])
        total = np.where(inside[:, :, None], clipped, 0).sum(axis=0)
        expected.append(total / np.maximum(inside.sum(axis=0), 1)[:, None])
        cameras.append(inside.sum(axis=0))
    truth, seen_by = np.concatenate(expected), np.concatenate(cameras)
    assert 20 < found.seen.sum() < len(data)
    assert (seen_by[found.seen] > 0).all()  # fewer are seen than project: some are hidden
    assert found.seen.sum() > 0.7 * (seen_by > 0).sum()
    sure = found.seen & (seen_by == 1)
    np.testing.assert_allclose(found.values[sure], truth[sure], atol=0.02)
    assert not found.values[~found.seen].any()


def test_a_point_of_several_cameras_has_their_mean(data: ProbeData) -> None:
    index = data.index
    every = draw_points(index, data.tokens[:1], 4000)
    sweep = index[index.row_of(data.tokens[0])]
    points = load_sweep(sweep)[every.rows[0]]
    frames = [FrameConfig(image_size=SIZE, cameras=(camera.name,)) for camera in sweep.cameras]
    single = [of_teacher(every, Positions(), config) for config in frames]
    together = of_teacher(every, Positions(), FrameConfig(image_size=SIZE))
    count = np.sum([one.seen for one in single], axis=0)
    assert (count > 1).any()
    np.testing.assert_array_equal(together.seen, count > 0)
    mean = np.sum([one.values for one in single], axis=0) / np.maximum(count, 1)[:, None]
    np.testing.assert_allclose(together.values, mean, rtol=1e-5)
    assert len(points) == len(every)
