"""Several sweeps in one view: where their points come to lie, when they were taken, what they lack."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pc3d.data.batch import Needs
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameDataset
from pc3d.data.errors import DataError
from pc3d.data.frames import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.points import load_points
from pc3d.data.records import Boxes, Sweep
from pc3d.data.sweeps import stack_sweeps
from pc3d.data.transforms import CALICO_AUGMENTATION
from pc3d.geometry.boxes import points_in_boxes

FEATURES = ("intensity", "time")
LAST = 6
"""Row of the last key frame of the drive's first scene: rows 0 and 3 are key frames before it."""


def by_hand(now: Sweep, other: Sweep) -> np.ndarray:
    """Points of `other` in the LiDAR frame of `now`, one after the other, without its ego vehicle."""
    rows = []
    to_world = other.world_SE3_ego @ other.ego_SE3_lidar
    to_now = np.linalg.inv(now.ego_SE3_lidar) @ np.linalg.inv(now.world_SE3_ego)
    for point in load_points(other.path, "nuscenes").astype(np.float64):
        if abs(point[0]) < 1 and abs(point[1]) < 1:
            continue
        xyz = (to_now @ (to_world @ [*point[:3], 1.0]))[:3]
        rows.append([*xyz, point[3], (now.timestamp - other.timestamp) / 1e6])
    return np.array(rows)


def inside(points: np.ndarray, boxes: Boxes, n: int, margin: float) -> np.ndarray:
    return points_in_boxes(points, boxes.centers[[n]], boxes.sizes[[n]] + margin, boxes.yaws[[n]])[0]


@pytest.mark.parametrize("count", [2, 5, 10])
def test_earlier_sweeps_lie_where_the_poses_say(drive: SweepIndex, count: int) -> None:
    config = FrameConfig(features=FEATURES, sweeps=count)
    frame = FrameDataset(drive, Needs(), rows=[LAST], config=config)[0].frames["t"]
    points = frame.views["a"].points
    now = drive[LAST]
    own = np.c_[load_points(now.path, "nuscenes")[:, :4], np.zeros(400, np.float32)]
    np.testing.assert_array_equal(points[:400], own)
    # The scene has six sweeps before it; ten sweeps would be nine.
    expected = np.concatenate([by_hand(now, drive[LAST - n]) for n in range(1, min(count, 7))])
    assert len(points) == frame.num_points == 400 + len(expected)
    np.testing.assert_allclose(points[400:], expected, atol=2e-5)
    assert set(np.round(points[:, 4], 4)) == {np.float32(round(0.05 * n, 4)) for n in range(min(count, 7))}


def test_the_first_key_frame_of_a_scene_stands_alone(drive: SweepIndex) -> None:
    config = FrameConfig(features=FEATURES, sweeps=10)
    frame = FrameDataset(drive, Needs(), rows=[7], config=config)[0].frames["t"]
    assert frame.num_points == 400


def test_one_sweep_is_what_it_was(drive: SweepIndex) -> None:
    needs = Needs(views=2, labels=True, images=True, frames=("t", "t-1", "t+1", "dense"))
    config = FrameConfig(image_size=(36, 80), augmentation=(CALICO_AUGMENTATION,))
    alone = FrameDataset(drive, needs, rows=[LAST], config=config)[0]
    many = FrameDataset(drive, needs, rows=[LAST], config=replace(config, sweeps=4))[0]
    for name in ("t", "t-1", "t+1", "dense"):
        one, more = alone.frames[name], many.frames[name]
        for view in one.views:
            count = len(one.views[view].points)
            np.testing.assert_array_equal(one.views[view].points, more.views[view].points[:count])
            np.testing.assert_array_equal(one.views[view].row, more.views[view].row[:count])
            np.testing.assert_array_equal(one.views[view].view_T_lidar, more.views[view].view_T_lidar)
        assert one.pairs is not None or name in ("t-1", "t+1")
        if one.pairs is not None and more.pairs is not None:
            np.testing.assert_array_equal(one.pairs.row, more.pairs.row)
            np.testing.assert_array_equal(one.pairs.uv, more.pairs.uv)
    assert many.frames["t"].num_points > 1500
    assert many.frames["dense"].num_points == alone.frames["dense"].num_points == 1200
    own = load_points(drive[LAST].path, "nuscenes")[:, :4]
    plain = FrameDataset(drive, Needs(), rows=[LAST])[0].frames["t"]
    np.testing.assert_array_equal(plain.views["a"].points, own)


def test_earlier_points_have_no_label(drive: SweepIndex) -> None:
    config = FrameConfig(sweeps=3)
    batch = collate([FrameDataset(drive, Needs(labels=True), rows=[3, 6], config=config)[n] for n in (0, 1)])
    single = collate([FrameDataset(drive, Needs(labels=True), rows=[3, 6])[n] for n in (0, 1)])
    frame = batch.now
    assert frame.labels is not None
    assert single.now.labels is not None
    for sample in (0, 1):
        labels = frame.labels[frame.row_batch == sample]
        assert labels[:400].tolist() == single.now.labels[single.now.row_batch == sample].tolist()
        assert len(labels) > 1100
        assert set(labels[400:].tolist()) == {-1}


def test_the_ego_vehicle_leaves_no_trail(sweeps: list[Sweep]) -> None:
    now, other = sweeps[LAST], sweeps[LAST - 1]
    raw = load_points(other.path, "nuscenes")
    close = (np.abs(raw[:, :2]) < 1).all(axis=1)
    points, own = stack_sweeps(now, [other], ("intensity",))
    assert own == 400
    assert len(points) == 800 - close.sum()
    assert len(stack_sweeps(now, [other], ("intensity",), without_ego=False)[0]) == 800


def test_parked_things_stand_still(tiny_index: SweepIndex) -> None:
    """In the simulator's town, what was in a parked object's box before is in its box now."""
    index = SweepIndex.open(tiny_index)
    hits = {"compensated": 0, "ignored": 0}
    total = 0
    for row in index.key_rows(None).tolist():
        before = index.neighbour(row, -1)
        if before is None:
            continue
        now, other = index[row], index[before]
        assert now.boxes is not None
        assert other.boxes is not None
        earlier = [index[number] for number in index.previous_sweeps(row, row - before)]
        assert earlier[-1].token == other.token
        points, _ = stack_sweeps(now, earlier, FEATURES, without_ego=False)
        raw = load_points(other.path, other.lidar_format)
        moved = {"compensated": points[-len(raw) :], "ignored": raw}
        for n, track in enumerate(now.boxes.tracks):
            if track not in other.boxes.tracks or not np.linalg.norm(now.boxes.velocities[n]) < 0.01:
                continue
            m = other.boxes.tracks.index(track)
            then = inside(raw, other.boxes, m, 0.0)
            total += then.sum()
            for name in hits:
                hits[name] += (inside(moved[name], now.boxes, n, 0.1) & then).sum()
    assert total > 500
    assert hits["compensated"] > 0.99 * total
    assert hits["ignored"] < 0.8 * total


def test_wrong_settings_are_named(drive: SweepIndex) -> None:
    for sweeps in (0, 11):
        with pytest.raises(ValueError, match="1 to 10"):
            FrameConfig(sweeps=sweeps)
    with pytest.raises(DataError, match="these have: intensity, ring, time"):
        FrameDataset(drive, Needs(), rows=[0], config=FrameConfig(features=("speed",)))[0]
