"""LSS, pairs and images of cameras whose lens bends: all see a point in the same place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pc3d.data.batch import Batch, FrameBatch, Needs
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameDataset
from pc3d.data.frames import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.pairing import PairingConfig, pair_camera
from pc3d.data.points import load_points
from pc3d.data.records import Camera, Sweep
from pc3d.data.transforms import PointAugmentation
from pc3d.geometry.camera import in_image, project, unproject
from pc3d.geometry.grid import BevGrid
from pc3d.geometry.lens import Lens
from pc3d.geometry.rigid import make_SE3, transform_points
from pc3d.models.bev import build_view_transform
from pc3d.models.bev.camera_map import camera_map
from pc3d.models.bev.frustum import frustum_cells, frustum_points
from pc3d.models.image.base import ImageEncoder

WIDE = 160.0
"""Degrees across the width of the images that are rendered anew."""
LENSES = {
    "brown": Lens("brown", (-0.3, 0.08, 0.001, -0.002, 0.0)),
    "rational": Lens("rational", (0.5, 0.2, 0.001, 0.0005, 0.03, 0.9, 0.4, 0.05)),
    "fisheye": Lens("fisheye", (-0.03, 0.004, -0.001, 0.0)),
    "mei": Lens("mei", (1.5, -0.05, 0.1, 0.0005, 0.001)),
}
each_lens = pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
DEPTHS = torch.arange(40) * 1.5 + 1.75
FEATURES, IMAGE = (9, 16), (144, 256)


class Features(ImageEncoder):
    """Only its width is read."""

    channels, stride, frozen = 4, 16, False

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the view transform reads features, not the encoder")


def lens_tensor(*lenses: Lens) -> torch.Tensor:
    return torch.tensor([lens.row for lens in lenses], dtype=torch.float64)


# ---------------------------------------------------------------- the frustum


@each_lens
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), mirrored=st.booleans())
def test_the_points_of_a_cell_are_seen_at_its_middle(lens: Lens, seed: int, mirrored: bool) -> None:
    rng = np.random.default_rng(seed)
    focal = rng.uniform(60, 120) / lens.magnification
    K = np.array([[focal, 0, 130], [0, focal, 70], [0, 0, 1]])
    if mirrored:
        K = np.array([[-1.0, 0, IMAGE[1]], [0, 1, 0], [0, 0, 1]]) @ K
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    cam_SE3_lidar = make_SE3(rotation * np.linalg.det(rotation), rng.uniform(-2, 2, 3))
    x, y, z = frustum_points(
        torch.from_numpy(K).float()[None],
        torch.from_numpy(cam_SE3_lidar)[None],
        DEPTHS.double(),
        FEATURES,
        IMAGE,
        lens_tensor(lens),
    )
    points = torch.stack((x, y, z), dim=-1)[0].reshape(-1, 3).numpy()
    uv, depth = project(transform_points(cam_SE3_lidar, points), np.float64(np.float32(K)), lens)
    v, u = np.meshgrid(np.arange(9) * 16 + 8.0, np.arange(16) * 16 + 8.0, indexing="ij")
    middle = np.stack([u, v], axis=-1).reshape(-1, 2)
    rays = unproject(middle, K, lens)
    with np.errstate(invalid="ignore"):
        seen = np.hypot(rays[:, 0], rays[:, 1]) < 11.4
    assert seen.any()
    shown = np.tile(seen, len(DEPTHS))
    np.testing.assert_array_equal(np.isfinite(points), np.repeat(shown[:, None], 3, axis=1))
    np.testing.assert_allclose(uv[shown], np.tile(middle, (len(DEPTHS), 1))[shown], atol=1e-4)
    np.testing.assert_allclose(depth[shown], np.repeat(DEPTHS.numpy(), len(seen))[shown], rtol=1e-9)


def test_what_no_ray_reaches_is_in_no_cell() -> None:
    """The corners of a fisheye's image lie outside of its circle."""
    K = torch.tensor([[[40.0, 0, 128], [0, 40, 72], [0, 0, 1]]])
    pose = torch.from_numpy(make_SE3(np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), np.zeros(3)))[None]
    points = frustum_points(K, pose, DEPTHS, FEATURES, IMAGE, lens_tensor(Lens("fisheye", (0.0,) * 4)))
    cells = frustum_cells(points, BevGrid(), (-200.0, 200.0))[0]
    v, u = np.meshgrid(np.arange(9) * 16 + 8.0, np.arange(16) * 16 + 8.0, indexing="ij")
    outside = np.hypot(u - 128, v - 72) / 40 > np.radians(85.1)
    assert (cells[:, outside] == -1).all()
    assert (cells[0, ~outside] >= 0).all()


def test_pinholes_beside_a_fisheye_are_as_they_are_alone() -> None:
    K = torch.tensor([[[100.0, 0, 128], [0, 100, 72], [0, 0, 1]]]).expand(2, 3, 3)
    pose = torch.from_numpy(make_SE3(np.eye(3), [1.0, 2, 3])).expand(2, 4, 4)
    alone = frustum_points(K, pose, DEPTHS, FEATURES, IMAGE)
    beside = frustum_points(K, pose, DEPTHS, FEATURES, IMAGE, lens_tensor(Lens(), LENSES["fisheye"]))
    for axis, (one, other) in enumerate(zip(alone, beside, strict=True)):
        torch.testing.assert_close(other[0], one[0], rtol=1e-6, atol=1e-6)
        same = torch.allclose(other[1], one[1], rtol=1e-5)
        assert same == (axis == 2)  # the depth along the axis is that of the bin


# ---------------------------------------------------------------- a key frame, rendered anew


def rendered(camera: Camera, lens: Lens, folder: Path) -> Camera:
    """The camera with another lens, and its image taken through it (black where the old one saw nothing)."""
    width, height = camera.size
    half = np.tan(np.radians(WIDE / 4)) * 1.2
    focal = width / 2 / lens.bend(np.array([[half, 0.0]]))[0, 0]
    K = np.array([[focal, 0, width / 2 + 3], [0, focal, height / 2 - 2], [0, 0, 1]])
    v, u = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    rays = unproject(np.column_stack([u.ravel(), v.ravel()]), K, lens)
    uv, _ = project(rays, camera.intrinsics)
    seen = in_image(uv, camera.size)
    pixels = np.zeros((height * width, 3), np.uint8)
    col, row = uv[seen].astype(int).T
    pixels[seen] = np.asarray(Image.open(camera.path).convert("RGB"))[row, col]
    path = folder / f"{camera.name}.png"
    Image.fromarray(pixels.reshape(height, width, 3)).save(path)
    return replace(camera, path=path, intrinsics=K, distortion=lens.coefficients, model=lens.model)


class Rendered(SweepIndex):
    """An index in which the front camera has another lens."""

    def __init__(self, folder: Path, lens: Lens, images: Path) -> None:
        index = SweepIndex.open(folder)
        super().__init__(index.folder, index.root, index.metadata, 4)
        self.lens, self.images = lens, images

    def __getitem__(self, row: int) -> Sweep:
        sweep = super().__getitem__(row)
        return replace(
            sweep,
            cameras=tuple(
                rendered(camera, self.lens, self.images) if camera.name == "CAM_FRONT" else camera
                for camera in sweep.cameras
            ),
        )


def loaded(index: SweepIndex, flip: bool) -> Batch:
    config = FrameConfig(
        cameras=("CAM_BACK", "CAM_FRONT"),
        num_cameras=2,
        image_size=(180, 320),
        image_flip=float(flip),
        augmentation=(PointAugmentation(),),
        pairing=replace(PairingConfig(), occlusion=False),
    )
    return collate(
        [FrameDataset(index, Needs(images=True), rows=[int(index.key_rows()[0])], config=config)[0]]
    )


def seen_points(frame: FrameBatch, camera: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Positions in the view, pixels and depths of the pairs of a camera."""
    assert frame.pairs is not None
    assert frame.cam_SE3_lidar is not None
    view, mine = frame.views["a"], frame.pairs.camera == camera
    index = view.index_of_row(frame.num_points)[frame.pairs.row[mine]]
    xyz = view.points[index[index >= 0], :3].double()
    pose = (frame.cam_SE3_lidar[0, camera] @ torch.linalg.inv(view.lidar_SE3[0])).double()
    return xyz, frame.pairs.uv[mine][index >= 0].double(), xyz @ pose[2, :3] + pose[2, 3]


@each_lens
@pytest.mark.parametrize("flip", [False, True])
def test_pairs_and_lss_meet(lens: Lens, flip: bool, tiny_index: Path, tmp_path: Path) -> None:
    """The frustum point of a pair's pixel and depth is the LiDAR point."""
    frame = loaded(Rendered(tiny_index, lens, tmp_path), flip).now
    assert frame.lens is not None
    assert frame.lens.shape == (1, 2, 12)
    torch.testing.assert_close(frame.lens[0], lens_tensor(Lens(), lens))
    assert (float(frame.intrinsics[0, 1, 0, 0]) < 0) == flip
    for camera in (0, 1):
        xyz, uv, depth = seen_points(frame, camera)
        assert len(xyz) > 100
        pose = frame.cam_SE3_lidar[0, camera] @ torch.linalg.inv(frame.views["a"].lidar_SE3[0])
        x, y, z = frustum_points(
            frame.intrinsics[0, camera, None],
            pose[None],
            torch.tensor([1.0], dtype=torch.float64),
            (180, 320),
            (180, 320),
            frame.lens[0, camera, None],
        )
        one = torch.stack((x, y, z), dim=-1)[0, 0].double()  # the frustum at 1 m, for each pixel
        eye = torch.linalg.inv(pose.double())[:3, 3]
        col, row = uv.long().T
        there = eye + (one[row, col] - eye) * depth[:, None]
        # Half a pixel aside at most, which is the more metres the farther from the axis.
        step = (one[row, col] - one[row.clamp(min=1) - 1, col.clamp(min=1) - 1]).norm(dim=1)
        near = (there - xyz).norm(dim=1) <= 0.75 * step * depth + 1e-3
        assert near.double().mean() > 0.98


@each_lens
def test_the_colours_of_points_are_those_of_the_image_before(
    lens: Lens, tiny_index: Path, tmp_path: Path
) -> None:
    index = SweepIndex.open(tiny_index)
    sweep = index[int(index.key_rows()[0])]
    camera = next(camera for camera in sweep.cameras if camera.name == "CAM_FRONT")
    points = load_points(sweep.path, sweep.lidar_format)
    found = []
    for taken in (camera, rendered(camera, lens, tmp_path)):
        pairs = pair_camera(points, sweep, taken)
        col, row = pairs.uv.astype(int).T
        colours = np.asarray(Image.open(taken.path).convert("RGB")).astype(int)[row, col]
        found.append(dict(zip(pairs.row.tolist(), colours, strict=True)))
    both = found[0].keys() & found[1].keys()
    assert len(both) > 200
    change = np.array([np.abs(found[0][row] - found[1][row]).max() for row in both])
    shuffled = np.array([found[1][row] for row in both])[np.random.default_rng(0).permutation(len(both))]
    by_chance = np.abs(np.array([found[0][row] for row in both]) - shuffled).max(axis=1)
    assert (change <= 30).mean() > 0.85
    assert (change <= 30).mean() > (by_chance <= 30).mean() + 0.2


def test_the_camera_map_reads_the_lens_and_pinholes_have_none(tiny_index: Path, tmp_path: Path) -> None:
    plain = loaded(SweepIndex.open(tiny_index), False).now
    assert plain.lens is None
    bent = loaded(Rendered(tiny_index, LENSES["fisheye"], tmp_path), False).now
    torch.manual_seed(0)
    grid = {"x_min": -20.0, "x_max": 20.0, "y_min": -20.0, "y_max": 20.0, "cell": 1.0}
    config = {"type": "LSS", "grid": grid, "bev_channels": 3, "depth": (1.0, 25.0, 1.0)}
    model = build_view_transform(config, Features()).eval()
    features = torch.randn(2, 4, 12, 20)
    whole = camera_map(model, features, bent)
    assert whole.isfinite().all()
    assert not torch.allclose(whole, camera_map(model, features, replace(bent, lens=None)))
    bent.camera_mask[0, 1] = False
    bent.lens[0, 1] = torch.nan  # a missing camera may have any
    alone = camera_map(model, features, bent)
    assert alone.isfinite().all()
    pinhole = camera_map(model, features, replace(bent, lens=None))
    torch.testing.assert_close(alone, pinhole)
