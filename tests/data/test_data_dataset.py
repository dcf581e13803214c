"""Samples and batches: what is asked for, in one numbering, the same whatever the workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pc3d.data.batch import ID_KINDS, Batch, Needs
from pc3d.data.classes import load_class_set
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameDataset
from pc3d.data.errors import DataError
from pc3d.data.frames import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.labels import load_label_file
from pc3d.data.points import load_points
from pc3d.data.region_cache import RegionCache
from pc3d.data.transforms import CALICO_AUGMENTATION, PointAugmentation, PointFilter, make_view

NUSCENES = load_class_set("nuscenes")

EVERYTHING = Needs(
    views=2,
    images=True,
    neighbour_images=True,
    superpixels=True,
    semantics=True,
    regions=True,
    supervoxels=True,
    objects=True,
    tracks=True,
    labels=True,
    boxes=True,
    frames=("t", "t-1", "t+1", "dense"),
)
CONFIG = FrameConfig(
    num_cameras=1,
    image_size=(36, 80),
    image_flip=0.5,
    augmentation=(CALICO_AUGMENTATION,),
    points=PointFilter(max_points=300),
)


@pytest.fixture(scope="session")
def caches(drive: SweepIndex, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RegionCache]:
    """Regions are row // 50 - 1, tracks row // 40 - 1 (one more in "t+1"); superpixels are blocks of 10."""
    folder = tmp_path_factory.mktemp("cache")
    caches = {name: RegionCache(folder, kind, {}) for name, kind in ID_KINDS.items()}
    blocks = (np.arange(90)[:, None] // 10 * 16 + np.arange(160)[None] // 10).astype(np.int16)
    for row in drive.key_rows():
        sweep = drive[int(row)]
        for name in ("regions", "supervoxels", "objects"):
            caches[name].save(sweep.token, (np.arange(400) // 50 - 1).astype(np.int16))
        for name in ("superpixels", "semantics"):
            caches[name].save(sweep.token, {camera.name: blocks for camera in sweep.cameras})
        of_both = {"track": np.arange(400) // 40 - 1, "moving": np.arange(400) // 200}
        caches["tracks"].save(
            sweep.token,
            {
                f"{name}_{when}": (ids + (when == "next")).astype(np.int16)
                for name, ids in of_both.items()
                for when in ("now", "next")
            },
        )
    return caches


def make(drive: SweepIndex, caches: dict[str, RegionCache], config: FrameConfig = CONFIG) -> FrameDataset:
    return FrameDataset(drive, EVERYTHING, split="train", config=config, seed=3, caches=caches)


def tensors(value: object, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from tensors(item, f"{name}.{key}")
    elif is_dataclass(value):
        for field in fields(value):
            yield from tensors(getattr(value, field.name), f"{name}.{field.name}")


def assert_equal(a: Batch, b: Batch) -> None:
    assert a.tokens == b.tokens
    pairs = list(zip(tensors(a), tensors(b), strict=True))
    assert len(pairs) > 40
    for (name, x), (other, y) in pairs:
        assert name == other
        assert torch.equal(x, y), name


def test_workers_change_nothing(drive: SweepIndex, caches: dict[str, RegionCache]) -> None:
    data = make(drive, caches)
    here = list(DataLoader(data, batch_size=3, collate_fn=collate))
    there = list(DataLoader(data, batch_size=3, collate_fn=collate, num_workers=2))
    assert len(here) == len(there) == 2
    for a, b in zip(here, there, strict=True):
        assert_equal(a, b)


def test_epochs_differ_and_reach_running_workers(drive: SweepIndex, caches: dict[str, RegionCache]) -> None:
    data = make(drive, caches)
    loader = DataLoader(data, batch_size=6, collate_fn=collate, num_workers=1, persistent_workers=True)
    batches = []
    for epoch in (0, 1, 0):
        data.set_epoch(epoch)
        batches.append(next(iter(loader)))
    assert_equal(batches[0], batches[2])
    assert not torch.equal(batches[0].now.views["a"].lidar_SE3, batches[1].now.views["a"].lidar_SE3)
    assert_equal(collate([data[1, position] for position in range(6)]), batches[1])


def test_a_view_points_back_to_the_loaded_sweep(drive: SweepIndex, caches: dict[str, RegionCache]) -> None:
    data = make(drive, caches)
    batch = collate([data[0], data[4]])
    frame = batch.now
    assert batch.tokens == ["s0f0", "s1f3"]
    assert frame.num_points == 800
    loaded = np.concatenate([load_points(drive[drive.row_of(t)].path, "nuscenes") for t in batch.tokens])
    assert not torch.equal(frame.views["a"].points, frame.views["b"].points)
    for view in frame.views.values():
        assert len(view.points) == 600
        assert (view.row[1:] > view.row[:-1]).all()
        assert torch.equal(view.batch, frame.row_batch[view.row])
        original = torch.from_numpy(loaded)[view.row]
        homogeneous = torch.cat([original[:, :3], torch.ones(600, 1)], dim=1)
        expected = (view.lidar_SE3[view.batch] @ homogeneous[..., None])[:, :3, 0]
        torch.testing.assert_close(view.points[:, :3], expected, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(view.points[:, 3], original[:, 3])
    assert frame.regions is not None
    assert torch.equal(frame.regions, (torch.arange(400) // 50 - 1).repeat(2))
    labels = [
        load_label_file(drive[drive.row_of(t)].lidarseg_path or "", 400, NUSCENES) for t in batch.tokens
    ]
    assert frame.labels is not None
    assert frame.labels.tolist() == np.concatenate(labels).tolist()
    assert frame.boxes is not None
    np.testing.assert_array_equal(frame.boxes[1].centers, drive[drive.row_of("s1f3")].boxes.centers)  # type: ignore[union-attr]


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_pairs_intrinsics_and_superpixels_agree(
    drive: SweepIndex, caches: dict[str, RegionCache], flip: float
) -> None:
    data = make(drive, caches, FrameConfig(image_size=(36, 80), image_flip=flip))
    batch = collate([data[position] for position in range(4)])
    frame = batch.now
    pairs = frame.pairs
    assert pairs is not None
    assert frame.images is not None
    assert frame.superpixels is not None
    assert frame.intrinsics is not None
    assert frame.cam_SE3_lidar is not None
    assert frame.images.shape == (4, 2, 3, 36, 80)
    assert frame.images.is_contiguous()
    assert frame.images.dtype == torch.uint8, "a quarter of the bytes of what the encoder reads"
    pictures = frame.pictures()
    assert torch.equal(pictures, frame.images.flatten(0, 1).float() / 255)
    assert 0 <= pictures.min() < 0.2 < 0.8 < pictures.max() <= 1
    assert len(pairs.row) > 100
    assert torch.equal(pairs.camera // 2, frame.row_batch[pairs.row])
    # The pose and the intrinsics of the batch project every paired point onto its pixel.
    points = np.concatenate([load_points(drive[drive.row_of(t)].path, "nuscenes") for t in batch.tokens])
    homogeneous = torch.cat([torch.from_numpy(points[:, :3]), torch.ones(1600, 1)], dim=1)[pairs.row]
    cam = (frame.cam_SE3_lidar.flatten(0, 1)[pairs.camera] @ homogeneous[..., None])[:, :3]
    pixel = (frame.intrinsics.flatten(0, 1)[pairs.camera] @ cam)[..., 0]
    torch.testing.assert_close(pixel[:, :2] / pixel[:, 2:], pairs.uv, atol=2e-3, rtol=0)
    assert (frame.intrinsics[..., 0, 0] < 0).all() == bool(flip)
    # The block of the superpixel map under a pair is that of the original pixel.
    u, v = pairs.uv.floor().long().T
    found = frame.superpixels.flatten(0, 1)[pairs.camera, v, u]
    source_u = ((80 - pairs.uv[:, 0]) if flip else pairs.uv[:, 0]) * 2
    source_v = (pairs.uv[:, 1] + 9) * 2
    inside = ((source_u % 10 - 5).abs() < 3) & ((source_v % 10 - 5).abs() < 3)
    assert inside.sum() > 10
    expected = (source_v // 10 * 16 + source_u // 10).long()
    assert torch.equal(found[inside], expected[inside])


def test_neighbours_share_cameras_and_the_ends_stand_in(
    drive: SweepIndex, caches: dict[str, RegionCache]
) -> None:
    data = make(drive, caches)
    batch = collate([data[position] for position in range(3)])  # the key frames 0, 3, 6 of scene 0
    poses = [drive[row].world_SE3_ego @ drive[row].ego_SE3_lidar for row in (0, 3, 6)]
    for name, order in (("t", (0, 1, 2)), ("t-1", (0, 0, 1)), ("t+1", (1, 2, 2))):
        expected = np.stack([poses[number] for number in order])
        np.testing.assert_allclose(batch.frames[name].world_SE3_lidar.numpy(), expected)
    for sample in (data[0], data[1], data[2]):
        assert len({frame.draw.cameras for frame in sample.frames.values()}) == 1


def test_the_dense_frame_stands_in_the_key_frame(drive: SweepIndex, caches: dict[str, RegionCache]) -> None:
    data = make(drive, caches, FrameConfig(image_size=(36, 80)))
    batch = collate([data[0], data[1]])
    now, dense = batch.now, batch.frames["dense"]
    # The first key frame of a scene has nothing before it, the second two plain sweeps.
    assert torch.bincount(dense.row_batch).tolist() == [400, 1200]
    assert dense.images is now.images
    assert dense.superpixels is now.superpixels
    points = dense.views["a"].points[:, :3].double()
    key = now.views["a"].points[:, :3].double()
    torch.testing.assert_close(points[:800], key)
    sweep, earlier = drive[3], drive[2]
    other = load_points(earlier.path, "nuscenes")[:, :3]
    world = other @ (earlier.world_SE3_ego @ earlier.ego_SE3_lidar)[:3, :3].T
    world += (earlier.world_SE3_ego @ earlier.ego_SE3_lidar)[:3, 3]
    lidar = (np.linalg.inv(sweep.world_SE3_ego @ sweep.ego_SE3_lidar) @ np.c_[world, np.ones(400)].T).T[:, :3]
    np.testing.assert_allclose(points[800:1200].numpy(), lidar, atol=1e-4)


def test_only_what_is_needed_is_read(drive: SweepIndex, tmp_path: Path) -> None:
    data = FrameDataset(drive, Needs(), rows=[3])
    frame = collate([data[0]]).now
    for name in ("images", "camera_mask", "pairs", "superpixels", "regions", "labels", "boxes", "intrinsics"):
        assert getattr(frame, name) is None
    assert list(frame.views) == ["a"]
    assert torch.equal(frame.views["a"].lidar_SE3[0], torch.eye(4))


def test_a_missing_camera_is_black(drive: SweepIndex) -> None:
    config = FrameConfig(cameras=("FRONT", "BACK"), image_size=(36, 80))
    frame = collate([FrameDataset(drive, Needs(images=True), rows=[0], config=config)[0]]).now
    assert frame.camera_mask is not None
    assert frame.images is not None
    assert frame.camera_mask.tolist() == [[True, False]]
    assert frame.images[0, 1].max() == 0
    assert frame.pairs is not None
    assert set(frame.pairs.camera.tolist()) == {0}


def test_tokens_choose_and_wrong_ones_are_named(drive: SweepIndex, caches: dict[str, RegionCache]) -> None:
    data = FrameDataset(drive, Needs(), tokens=["s2f6", "s0f3"])
    assert [sample.token for sample in (data[0], data[1])] == ["s2f6", "s0f3"]
    assert data[0].meta["scene"] == "scene-2"
    with pytest.raises(DataError, match="nobody"):
        FrameDataset(drive, Needs(), tokens=["nobody"])
    with pytest.raises(DataError, match="no key frame"):
        FrameDataset(drive, Needs(), rows=[1])[0]
    with pytest.raises(ValueError, match="exactly one"):
        FrameDataset(drive, Needs())
    with pytest.raises(ValueError, match="need regions"):
        FrameDataset(drive, Needs(regions=True), split="train")
    with pytest.raises(ValueError, match="unknown frames"):
        FrameDataset(drive, Needs(frames=("t", "t+9")), split="train")
    with pytest.raises(DataError, match="no feature 'ring9'"):
        FrameDataset(drive, Needs(), rows=[0], config=FrameConfig(features=("ring9",)))[0]


def test_tracks_join_the_two_frames_of_a_sample(drive: SweepIndex, caches: dict[str, RegionCache]) -> None:
    sample = make(drive, caches)[0]
    now, following = sample.frames["t"], sample.frames["t+1"]
    np.testing.assert_array_equal(now.tracks, np.arange(400) // 40 - 1)
    np.testing.assert_array_equal(following.tracks, np.arange(400) // 40)
    assert now.moving is not None
    assert now.moving.dtype == np.bool_
    assert now.moving.sum() == 200
    assert sample.frames["t-1"].tracks is None
    assert set(following.views) == {"a"}
    assert following.regions is None


def test_regions_of_another_sweep_are_refused(drive: SweepIndex, tmp_path: Path) -> None:
    cache = RegionCache(tmp_path, "clusters", {})
    cache.save("s0f0", np.zeros(7, np.int16))
    with pytest.raises(DataError, match=r"\(7,\) for 400 points of sweep s0f0"):
        FrameDataset(drive, Needs(regions=True), rows=[0], caches={"regions": cache})[0]


def test_augmentations_stay_in_their_range() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(500, 4)).astype(np.float32) * 20
    augmentation = PointAugmentation(rotation=(-0.5, 0.5), scale=(0.9, 1.1), flip=0.5, crop=0.4)
    chosen = PointFilter(point_range=(-10, -10, -5, 30, 30, 5))
    mirrored = 0
    for _ in range(50):
        view = make_view(points, augmentation, chosen, rng)
        matrix = view.view_T_lidar[:3, :3]
        scale = np.cbrt(abs(np.linalg.det(matrix)))
        assert 0.9 <= scale <= 1.1
        mirrored += np.linalg.det(matrix) < 0
        inside = ((points[:, :3] >= [-10, -10, -5]) & (points[:, :3] < [30, 30, 5])).all(axis=1)
        assert inside[view.row].all()
        assert len(view.row) == round(0.4 * inside.sum())
    assert 10 < mirrored < 40
    turned = make_view(points, PointAugmentation(flip=0.0, scale=(1, 1)), PointFilter(), rng)
    angle = np.arctan2(turned.view_T_lidar[1, 0], turned.view_T_lidar[0, 0])
    assert abs(angle) <= np.pi / 2
    np.testing.assert_allclose(
        np.linalg.norm(turned.points[:, :3], axis=1), np.linalg.norm(points[:, :3], axis=1), rtol=1e-5
    )


def test_a_batch_of_one_kind_only(drive: SweepIndex, caches: dict[str, RegionCache]) -> None:
    with pytest.raises(ValueError, match="no samples"):
        collate([])
    one = FrameDataset(drive, Needs(), rows=[0])[0]
    two = FrameDataset(drive, Needs(frames=("t", "t+1")), rows=[0])[0]
    with pytest.raises(ValueError, match="same frames"):
        collate([one, two])
