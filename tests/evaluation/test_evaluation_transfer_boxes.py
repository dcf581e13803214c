"""Points in boxes and beside them, against the devkit's geometry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from nuscenes.utils.data_classes import Box
from nuscenes.utils.geometry_utils import points_in_box
from pyquaternion import Quaternion

from pc3d.data.classes import common_detection, load_class_set
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.points import load_sweep
from pc3d.data.records import Boxes
from pc3d.evaluation.transfer.boxes import KINDS, BoxPoints, BoxTask, box_points, kinds_of, label_points

COMMON = load_class_set("nuscenes", common=True)


def _boxes(centers: NDArray, sizes: NDArray, yaws: NDArray, names: tuple[str, ...]) -> Boxes:
    n = len(names)
    return Boxes(
        centers=centers,
        sizes=sizes,
        yaws=yaws,
        velocities=np.zeros((n, 2)),
        names=names,
        tracks=("",) * n,
        num_lidar_pts=np.full(n, -1),
        attributes=("",) * n,
    )


def _inside(points: NDArray, boxes: Boxes, larger: float = 0.0) -> NDArray[np.bool_]:
    """(N, P) by the devkit, of boxes that are larger on every side."""
    rows = []
    for center, size, yaw in zip(boxes.centers, boxes.sizes, boxes.yaws, strict=True):
        length, width, height = size + 2 * larger
        box = Box(center, [width, length, height], Quaternion(axis=[0, 0, 1], radians=yaw))
        rows.append(points_in_box(box, points.T))
    return np.array(rows).reshape(len(boxes), len(points))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 6), keep_ground=st.booleans())
def test_labels_are_those_of_the_devkits_boxes(seed: int, count: int, keep_ground: bool) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-8, 8, (400, 3))
    boxes = _boxes(
        rng.uniform(-5, 5, (count, 3)),
        rng.uniform(0.5, 5, (count, 3)),
        rng.uniform(-4, 4, count),
        ("",) * count,
    )
    kinds = rng.integers(-1, len(KINDS), count)
    kinds[kinds == 0] = 3
    task = BoxTask(margin=0.5, reach=2.0, ground=keep_ground)
    ground = rng.random(len(points)) < 0.2
    found = label_points(points, boxes, kinds, task, ground)
    inside, close, near = (_inside(points, boxes, larger) for larger in (0.0, 0.5, 2.0))
    volume = boxes.sizes.prod(axis=1)
    for p in range(len(points)):
        owners = np.flatnonzero(inside[:, p])
        if ground[p] and not keep_ground:
            expected = -1
        elif len(owners):
            expected = int(kinds[owners[volume[owners].argmin()]])
        elif close[:, p].any() or not near[kinds >= 0, p].any():
            expected = -1
        else:
            expected = 0
        assert found.labels[p] == expected
        assert (found.box[p] >= 0) == (expected > 0)
        if expected > 0:
            assert inside[found.box[p], p]


def test_a_draw_has_so_many_of_each_box_and_as_many_beside() -> None:
    labels = np.array([1] * 30 + [2] * 3 + [0] * 50 + [-1] * 10)
    box = np.array([4] * 30 + [7] * 3 + [-1] * 60)
    points = BoxPoints(labels, box)
    rows = points.draw(5, np.random.default_rng(0))
    assert np.bincount(labels[rows]).tolist() == [8, 5, 3]
    assert (np.diff(rows) > 0).all()
    few = BoxPoints(np.array([1, 1, 1, 0]), np.array([0, 0, 0, -1])).draw(5, np.random.default_rng(0))
    assert few.tolist() == [0, 1, 2, 3]
    assert len(BoxPoints(np.array([0, 0]), np.array([-1, -1])).draw(5, np.random.default_rng(0))) == 0


def test_every_common_class_has_a_kind() -> None:
    names = ("vehicle.car", "human.pedestrian.adult", "movable_object.barrier", "animal", "what is this")
    assert kinds_of(names, COMMON).tolist() == [1, 2, 3, -1, -1]
    categories = {name: category for category, name in COMMON.boxes.items()}
    kinds = kinds_of(tuple(categories[name] for name in common_detection()), COMMON)
    assert (kinds > 0).all()
    with pytest.raises(ValueError, match="common classes"):
        kinds_of(("Car",), load_class_set("kitti"))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="margin"):
        BoxTask(margin=4.0, reach=4.0)
    with pytest.raises(ValueError, match="per_box"):
        BoxTask(per_box=0)


def test_simulated_sweeps_have_objects_and_their_surroundings(tiny_index: Path) -> None:
    index = SweepIndex.open(tiny_index)
    sweep = index[int(index.key_rows()[0])]
    assert sweep.boxes is not None
    found = box_points(sweep, COMMON, BoxTask())
    points = load_sweep(sweep)
    inside = _inside(points[:, :3].astype(np.float64), sweep.boxes)
    kinds = kinds_of(sweep.boxes.names, COMMON)
    assert set(np.unique(found.labels)) >= {-1, 0, 1}
    asked = found.labels > 0
    assert inside[kinds >= 0][:, asked].any(axis=0).all()
    assert not inside[:, found.labels == 0].any()
    # The simulated road is flat: what is left beside the boxes stands above it.
    height = points[found.labels == 0, 2] + sweep.ego_SE3_lidar[2, 3]
    assert np.percentile(height, 10) > 0.1


def test_a_sweep_without_boxes_is_refused(tiny_index: Path) -> None:
    index = SweepIndex.open(tiny_index)
    plain = next(index[row] for row in range(len(index)) if not index[row].is_key_frame)
    with pytest.raises(DataError, match="no boxes"):
        box_points(plain, COMMON, BoxTask())
