"""Boxes in the frame of a view: they hold the same points, and their heading is mirrored with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.data.classes import ClassSet, load_class_set
from pc3d.data.detection import counted_boxes, view_boxes
from pc3d.data.label_maps import NUSCENES_DETECTION_CLASSES, NUSCENES_LIDARSEG_CATEGORIES
from pc3d.data.records import Boxes
from pc3d.data.transforms import PointAugmentation
from pc3d.geometry.boxes import points_in_boxes
from pc3d.geometry.rigid import transform_points

NUSCENES = load_class_set("nuscenes")


def boxes_of(rng: np.random.Generator, names: tuple[str, ...], points: list[int] | None = None) -> Boxes:
    n = len(names)
    return Boxes(
        centers=rng.uniform(-20, 20, (n, 3)),
        sizes=rng.uniform(0.5, 8, (n, 3)),
        yaws=rng.uniform(-np.pi, np.pi, n),
        velocities=rng.normal(size=(n, 2)),
        names=names,
        tracks=names,
        num_lidar_pts=np.array(points if points is not None else [5] * n, dtype=np.int64),
        attributes=("",) * n,
    )


def labelled(boxes: Boxes) -> tuple[Boxes, np.ndarray]:
    return boxes, NUSCENES.box_labels(boxes.names)


def test_the_official_classes() -> None:
    from nuscenes.eval.detection.constants import DETECTION_NAMES
    from nuscenes.eval.detection.utils import category_to_detection_name

    assert NUSCENES.detection == NUSCENES_DETECTION_CLASSES
    assert sorted(DETECTION_NAMES) == sorted(NUSCENES_DETECTION_CLASSES)
    for category in NUSCENES_LIDARSEG_CATEGORIES:
        label = NUSCENES.box_labels([category])[0]
        name = NUSCENES_DETECTION_CLASSES[label] if label >= 0 else None
        assert name == category_to_detection_name(category)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), flip=st.floats(0, 1), scale=st.floats(0.5, 2))
def test_the_same_points_are_inside_before_and_after(seed: int, flip: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    boxes = boxes_of(rng, ("vehicle.car",) * 4)
    view = PointAugmentation((-np.pi, np.pi), (scale, scale), flip).draw(rng)
    view[:3, 3] = rng.normal(size=3)
    points = np.concatenate([rng.normal(size=(50, 3)) * 3 + centre for centre in boxes.centers])
    before = points_in_boxes(points, boxes.centers, boxes.sizes, boxes.yaws)
    # A point within rounding of a face may change sides.
    near = points_in_boxes(points, boxes.centers, boxes.sizes + 1e-3, boxes.yaws) != points_in_boxes(
        points, boxes.centers, boxes.sizes - 1e-3, boxes.yaws
    )
    mapped, labels = view_boxes(*labelled(boxes), view)
    values = mapped.numpy()
    after = points_in_boxes(transform_points(view, points), values[:, :3], values[:, 3:6], values[:, 6])
    assert before.any()
    assert (before == after)[~near].all()
    assert labels.tolist() == [0] * 4
    # Velocity: where the centre is a second later.
    later = np.c_[boxes.centers[:, :2] + boxes.velocities, boxes.centers[:, 2]]
    moved = transform_points(view, later) - transform_points(view, boxes.centers)
    np.testing.assert_allclose(values[:, 7:], moved[:, :2], atol=1e-4)


def test_a_mirror_mirrors_the_heading() -> None:
    boxes = boxes_of(np.random.default_rng(0), ("vehicle.car", "vehicle.truck"))
    yaw = boxes.yaws
    over_x, _ = view_boxes(*labelled(boxes), np.diag([1.0, -1.0, 1.0, 1.0]))
    over_y, labels = view_boxes(*labelled(boxes), torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0])))
    np.testing.assert_allclose(over_x[:, 6], -yaw, atol=1e-6)
    np.testing.assert_allclose(np.cos(over_y[:, 6] - (np.pi - yaw)), 1, atol=1e-6)
    assert labels.tolist() == [0, 1]
    assert over_x.dtype == torch.float32


def test_which_boxes_are_left_out() -> None:
    names = ("vehicle.car", "animal", "vehicle.bus.rigid", "never.heard.of", "movable_object.trafficcone")
    boxes = boxes_of(np.random.default_rng(0), names, [0, 9, -1, 9, 3])
    mapped, labels = view_boxes(*labelled(boxes), np.eye(4))
    assert labels.tolist() == [3, 9]
    np.testing.assert_allclose(mapped[:, :3], boxes.centers[[2, 4]], rtol=1e-6)
    assert view_boxes(*labelled(boxes), np.eye(4), min_points=0)[1].tolist() == [0, 3, 9]
    assert view_boxes(*labelled(boxes), np.eye(4), min_points=5)[1].tolist() == [3]
    assert NUSCENES.box_labels(names).tolist() == [0, -1, 3, -1, 9]


def test_labels_are_those_of_the_class_set() -> None:
    own = ClassSet(
        "own", detection=("wheeled", "animal"), boxes={"vehicle.car": "wheeled", "animal": "animal"}
    )
    boxes = boxes_of(np.random.default_rng(0), ("animal", "vehicle.bus.rigid", "vehicle.car"), [3, 3, 0])
    labels = own.box_labels(boxes.names)
    assert labels.tolist() == [1, -1, 0]
    assert counted_boxes(boxes, labels).tolist() == [True, False, False]
    assert view_boxes(boxes, labels, np.eye(4), min_points=0)[1].tolist() == [1, 0]


def test_unknown_velocities_stay_unknown_and_nothing_is_nothing() -> None:
    rng = np.random.default_rng(0)
    boxes = boxes_of(rng, ("vehicle.car",) * 2)
    boxes.velocities[1] = np.nan
    mapped, _ = view_boxes(*labelled(boxes), PointAugmentation(flip=1.0).draw(rng))
    assert torch.isnan(mapped[:, 7:]).tolist() == [[False, False], [True, True]]
    assert torch.isfinite(mapped[:, :7]).all()
    mapped, labels = view_boxes(*labelled(boxes_of(rng, ())), np.eye(4))
    assert mapped.shape == (0, 9)
    assert labels.shape == (0,)
    assert labels.dtype == torch.int64


@pytest.mark.parametrize("linear", [[2.0, 1, 1], [1.0, 1, -1], [1.0, 1, 2]])
def test_maps_that_no_box_survives_are_refused(linear: list[float]) -> None:
    boxes = boxes_of(np.random.default_rng(0), ("vehicle.car",))
    with pytest.raises(ValueError, match="uniform scale"):
        view_boxes(*labelled(boxes), np.diag([*linear, 1.0]))
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        view_boxes(*labelled(boxes), np.eye(3))
