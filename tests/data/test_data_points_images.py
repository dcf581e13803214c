"""Files of points, labels and images: what they hold, and what a broken one says."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from pc3d.data.classes import load_class_set
from pc3d.data.errors import DataError
from pc3d.data.images import ImageMap, load_image, resize_and_crop
from pc3d.data.label_maps import (
    NUSCENES_LIDARSEG_CATEGORIES,
    NUSCENES_LIDARSEG_CLASSES,
    NUSCENES_LIDARSEG_LUT,
)
from pc3d.data.labels import load_label_file
from pc3d.data.points import load_points

CLASSES = load_class_set("nuscenes")


def _one(folder: Path, pattern: str) -> Path:
    return next(iter(sorted(folder.rglob(pattern))))


def test_real_points_are_metres_and_intensity_is_in_0_to_1(real_data: Path) -> None:
    nuscenes = load_points(_one(real_data / "nuscenes", "*.pcd.bin"), "nuscenes")
    assert nuscenes.shape == (34688, 5)
    raw = np.fromfile(_one(real_data / "nuscenes", "*.pcd.bin"), np.float32).reshape(-1, 5)
    np.testing.assert_allclose(nuscenes[:, 3] * 255, raw[:, 3], atol=1e-4)
    kitti = load_points(_one(real_data / "kitti_raw", "*.bin"), "kitti")
    assert kitti.shape[1] == 4
    for points in (nuscenes, kitti):
        assert points.dtype == np.float32
        assert 0 <= points[:, 3].min() < 0.1
        assert 0.5 < points[:, 3].max() <= 1


@pytest.mark.parametrize("cut", [1, 7, 19])
def test_a_truncated_sweep_is_named(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "sweep.bin"
    path.write_bytes(np.zeros((10, 5), np.float32).tobytes()[:-cut])
    with pytest.raises(DataError, match=rf"{200 - cut} bytes[\s\S]*sweep.bin \(sweep abc\)[\s\S]*remedy"):
        load_points(path, "nuscenes", "abc")


def test_points_that_are_missing_or_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "sweep.bin"
    with pytest.raises(DataError, match=r"missing[\s\S]*sweep abc"):
        load_points(path, "kitti", "abc")
    points = np.zeros((10, 4), np.float32)
    points[3, 1] = np.nan
    points[7, 0] = np.inf
    points.tofile(path)
    with pytest.raises(DataError, match=r"2 of 10 points are not finite \(first: point 3\)[\s\S]*sweep abc"):
        load_points(path, "kitti", "abc")
    path.write_bytes(b"")
    with pytest.raises(DataError, match="0 bytes"):
        load_points(path, "kitti")
    with pytest.raises(DataError, match=r"'las'[\s\S]*kitti"):
        load_points(path, "las")


def _sweep(columns: int = 5, count: int = 200) -> np.ndarray:
    """Points as a file of nuScenes (5 columns) or KITTI (4) has them."""
    rng = np.random.default_rng(columns)
    points = rng.uniform(-50, 50, (count, columns)).astype(np.float32)
    points[:, 3] = rng.integers(0, 256, count) / (1 if columns == 5 else 256)
    points[:, 4:] = rng.integers(0, 32, (count, columns - 4))
    return points


NUSCENES, KITTI = _sweep(5), _sweep(4)
IMPLAUSIBLE = {
    "KITTI as nuScenes": ("nuscenes", KITTI, "intensity is -"),
    "nuScenes as KITTI": ("kitti", NUSCENES, "intensity is -.*expected 0 to 1"),
    "big endian": ("kitti", KITTI.astype(">f4"), "expected|not finite"),
    "float64": ("nuscenes", NUSCENES.astype(np.float64), "x is -?[0-9.]+e"),
    "float16": ("kitti", KITTI.astype(np.float16), "expected|not finite"),
    "integers": ("kitti", np.abs(KITTI * 100).astype(np.int32), "all 200 points lie at 0, 0, 0"),
    "map coordinates": ("nuscenes", NUSCENES + np.float32([4e5, 0, 0, 0, 0]), "x is 399.*-2000 to 2000"),
    "millimetres": ("kitti", KITTI * np.float32([1e3, 1e3, 1e3, 1]), "expected -2000 to 2000"),
    "intensity to 255": ("kitti", KITTI * np.float32([1, 1, 1, 255]), "intensity is .* expected 0 to 1:"),
    "intensity to 1": ("nuscenes", NUSCENES / np.float32([1, 1, 1, 255, 1]), "intensity is 0.*in fractions"),
    "intensity below 0": ("nuscenes", NUSCENES * np.float32([1, 1, 1, -1, 1]), "intensity is -25"),
    "a time as ring": ("nuscenes", NUSCENES * np.float32([1, 1, 1, 1, 0.01]), "not in whole numbers"),
    "ring of 1000": ("nuscenes", NUSCENES * np.float32([1, 1, 1, 1, 100]), "ring is 0 to 3100"),
    "zeros": ("nuscenes", np.zeros((100, 5), np.float32), "all 100 points lie at 0, 0, 0"),
    "one place": ("kitti", np.full((100, 4), 0.5, np.float32), "all 100 points lie at 0.5"),
}


@pytest.mark.parametrize("name", IMPLAUSIBLE)
def test_columns_that_cannot_be_are_named(tmp_path: Path, name: str) -> None:
    lidar_format, points, said = IMPLAUSIBLE[name]
    path = tmp_path / "sweep.bin"
    points.tofile(path)
    with pytest.raises(DataError, match=rf"({said})[\s\S]*sweep.bin \(sweep abc\)[\s\S]*remedy"):
        load_points(path, lidar_format, "abc")


def test_odd_but_sound_points_are_read(tmp_path: Path, real_data: Path) -> None:
    """No intensity, one ring, one point, a dark scene, all real samples."""
    path = tmp_path / "sweep.bin"
    one_ring, dark = NUSCENES * np.float32([1, 1, 1, 0, 0]), NUSCENES.copy()
    dark[:, 3] = dark[:, 3] > 200
    for points in (one_ring, dark, NUSCENES[:1]):
        points.tofile(path)
        np.testing.assert_allclose(load_points(path, "nuscenes") * [1, 1, 1, 255, 1], points, rtol=1e-6)
    for folder in ("kitti_raw", "kitti_object", "semantic_kitti"):
        for sweep in (real_data / folder).rglob("*.bin"):
            assert load_points(sweep, "kitti").shape[1] == 4


@settings(deadline=None, max_examples=60)
@given(
    arrays(np.float32, st.tuples(st.integers(1, 30), st.sampled_from([4, 5])), elements=st.floats(width=32)),
    st.sampled_from(["nuscenes", "kitti"]),
)
def test_whatever_numbers_a_file_holds(
    tmp_path_factory: pytest.TempPathFactory, points: np.ndarray, lidar_format: str
) -> None:
    path = tmp_path_factory.mktemp("points") / "sweep.bin"
    points.tofile(path)
    with contextlib.suppress(DataError):
        loaded = load_points(path, lidar_format)
        assert np.abs(loaded[:, :3]).max() <= 2000
        assert 0 <= loaded[:, 3].min() <= loaded[:, 3].max() <= 1


def test_resize_keeps_the_aspect_and_cuts_the_top() -> None:
    assert resize_and_crop((1600, 900), 224, 416) == ImageMap((1600, 900), (416, 234), (0, 10), (416, 224))
    assert resize_and_crop((1600, 900), 224, 448).offset == (0, 28)
    wide = resize_and_crop((1242, 375), 224, 448)
    assert wide.resized == (742, 224)
    assert wide.offset == (147, 0)


@settings(deadline=None, max_examples=50)
@given(st.integers(20, 300), st.integers(20, 300), st.integers(8, 64), st.integers(8, 64), st.booleans())
def test_pixels_intrinsics_and_ids_follow_the_same_map(
    w: int, h: int, height: int, width: int, flip: bool
) -> None:
    image_map = resize_and_crop((w, h), height, width, flip)
    rng = np.random.default_rng(w * h)
    K = np.array([[w * 0.8, 0, w / 2.1], [0, w * 0.7, h / 1.9], [0, 0, 1]])
    rays = rng.uniform(-0.5, 0.5, (30, 3)) + np.array([0, 0, 1.5])
    homogeneous, mapped = rays @ K.T, rays @ image_map.intrinsics(K).T
    np.testing.assert_allclose(
        image_map.uv(homogeneous[:, :2] / homogeneous[:, 2:]), mapped[:, :2] / mapped[:, 2:], atol=1e-6
    )
    # An id map that numbers its pixels tells where each pixel of the result came from.
    ids = image_map.ids(np.arange(w * h).reshape(h, w))
    assert ids.shape == (height, width)
    source = np.stack([ids % w + 0.5, ids // w + 0.5], axis=-1).reshape(-1, 2)
    centres = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1).reshape(-1, 2)
    # Nearest: at most half a source pixel away.
    assert (np.abs(image_map.uv(source) - centres) <= image_map.scale / 2 + 1e-6).all()


def test_a_pixel_lands_where_uv_says() -> None:
    rgb = np.zeros((90, 160, 3), np.uint8)
    rgb[40:50, 100:110] = 255
    for flip in (False, True):
        image_map = resize_and_crop((160, 90), 36, 80, flip)
        result = image_map.image(rgb)[..., 0].astype(np.float64)
        assert result.shape == (36, 80)
        v, u = (np.array(np.nonzero(result)) + 0.5) @ result[result > 0] / result.sum()
        np.testing.assert_allclose((u, v), image_map.uv(np.array([[105.0, 45.0]]))[0], atol=0.05)


def test_a_reduced_decode_gives_the_same_picture(tmp_path: Path) -> None:
    y, x = np.mgrid[:128, :256]
    smooth = np.stack([x // 2 + y, x, 2 * y], axis=-1).clip(0, 255).astype(np.uint8)
    path = tmp_path / "smooth.jpg"
    Image.fromarray(smooth).save(path, quality=95)
    image_map = resize_and_crop((256, 128), 30, 64)
    whole = image_map.image(load_image(path)).astype(int)
    fast = image_map.image(load_image(path, at_least=image_map.resized)).astype(int)
    assert load_image(path, at_least=image_map.resized).shape[1] < 256
    assert np.abs(whole - fast).mean() < 2


def test_lidarseg_map_is_the_devkits() -> None:
    utils = pytest.importorskip("nuscenes.eval.lidarseg.utils")
    mapper = utils.LidarsegClassMapper.__new__(utils.LidarsegClassMapper)
    mapper.ignore_class = {"index": 0, "name": "ignore"}
    fine, coarse = mapper.get_fine2coarse(), mapper.get_coarse2idx()
    for name, label in zip(NUSCENES_LIDARSEG_CATEGORIES, NUSCENES_LIDARSEG_LUT, strict=True):
        assert coarse[fine[name]] == label + 1
    for name, number in coarse.items():
        assert number == 0 or NUSCENES_LIDARSEG_CLASSES[number - 1] == name


def test_labels_must_fit_the_sweep(tmp_path: Path) -> None:
    path = tmp_path / "labels.bin"
    np.array([17, 0, 24, 31], np.uint8).tofile(path)
    np.testing.assert_array_equal(load_label_file(path, 4, CLASSES), [3, -1, 10, -1])
    with pytest.raises(DataError, match=r"4 labels, the sweep has 5 points[\s\S]*sweep abc"):
        load_label_file(path, 5, CLASSES, "abc")
    np.arange(8, dtype=np.uint32).tofile(path)
    with pytest.raises(DataError, match=r"4 bytes for each point[\s\S]*labels.bin \(sweep abc\)"):
        load_label_file(path, 8, CLASSES, "abc")
    with pytest.raises(DataError, match="32 labels, the sweep has 0 points"):
        load_label_file(path, 0, CLASSES)
    np.array([40], np.uint8).tofile(path)
    with pytest.raises(DataError, match="label 40"):
        load_label_file(path, 1, CLASSES)
    with pytest.raises(DataError, match="cannot be read"):
        load_label_file(tmp_path / "none", 1, CLASSES)
    with pytest.raises(DataError, match="unknown label format"):
        load_label_file(path, 1, CLASSES, label_format="uint7")
