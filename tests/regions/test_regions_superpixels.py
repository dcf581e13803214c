"""Superpixels on images with known parts; statistics against sets counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.measure import label as connected
from skimage.segmentation import slic

from pc3d.data.records import Boxes
from pc3d.regions.statistics import RegionCounts, count_regions, count_superpixels
from pc3d.regions.superpixels import SuperpixelParams, superpixels


def quarters(height: int = 120, width: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """An image of four plain colours, and which is where."""
    part = (np.arange(height) >= height // 2)[:, None] * 2 + (np.arange(width) >= width // 2)
    colours = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [220, 220, 40]], np.uint8)
    return colours[part], part


@pytest.mark.parametrize("width", [None, 80])
def test_superpixels_keep_to_the_parts(width: int | None) -> None:
    image, part = quarters()
    ids = superpixels(image, SuperpixelParams(segments=40, sigma=1.0, width=width))
    assert ids.dtype == np.int16
    assert ids.shape == part.shape
    present = np.unique(ids)
    np.testing.assert_array_equal(present, np.arange(len(present)))
    assert 20 <= len(present) <= 60
    counts = count_superpixels(ids, part).summary()
    assert counts["purity against labels"] > 0.97  # type: ignore[operator]


def test_real_image_at_full_and_reduced_width(real_data: Path) -> None:
    file = next((real_data / "nuscenes" / "samples" / "CAM_FRONT").iterdir())
    image = np.asarray(Image.open(file).resize((800, 450)))
    full = superpixels(image)
    published = slic(image, n_segments=150, compactness=6, sigma=3, start_label=0)
    np.testing.assert_array_equal(full, published)
    assert 90 <= full.max() + 1 <= 160
    assert connected(full, connectivity=1, background=-1).max() == full.max() + 1, "segments are connected"
    assert superpixels(image, SuperpixelParams(width=400)).shape == full.shape
    np.testing.assert_array_equal(superpixels(image, SuperpixelParams(width=5000)), full)


def test_bad_images_are_named() -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        superpixels(np.zeros((10, 10), np.uint8))
    with pytest.raises(ValueError, match="expected uint8"):
        superpixels(np.zeros((10, 10, 3)))
    with pytest.raises(ValueError, match="segments"):
        SuperpixelParams(segments=0)


def boxes_at(*centers: tuple[float, float, float]) -> Boxes:
    n = len(centers)
    return Boxes(
        centers=np.array(centers, dtype=np.float64).reshape(n, 3),
        sizes=np.full((n, 3), 2.0),
        yaws=np.zeros(n),
        velocities=np.zeros((n, 2)),
        names=("vehicle.car",) * n,
        tracks=("",) * n,
        num_lidar_pts=np.full(n, -1),
        attributes=("",) * n,
    )


def test_purity_and_recall_counted_by_hand() -> None:
    # 6 points in box 0, 8 in box 1, 2 in box 2 (too few), 4 in none.
    points = np.zeros((20, 3))
    points[:6, 0], points[6:14, 0], points[14:16, 0], points[16:, 0] = 10, 20, 30, 50
    boxes = boxes_at((10, 0, 0), (20, 0, 0), (30, 0, 0))
    regions = np.full(20, -1, np.int16)
    regions[:5] = 0  # IoU 5/6 with box 0
    regions[6:9] = 1  # IoU 3/8 with box 1
    regions[12:19] = 2  # 2 of box 1, 2 of box 2, 3 of none
    counts = count_regions(regions, points, boxes)
    assert counts == RegionCounts(
        sweeps=1,
        points=20,
        regions=3,
        region_points=15,
        labelled_points=15,
        pure_points=11,
        boxes=2,
        boxes_covered=1,
    )
    labels = np.repeat([3, 0, 7, 9], 5)
    classed = count_regions(regions, points, boxes, labels)
    # Of the 15 points: 5 of class 3; 1 and 2 of classes 0; of region 2 three 7, three 7 and 9.
    assert (classed.classed_points, classed.class_pure_points) == (15, 5 + 3 + 4)
    assert classed.pure_points == 11
    with pytest.raises(ValueError, match="3 labels for 20 points"):
        count_regions(regions, labels=labels[:3])
    twice = (counts + counts + count_regions(regions)).summary()
    assert twice["recall of boxes"] == 0.5
    assert twice["purity against boxes"] == pytest.approx(11 / 15)
    assert twice["share of foreground"] == 0.75
    assert twice["points per region"] == 5


def test_statistics_where_nothing_is_there() -> None:
    empty = count_regions(np.full(4, -1, np.int16), np.zeros((4, 3)), boxes_at())
    assert empty == RegionCounts(sweeps=1, points=4)
    assert empty.summary()["recall of boxes"] is None
    assert count_regions(np.empty(0, np.int16), np.empty((0, 3)), boxes_at((0, 0, 0))).boxes == 0
    assert count_superpixels(np.full((2, 2), -1), np.zeros((2, 2), int)).pure_pixels == 0
    with pytest.raises(ValueError, match="need the points"):
        count_regions(np.zeros(3, np.int16), None, boxes_at())
