"""Class-balanced frames, against counts by loops."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pc3d.data.batch import Needs
from pc3d.data.classes import load_class_set
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex, write_index
from pc3d.data.records import Boxes, Sweep
from pc3d.data.samplers import class_balanced_rows
from pc3d.engine.data import build_dataset

CLASSES = load_class_set("nuscenes")
SHOWN = [
    ["vehicle.car"],
    ["vehicle.car", "vehicle.car"],
    ["vehicle.car", "human.pedestrian.adult"],
    ["vehicle.car"],
    ["human.pedestrian.child", "animal"],
    ["animal"],
    ["vehicle.bicycle", "vehicle.car"],
    [],
]
"""Categories of each frame: five of cars, two of pedestrians, one of bicycles."""


def boxes_of(names: list[str], points: int = 5) -> Boxes:
    n = len(names)
    zeros = np.zeros((n, 3))
    counts = np.full(n, points, dtype=np.int64)
    return Boxes(zeros, zeros + 1, zeros[:, 0], zeros[:, :2], tuple(names), ("",) * n, counts, ("",) * n)


@pytest.fixture
def frames(sweeps: list[Sweep], tmp_path: Path) -> SweepIndex:
    made = [
        replace(sweeps[0], token=f"f{n}", scene="s", timestamp=n, boxes=boxes_of(names))
        for n, names in enumerate(SHOWN)
    ]
    # The cone has no point: it is not shown.
    made.append(
        replace(
            sweeps[0],
            token="cone",
            scene="s",
            timestamp=99,
            boxes=boxes_of(["movable_object.trafficcone"], 0),
        )
    )
    metadata = {
        "dataset": "hand",
        "root": str(sweeps[0].path.parents[1]),
        "rebuild": "again",
        "classes": CLASSES.to_dict(),
    }
    return SweepIndex.open(write_index(tmp_path / "index", made, metadata))


def by_loop(index: SweepIndex, rows: list[int]) -> Counter[str]:
    """How many of the rows show each class."""
    counts: Counter[str] = Counter()
    for row in rows:
        boxes = index[row].boxes
        assert boxes is not None
        shown = {
            CLASSES.boxes[name]
            for name, points in zip(boxes.names, boxes.num_lidar_pts, strict=True)
            if name in CLASSES.class_of_box and points != 0
        }
        counts.update(shown)
    return counts


def test_every_class_gets_as_many_draws(frames: SweepIndex) -> None:
    rows = class_balanced_rows(frames, range(9), np.random.default_rng(0))
    # Five, two and one frames of three classes: 8 / 3, rounded, of each.
    assert len(rows) == 9
    counts = Counter(rows.tolist())
    assert not {5, 7, 8} & set(counts)
    # Bicycles have one frame, which comes three times for them, at most once more for its car.
    assert counts[6] in (3, 4)
    # Pedestrians have two frames: three draws give one and two.
    assert counts[4] in (1, 2)
    assert counts[2] + counts[4] in (3, 4)
    assert sum(counts[n] for n in (0, 1, 3)) in (1, 2, 3)


def test_balance_of_the_simulator(tiny_index: Path) -> None:
    index = SweepIndex.open(tiny_index)
    plain = index.key_rows(None).tolist()
    before = by_loop(index, plain)
    rows = class_balanced_rows(index, plain, np.random.default_rng(3))
    after = by_loop(index, rows.tolist())
    assert abs(len(rows) - sum(before.values())) <= len(before) / 2
    quota = round(sum(before.values()) / len(before))
    assert set(after) == set(before)
    assert all(after[name] >= quota for name in after)
    assert max(before.values()) / min(before.values()) >= max(after.values()) / min(after.values())
    again = class_balanced_rows(index, plain, np.random.default_rng(3))
    assert rows.tolist() == again.tolist()


def test_some_classes_only(frames: SweepIndex) -> None:
    rows = class_balanced_rows(frames, range(9), np.random.default_rng(0), ("pedestrian", "bus"))
    assert rows.tolist() == [2, 4]
    with pytest.raises(DataError, match="no frame shows"):
        class_balanced_rows(frames, range(9), np.random.default_rng(0), ("bus",))
    with pytest.raises(DataError, match="no frame shows"):
        class_balanced_rows(frames, [], np.random.default_rng(0), ("bus",))
    with pytest.raises(ValueError, match="unknown classes cat"):
        class_balanced_rows(frames, range(9), np.random.default_rng(0), ("cat",))


def test_frames_without_annotation_are_named(drive: SweepIndex) -> None:
    with pytest.raises(DataError, match="s0f1"):
        class_balanced_rows(drive, [0, 1], np.random.default_rng(0))


def test_the_setting_of_a_source(tiny_index: Path, tmp_path: Path) -> None:
    index = SweepIndex.open(tiny_index)
    rows = index.key_rows("sim_train").tolist()
    config = {"index": str(tiny_index), "split": "sim_train", "balance": True}
    dataset = build_dataset(config, Needs(boxes=True), seed=1)
    expected = by_loop(index, rows)
    assert abs(len(dataset) - sum(expected.values())) <= len(expected) / 2
    tokens = tmp_path / "two.txt"
    tokens.write_text("\n".join(index[row].token for row in rows[:2]) + "\n")
    few = build_dataset({"index": str(tiny_index), "tokens": str(tokens), "balance": True}, Needs(boxes=True))
    assert {few[0, n].token for n in range(len(few))} <= {index[row].token for row in rows[:2]}
    assert len(build_dataset({**config, "balance": False}, Needs())) == len(rows)
