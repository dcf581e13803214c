"""LSS: where a pixel lands, against the cameras of the geometry room and the real key frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pc3d.data.batch import Batch, FrameBatch, Needs, Pairs, PointView
from pc3d.data.build import build_index
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameDataset
from pc3d.data.frames import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.pairing import PairingConfig
from pc3d.data.transforms import PointAugmentation
from pc3d.geometry.camera import in_image, project
from pc3d.geometry.grid import BevGrid
from pc3d.geometry.rigid import make_SE3, transform_points, yaw_matrix
from pc3d.models.bev import LSS, build_view_transform, lidar_depth
from pc3d.models.image.base import ImageEncoder

IMAGE = (60, 100)
GRID = BevGrid(-30.0, 30.0, -20.0, 20.0, 1.0)
FORWARD = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # a camera that looks along +x


class Features(ImageEncoder):
    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.channels, self.stride, self.frozen = channels, 4, False

    def forward(self, images: Tensor) -> Tensor:
        raise AssertionError("the view transform reads features, not the encoder")


def lss(**changes: Any) -> LSS:
    config = {"type": "LSS", "grid": GRID, "bev_channels": 3, "depth": (1.0, 41.0, 0.25), **changes}
    return build_view_transform(config, Features())  # type: ignore[return-value]


def intrinsics(mirrored: bool = False) -> np.ndarray:
    K = np.array([[80.0, 0, 52], [0, 80, 28], [0, 0, 1]])
    return np.array([[-1.0, 0, IMAGE[1]], [0, 1, 0], [0, 0, 1]]) @ K if mirrored else K


def tensor(*arrays: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(arrays)).float()


# ---------------------------------------------------------------- where a pixel lands


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    col=st.integers(0, 59),
    row=st.integers(0, 39),
    z=st.floats(-1.5, 1.5),
    mirrored=st.booleans(),
    augmented=st.booleans(),
)
def test_a_pixel_lands_in_the_cell_of_its_point(
    seed: int, col: int, row: int, z: float, mirrored: bool, augmented: bool
) -> None:
    rng = np.random.default_rng(seed)
    view_T_lidar = PointAugmentation(flip=0.5).draw(rng) if augmented else np.eye(4)
    point = np.array([[col - 29.5, row - 19.5, z]])  # the middle of a cell of the view
    in_lidar = transform_points(np.linalg.inv(view_T_lidar), point)
    bearing = np.arctan2(in_lidar[0, 1], in_lidar[0, 0])
    heading = yaw_matrix(rng.uniform(-0.4, 0.4) - bearing)  # the camera looks roughly at the point
    cam_SE3_lidar = make_SE3(FORWARD @ heading, rng.uniform(-1, 1, 3))
    uv, depth = project(transform_points(cam_SE3_lidar, in_lidar), intrinsics(mirrored))
    assume(in_image(uv, IMAGE[::-1])[0] and 1 <= depth[0] < 41)

    model = lss()
    cam_SE3_view = cam_SE3_lidar @ np.linalg.inv(view_T_lidar)
    K, other = intrinsics(mirrored), make_SE3(FORWARD, np.ones(3))
    cells = model.cells(
        tensor(intrinsics(), K, K, K).view(2, 2, 3, 3),
        tensor(other, cam_SE3_view, cam_SE3_view, other).view(2, 2, 4, 4),
        torch.ones(2, 2, dtype=torch.bool),
        IMAGE,
        IMAGE,
    )
    probability, context = torch.zeros(4, 160, *IMAGE), torch.zeros(4, 3, *IMAGE)
    place = (int(uv[0, 1]), int(uv[0, 0]))
    for image in (1, 2):  # the second camera of the first sample, the first of the second
        probability[image, int((depth[0] - 1) / 0.25), place[0], place[1]] = 1
        context[image, :, place[0], place[1]] = torch.tensor([1.0, 2.0, 3.0]) * image
    expected = torch.zeros(2, 3, GRID.rows, GRID.cols)
    for sample in (0, 1):
        expected[sample, :, row, col] = torch.tensor([1.0, 2.0, 3.0]) * (sample + 1)
    assert torch.equal(model.pool(probability, context, cells), expected)


def test_a_feature_cell_stands_at_its_middle() -> None:
    """A cell of 20 x 20 pixels of a camera that looks along +x from the origin, by hand."""
    K = np.array([[50.0, 0, 50], [0, 50, 30], [0, 0, 1]])
    model = lss(depth=(10.0, 14.0, 2.0))
    mask = torch.ones(1, 1, dtype=torch.bool)
    cells = model.cells(tensor(K)[None], tensor(make_SE3(FORWARD, np.zeros(3)))[None], mask, (3, 5), IMAGE)
    assert cells.shape == (1, 1, 2, 3, 5)
    # Cell (1, 0): pixel centre (10, 30), depth bins at 11 and 13 m: y = (50 - 10) / 50 * depth.
    for k, (x, y) in enumerate([(11.0, 8.8), (13.0, 10.4)]):
        assert divmod(int(cells[0, 0, k, 1, 0]), GRID.cols) == (int(y + 20), int(x + 30))
    # Cell (0, 2): pixel centre (50, 10): z = 20 / 50 * 11 = 4.4 m, and 5.2 m.
    high = lss(depth=(10.0, 14.0, 2.0), z_range=(-5.0, 5.0)).cells(
        tensor(K)[None], tensor(make_SE3(FORWARD, np.zeros(3)))[None], mask, (3, 5), IMAGE
    )
    assert (high[0, 0, :, 0, 2] >= 0).tolist() == [True, False]


@pytest.fixture(scope="module")
def real_index(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> SweepIndex:
    folder = tmp_path_factory.mktemp("bev") / "index"
    return build_index("nuscenes", real_data / "nuscenes", folder, "the fixture", version="v1.0-mini")


def real_batch(index: SweepIndex, flip: bool, augmentation: PointAugmentation) -> Batch:
    config = FrameConfig(
        cameras=("CAM_FRONT",),
        num_cameras=1,
        image_size=(448, 800),
        image_flip=float(flip),
        augmentation=(augmentation,),
        pairing=replace(PairingConfig(), occlusion=False),
    )
    return collate([FrameDataset(index, Needs(images=True), rows=[0], config=config)[0]])


@pytest.mark.parametrize("flip", [False, True])
def test_the_points_of_the_real_front_camera_land_in_their_cells(real_index: SweepIndex, flip: bool) -> None:
    frame = real_batch(real_index, flip, PointAugmentation()).now
    view, grid = frame.views["a"], BevGrid()
    cam_SE3_view = frame.cam_SE3_lidar @ torch.linalg.inv(view.lidar_SE3)[:, None]
    assert (float(frame.intrinsics[0, 0, 0, 0]) < 0) == flip
    model = lss(grid=grid, depth=(1.0, 60.0, 0.5))
    cells = model.cells(frame.intrinsics, cam_SE3_view, frame.camera_mask, (112, 200), (448, 800))
    xyz = view.points[view.index_of_row(frame.num_points)[frame.pairs.row], :3].double()
    depth = (xyz @ cam_SE3_view[0, 0, :3, :3].double().T)[:, 2] + cam_SE3_view[0, 0, 2, 3]
    col, row = ((xyz[:, :2] + 54) / 0.6).floor().long().T
    bin_ = ((depth - 1) / 0.5).floor().long()
    told = (bin_ >= 0) & (bin_ < 118) & (col >= 0) & (col < 180) & (row >= 0) & (row < 180)
    told &= xyz[:, 2].abs() < 10
    x, y = (frame.pairs.uv[told] / 4).long().T
    landed = cells[0, 0, bin_[told], y, x]
    assert len(landed) > 2000
    near = (landed // 180 - row[told]).abs().maximum((landed % 180 - col[told]).abs()) <= 1
    assert (near & (landed >= 0)).double().mean() >= 0.99


# ---------------------------------------------------------------- the whole transform


def inputs(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[int, int]]:
    """Two samples with two cameras, one ahead and one behind."""
    poses = [make_SE3(FORWARD @ yaw_matrix(yaw), [0.0, 0, 0]) for yaw in (0.0, np.pi)]
    features = torch.randn(4, 6, 15, 25, generator=torch.Generator().manual_seed(seed))
    K = tensor(*[intrinsics()] * 4).view(2, 2, 3, 3)
    return features, K, tensor(*poses, *poses).view(2, 2, 4, 4), torch.ones(2, 2, dtype=torch.bool), IMAGE


def test_every_parameter_trains_and_the_map_has_the_grid() -> None:
    features, *geometry = inputs()
    model = lss(bev_channels=5)
    features.requires_grad_()
    bev = model(features, *geometry)
    assert (model.bev_channels, model.grid, model.reads_depth) == (5, GRID, False)
    assert bev.shape == (2, 5, GRID.rows, GRID.cols)
    bev.square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert features.grad.isfinite().all()
    assert features.grad.abs().amax((1, 2, 3)).min() > 0


def test_a_missing_camera_contributes_nothing() -> None:
    features, K, cam_SE3_lidar, mask, size = inputs()
    model = lss().eval()
    whole = model(features, K, cam_SE3_lidar, mask, size)
    mask[0, 1] = False
    K[0, 1], cam_SE3_lidar[0, 1] = 0.0, 0.0
    first = model(features, K, cam_SE3_lidar, mask, size)
    features[1] = 99.0
    assert torch.equal(model(features, K, cam_SE3_lidar, mask, size), first)
    assert torch.equal(first[1], whole[1])
    front, back = slice(33, None), slice(None, 27)  # two convolutions reach two cells
    assert torch.allclose(first[0, :, :, front], whole[0, :, :, front])
    assert not torch.allclose(first[0, :, :, back], whole[0, :, :, back])
    mask[:] = False
    empty = model(features, K, cam_SE3_lidar, mask, size)
    assert torch.equal(empty[0], empty[1])


def test_downsampling_pools_finer_cells_of_the_same_grid() -> None:
    features, *geometry = inputs()
    grid = BevGrid(-10.0, 10.4, -10.0, 10.0, 0.6)  # the cell divides neither side
    model = lss(grid=grid, downsample=2)
    assert model(features, *geometry).shape == (2, 3, grid.rows, grid.cols)
    cells = model.cells(*geometry[:3], (15, 25), IMAGE)
    pooled = model.pool(torch.rand(4, 160, 15, 25), torch.rand(4, 3, 15, 25), cells)
    assert pooled.shape == (2, 3, 2 * grid.rows, 2 * grid.cols)
    assert pooled[..., -1].abs().sum() > 0  # the camera ahead reaches the far side


def test_lidar_depth_is_read() -> None:
    features, *geometry = inputs()
    model = lss(lidar_depth=True)
    assert model.reads_depth
    depth = torch.rand(4, 1, 15, 25) * 30
    model(features, *geometry, depth).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    model.eval()
    assert not torch.equal(model(features, *geometry, depth), model(features, *geometry, depth * 0))
    with pytest.raises(ValueError, match=r"reads `depth`: give it pc3d\.models\.bev\.lidar_depth"):
        model(features, *geometry)


def test_mistakes_in_the_configuration_are_named() -> None:
    with pytest.raises(ValueError, match="unknown view transform type 'BEVFormer'; known: LSS"):
        build_view_transform({"type": "BEVFormer"}, Features())
    with pytest.raises(ValueError, match=r"LSS has no argument channels; .*known: image, grid"):
        lss(channels=3)
    grid = {"x_min": -5.0, "x_max": 5.0, "y_min": -5.0, "y_max": 5.0, "cell": 0.5}
    assert lss(grid=grid).grid == BevGrid(-5.0, 5.0, -5.0, 5.0, 0.5)
    for wrong in (
        {"depth": (0.0, 10.0, 1.0)},
        {"depth": (5.0, 4.0, 0.5)},
        {"z_range": (1, 1)},
        {"downsample": 0},
    ):
        with pytest.raises(ValueError, match="must be"):
            lss(**wrong)


# ---------------------------------------------------------------- depth from the LiDAR


def test_lidar_depth_is_the_nearest_point_of_each_cell() -> None:
    g = torch.Generator().manual_seed(0)
    batch, cameras, rows, (h, w) = 2, 3, 80, (4, 6)
    points = torch.rand(rows, 4, generator=g) * 20 - 10
    sample = torch.arange(rows) // 40
    kept = torch.rand(rows, generator=g) < 0.8
    view_T_lidar = [PointAugmentation().draw(np.random.default_rng(b)) for b in range(batch)]
    moved = points.clone()
    for b in range(batch):
        moved[sample == b] = torch.from_numpy(
            transform_points(view_T_lidar[b], points[sample == b].double().numpy())
        ).float()
    poses = tensor(*[make_SE3(FORWARD @ yaw_matrix(i), [0.0, 0.0, 20.0]) for i in range(6)])
    row = torch.randint(rows, (300,), generator=g)
    camera = sample[row] * cameras + torch.randint(cameras, (300,), generator=g)
    uv = torch.rand(300, 2, generator=g) * torch.tensor([120.0, 60.0])
    frame = FrameBatch(
        views={
            "a": PointView(moved[kept], sample[kept], torch.arange(rows)[kept], tensor(*view_T_lidar), batch)
        },
        num_points=rows,
        row_batch=sample,
        world_SE3_lidar=torch.eye(4).expand(batch, 4, 4),
        images=torch.zeros(batch, cameras, 3, 60, 120),
        pairs=Pairs(row, camera, uv),
        cam_SE3_lidar=poses.view(batch, cameras, 4, 4),
    )
    expected = np.zeros((batch * cameras, 1, h, w))
    for r, c, (u, v) in zip(row.tolist(), camera.tolist(), uv.tolist(), strict=True):
        if not kept[r]:
            continue
        depth = (poses[c].double().numpy() @ [*points[r, :3].double().tolist(), 1.0])[2]
        cell = expected[c, 0, int(v / 15) :, int(u / 20) :]
        cell[0, 0] = depth if cell[0, 0] == 0 else min(cell[0, 0], depth)
    depth = lidar_depth(frame, (h, w))
    assert depth.dtype == torch.float32
    np.testing.assert_allclose(depth.numpy(), expected, atol=1e-4)
    with pytest.raises(ValueError, match="ask for them"):
        lidar_depth(replace(frame, images=None), (h, w))


def test_lidar_depth_of_the_real_front_camera(real_index: SweepIndex) -> None:
    plain, moved = (
        lidar_depth(real_batch(real_index, False, augmentation).now, (112, 200))
        for augmentation in (PointAugmentation((0, 0), (1, 1), 0.0), PointAugmentation())
    )
    torch.testing.assert_close(plain, moved, rtol=1e-4, atol=1e-3)  # the same depths, whatever the view
    assert 0.05 < (plain > 0).double().mean() < 0.5
    assert plain[plain > 0].min() > 1
    assert plain.max() < 110
    below, above = plain[..., 80:, :], plain[..., 40:60, :]  # the road before the car, the horizon
    assert below[below > 0].mean() < above[above > 0].mean()
