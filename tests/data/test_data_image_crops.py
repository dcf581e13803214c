"""Stretched images, parts of them, boxes left out of clouds: pixels, ids and pairs stay together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.data.batch import Needs
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameDataset
from pc3d.data.frames import FrameConfig
from pc3d.data.image_crops import ImageCrop
from pc3d.data.images import ImageMap, load_image, resize_and_crop, stretch
from pc3d.data.index import SweepIndex
from pc3d.data.pairing import pair_camera
from pc3d.data.points import load_points
from pc3d.data.transforms import (
    NO_AUGMENTATION,
    PointAugmentation,
    PointFilter,
    make_view,
    without_cuboid,
)
from pc3d.engine.data import frame_config, frame_settings

CROP = ImageCrop(min_pairs=20, min_share=0.5)
CROPPED = FrameConfig(image_size=(36, 80), image_flip=0.5, resize="stretch", image_crop=CROP)


def numbers(w: int, h: int) -> np.ndarray:
    """An id map in which every pixel has its own id."""
    return np.arange(w * h).reshape(h, w)


@settings(deadline=None, max_examples=60)
@given(st.integers(20, 300), st.integers(20, 300), st.integers(8, 64), st.integers(8, 64), st.data())
def test_every_pixel_of_a_part_is_the_pixel_of_the_same_content(
    w: int, h: int, height: int, width: int, data: st.DataObject
) -> None:
    flip = data.draw(st.booleans())
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    box = data.draw(st.sampled_from([None, CROP.draw((w, h), np.zeros((0, 2)), rng), CROP._box((w, h), rng)]))
    image_map = stretch((w, h), height, width, flip, box)
    left, top, part_w, part_h = image_map.part
    uv = rng.uniform((left, top), (left + part_w, top + part_h), (40, 2))
    mapped = image_map.uv(uv)
    assert ((mapped >= -1e-9) & (mapped <= [width + 1e-9, height + 1e-9])).all()
    # The id at the pixel is that of a source pixel within half a pixel of the result and half of the source.
    column, line = np.minimum(mapped.astype(int), [width - 1, height - 1]).T
    found = image_map.ids(numbers(w, h))[line, column]
    source = np.stack([found % w + 0.5, found // w + 0.5], axis=1)
    assert (np.abs(source - uv) <= 0.5 / image_map.scale + 0.5 + 1e-6).all()
    # Rays through the new intrinsics meet the same pixels.
    K = np.array([[w * 0.8, 0, w / 2.1], [0, w * 0.7, h / 1.9], [0, 0, 1]])
    rays = np.column_stack([uv, np.ones(40)]) @ np.linalg.inv(K).T
    seen = rays @ image_map.intrinsics(K).T
    np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], mapped, atol=1e-6)


def test_colours_follow_a_part_at_any_resolution() -> None:
    """A ramp in x and y tells where a colour came from, to a pixel; so at half the resolution."""
    y, x = np.mgrid[:200, :250]
    rgb = np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)
    half = rgb.reshape(100, 2, 125, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    for box in (None, (31, 40, 150, 90), (0, 0, 60, 200)):
        for flip in (False, True):
            image_map = stretch((250, 200), 64, 96, flip, box)
            left, top, width, height = image_map.part
            uv = np.random.default_rng(1).uniform(
                (left + 4, top + 4), (left + width - 4, top + height - 4), (60, 2)
            )
            column, line = image_map.uv(uv).astype(int).T
            for source in (rgb, half):
                colour = image_map.image(source)[line, column, :2].astype(float) + 0.5
                assert (np.abs(colour - uv) <= 0.5 / image_map.scale + 1.5).all()
    assert stretch((1600, 900), 224, 416) == ImageMap((1600, 900), (416, 224), (0, 0), (416, 224))
    assert stretch((1600, 900), 224, 416, box=(0, 0, 800, 450)).enough == (832, 448)
    assert resize_and_crop((1600, 900), 224, 416).enough == (416, 234)


def test_parts_have_the_area_and_the_shape_that_are_asked_for() -> None:
    rng = np.random.default_rng(0)
    size, crop = (1600, 900), ImageCrop()
    boxes = np.array([crop.draw(size, rng.uniform((0, 0), size, (4000, 2)), rng) for _ in range(400)])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= size).all()
    shares, ratios = boxes[:, 2] * boxes[:, 3] / (1600 * 900), boxes[:, 2] / boxes[:, 3]
    assert shares.min() > 0.29
    assert 0.4 < shares.mean() < 0.75
    assert 14 / 9 - 0.01 < ratios.min() < 1.6
    assert 1.83 < ratios.max() < 17 / 9 + 0.01
    # A tall image holds no such part of this size: the middle, as torchvision takes it.
    tall = replace(crop, scale=(1.0, 1.0))._box((90, 160), rng)
    assert tall == (0, 51, 90, 58)


def test_a_part_keeps_pairs_or_the_whole_image_is_taken() -> None:
    rng = np.random.default_rng(0)
    size = (160, 90)
    corner = np.tile([[5.0, 85.0]], (2000, 1))
    for _ in range(20):
        left, top, width, height = ImageCrop().draw(size, corner, rng)
        assert left <= 5 < left + width
        assert top <= 85 < top + height
    spread = np.random.default_rng(1).uniform((0, 0), size, (100, 2))
    strict = ImageCrop(min_pairs=1000, min_share=0.75, scale=(0.3, 0.4))
    assert strict.draw(size, spread, rng) == (0, 0, 160, 90)
    assert strict.draw(size, np.zeros((0, 2)), rng) == (0, 0, 160, 90)


def test_samples_with_parts_are_whole(drive: SweepIndex) -> None:
    """Each pair lies where the intrinsics project its point, within the part that was drawn."""
    needs = Needs(images=True, neighbour_images=True, frames=("t", "t+1", "dense"))
    data = FrameDataset(drive, needs, split="train", config=CROPPED, seed=3)
    whole = FrameDataset(drive, needs, split="train", config=replace(CROPPED, image_crop=None), seed=3)
    parts = set()
    for position in range(len(data)):
        sample, other = data[position], whole[position]
        for name, frame in sample.frames.items():
            assert frame.pairs is not None
            assert frame.images is not None
            points = frame.views["a"].points[:, :3]
            where = np.full(frame.num_points, -1)
            where[frame.views["a"].row] = np.arange(len(points))
            for number in range(len(frame.draw.cameras)):
                of_camera = frame.pairs.camera == number
                xyz = points[where[frame.pairs.row[of_camera]]]
                pose = frame.images.cam_SE3_lidar[number]
                seen = (xyz @ pose[:3, :3].T + pose[:3, 3]) @ frame.images.intrinsics[number].T
                np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], frame.pairs.uv[of_camera], atol=1e-3)
            whole_pairs = other.frames[name].pairs
            assert whole_pairs is not None
            assert 0 < len(frame.pairs.row) <= len(whole_pairs.row)
            parts |= set(frame.draw.boxes.values())
        assert sample.frames["dense"].draw is sample.frames["t"].draw
    assert len(parts) > 10
    again = data[0].frames["t"]
    assert again.draw == data[0].frames["t"].draw
    assert data[1, 0].frames["t"].draw != again.draw
    collate([data[0], data[1]])


def test_a_part_of_a_picture_shows_what_its_pairs_are(drive: SweepIndex) -> None:
    data = FrameDataset(drive, Needs(images=True), split="train", config=CROPPED, seed=3)
    sweep = drive[int(drive.key_rows("train")[0])]
    frame = data[0].frames["t"]
    assert frame.pairs is not None
    assert frame.images is not None
    assert frame.images.rgb is not None
    points = load_points(sweep.path, "nuscenes")
    for number, camera in enumerate(sweep.cameras):
        source = load_image(camera.path).astype(float)
        pairs = pair_camera(points, sweep, camera)
        uv = {int(row): at for row, at in zip(pairs.row, pairs.uv, strict=True)}
        of_camera = np.flatnonzero(frame.pairs.camera == number)
        scale = np.array([80, 36]) / frame.draw.boxes[camera.name][2:]
        errors = []
        for pair in of_camera:
            column, line = frame.pairs.uv[pair].astype(int)
            at = uv[int(frame.pairs.row[pair])]
            low, high = (
                np.floor(at - 1 / scale - 1).clip(0).astype(int),
                np.ceil(at + 1 / scale + 1).astype(int),
            )
            patch = source[low[1] : high[1], low[0] : high[0]].reshape(-1, 3)
            colour = frame.images.rgb[number, line, column]
            errors.append(np.maximum(patch.min(0) - colour, colour - patch.max(0)).max())
        assert len(errors) > 5
        assert max(errors) <= 6  # within the colours around the projection


def test_settings_of_the_config() -> None:
    data = {"resize": "stretch", "image_crop": {"scale": (0.5, 1.0)}, "image_size": (36, 80)}
    config = frame_config(data)
    assert config.image_crop == ImageCrop(scale=(0.5, 1.0))
    assert frame_config(frame_settings(data)) == FrameConfig(resize="stretch", image_size=(36, 80))
    with pytest.raises(ValueError, match="unknown resize 'fit'; known: crop, stretch"):
        frame_config({"resize": "fit"})
    with pytest.raises(ValueError, match="set `resize` to stretch"):
        frame_config({"image_crop": {}})
    for wrong in ({"scale": (0.0, 1.0)}, {"ratio": (2.0, 1.0)}, {"tries": 0}, {"min_share": 2}):
        with pytest.raises(ValueError, match="must be"):
            ImageCrop(**wrong)


# ---------------------------------------------------------------- cuboids


def test_a_cuboid_is_left_out_along_the_axes_of_the_view() -> None:
    points = np.random.default_rng(0).uniform(-10, 10, (4000, 4)).astype(np.float32)
    augmentation = PointAugmentation(cuboid=0.5, cuboid_min_pairs=0)
    shares = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        view = make_view(points, augmentation, PointFilter(), rng)
        left = without_cuboid(view, augmentation, [np.arange(4000)], rng)
        np.testing.assert_array_equal(left.points, view.points[np.isin(view.row, left.row)])
        gone = view.points[~np.isin(view.row, left.row), :3]
        assert len(gone) >= 1
        low, high = gone.min(0), gone.max(0)
        kept = left.points[:, :3]
        assert not ((kept > low) & (kept < high)).all(1).any()
        shares.append(((high - low) / np.ptp(view.points[:, :3], axis=0)).max())
    assert 0.35 < max(shares) <= 0.5
    assert min(shares) < 0.1


def test_a_cuboid_that_would_take_too_many_pairs_stays() -> None:
    points = np.random.default_rng(0).uniform(-10, 10, (4000, 4)).astype(np.float32)
    augmentation = replace(NO_AUGMENTATION, cuboid=1.0, cuboid_min_pairs=100)
    outcomes = []
    for seed in range(60):
        view = make_view(points, NO_AUGMENTATION, PointFilter(), np.random.default_rng(seed))
        few = np.arange(110)  # of one image; the other shows all
        left = without_cuboid(view, augmentation, [few, np.arange(4000)], np.random.default_rng(seed))
        outcomes.append(len(left.row) < 4000)
        assert np.isin(few, left.row).sum() >= 100
    assert 0.1 < np.mean(outcomes) < 0.9


def test_without_the_options_nothing_is_drawn(drive: SweepIndex) -> None:
    view = make_view(np.zeros((3, 4), np.float32), NO_AUGMENTATION, PointFilter(), np.random.default_rng(0))
    rng = np.random.default_rng(0)
    assert without_cuboid(view, NO_AUGMENTATION, [], rng) is view
    assert rng.random() == np.random.default_rng(0).random()
    config = FrameConfig(image_size=(36, 80), image_flip=0.5)
    a, b = (
        FrameDataset(drive, Needs(images=True), split="train", config=c, seed=3)[0].frames["t"]
        for c in (config, replace(config, resize="stretch"))
    )
    assert a.draw.flips == b.draw.flips
    np.testing.assert_array_equal(a.views["a"].points, b.views["a"].points)
    with pytest.raises(ValueError, match="cuboid must be"):
        PointAugmentation(cuboid=1.5)
