"""Pasted objects: exactly their points, no overlap, and the same from the same generator."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import Polygon

from pc3d.data.array_file import load_arrays, save_arrays
from pc3d.data.batch import Needs
from pc3d.data.classes import ClassSet, load_class_set
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameDataset
from pc3d.data.detection import view_boxes
from pc3d.data.errors import DataError
from pc3d.data.frames import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.paste import PasteConfig, PasteDatabase, build_paste_database, object_counts
from pc3d.data.points import load_points
from pc3d.data.records import Boxes
from pc3d.data.sweeps import stack_sweeps
from pc3d.data.transforms import CALICO_AUGMENTATION
from pc3d.engine.data import build_dataset, frame_settings
from pc3d.geometry.boxes import corners, points_in_boxes
from pc3d.geometry.rigid import transform_points

NUSCENES = load_class_set("nuscenes")
COUNTS = {"car": 8, "pedestrian": 8, "truck": 3, "bicycle": 3, "traffic_cone": 3}


@pytest.fixture(scope="module")
def index(tiny_index: Path) -> SweepIndex:
    return SweepIndex.open(tiny_index)


@pytest.fixture(scope="module")
def folder(index: SweepIndex, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("paste") / "objects"
    tokens = [index[int(row)].token for row in index.key_rows("sim_train")]
    build_paste_database(index, tokens, out)
    return out


def polygons(boxes: Boxes) -> list[Polygon]:
    return [Polygon(box[:4, :2]) for box in corners(boxes.centers, boxes.sizes, boxes.yaws)]


def test_the_database_holds_what_is_in_the_boxes(index: SweepIndex, folder: Path) -> None:
    database = PasteDatabase.open(folder)
    expected = []
    for row in index.key_rows("sim_train").tolist():
        sweep = index[row]
        assert sweep.boxes is not None
        points = load_points(sweep.path, sweep.lidar_format)[:, :4]
        for n, label in enumerate(NUSCENES.box_labels(sweep.boxes.names)):
            mask = points_in_boxes(
                points, sweep.boxes.centers[[n]], sweep.boxes.sizes[[n]], sweep.boxes.yaws[[n]]
            )
            if label >= 0 and mask.sum() >= 5:
                expected.append((sweep.boxes.centers[n], sweep.boxes.names[n], points[mask[0]]))
    assert len(expected) == len(database.boxes) > 20
    for n, (centre, name, points) in enumerate(expected):
        np.testing.assert_array_equal(database.boxes.centers[n], centre)
        assert database.boxes.names[n] == name
        np.testing.assert_array_equal(database.points[database.starts[n] : database.starts[n + 1]], points)
        assert database.boxes.num_lidar_pts[n] == len(points)


@pytest.mark.parametrize("seed", range(5))
def test_pasted_boxes_hold_exactly_their_points(index: SweepIndex, folder: Path, seed: int) -> None:
    database = PasteDatabase.open(folder)
    config = PasteConfig(str(folder), COUNTS)
    sweep = index[int(index.key_rows("sim_val")[seed % 3])]
    assert sweep.boxes is not None
    points = load_points(sweep.path, sweep.lidar_format)[:, :4]
    pasted = database.paste(config, points, sweep.boxes, NUSCENES, np.random.default_rng(seed))
    old, new = len(sweep.boxes), len(pasted.boxes) - len(sweep.boxes)
    assert new > 3
    np.testing.assert_array_equal(pasted.points[: len(points)], points)
    shown = pasted.points[~pasted.hidden]
    boxes = pasted.boxes
    inside = points_in_boxes(shown, boxes.centers[old:], boxes.sizes[old:], boxes.yaws[old:])
    np.testing.assert_array_equal(inside.sum(axis=1), boxes.num_lidar_pts[old:])
    start = len(points)
    for n in range(new):
        stop = start + boxes.num_lidar_pts[old + n]
        np.testing.assert_array_equal(shown[inside[n]], pasted.points[start:stop])
        start = stop
    assert start == len(pasted.points)
    assert not pasted.hidden[len(points) :].any()
    # What stood in the frame has the points that it had.
    before = points_in_boxes(points, boxes.centers[:old], boxes.sizes[:old], boxes.yaws[:old])
    after = points_in_boxes(shown, boxes.centers[:old], boxes.sizes[:old], boxes.yaws[:old])
    np.testing.assert_array_equal(before.sum(axis=1), after.sum(axis=1))


@pytest.mark.parametrize("seed", range(5))
def test_nothing_pasted_overlaps(index: SweepIndex, folder: Path, seed: int) -> None:
    database = PasteDatabase.open(folder)
    sweep = index[int(index.key_rows("sim_train")[seed])]
    assert sweep.boxes is not None
    config = PasteConfig(str(folder), COUNTS)
    pasted = database.paste(
        config, np.zeros((0, 4), np.float32), sweep.boxes, NUSCENES, np.random.default_rng(seed)
    )
    shapes = polygons(pasted.boxes)
    for n in range(len(sweep.boxes), len(shapes)):
        assert all(shapes[n].intersection(shapes[m]).area < 1e-6 for m in range(n))
    labels = NUSCENES.box_labels(pasted.boxes.names[len(sweep.boxes) :])
    assert set(np.bincount(labels, minlength=10)) <= set(range(9))
    assert (labels >= 0).all()


def test_a_generator_decides(index: SweepIndex, folder: Path) -> None:
    database = PasteDatabase.open(folder)
    sweep = index[int(index.key_rows("sim_val")[0])]
    assert sweep.boxes is not None
    nothing = np.zeros((0, 4), np.float32)
    config = PasteConfig(str(folder), COUNTS)
    drawn = [
        database.paste(config, nothing, sweep.boxes, NUSCENES, np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    assert drawn[0].boxes.tracks == drawn[1].boxes.tracks
    np.testing.assert_array_equal(drawn[0].points, drawn[1].points)
    assert drawn[0].boxes.tracks != drawn[2].boxes.tracks
    never = database.paste(
        replace(config, probability=0.0), nothing, sweep.boxes, NUSCENES, np.random.default_rng(1)
    )
    assert never.boxes.tracks == sweep.boxes.tracks


def test_frames_with_pasted_objects(index: SweepIndex, folder: Path) -> None:
    needs = Needs(views=2, boxes=True, labels=True, frames=("t", "t-1"))
    plain = FrameConfig(augmentation=(CALICO_AUGMENTATION,))
    config = replace(plain, paste=PasteConfig(str(folder), COUNTS))
    rows = index.key_rows("sim_val").tolist()
    alone = FrameDataset(index, needs, rows=rows, config=plain)[1].frames
    samples = FrameDataset(index, needs, rows=rows, config=config)
    frame = samples[1].frames["t"]
    own = alone["t"].num_points
    assert samples[1].frames["t-1"].num_points == alone["t-1"].num_points
    assert frame.num_points > own
    assert frame.labels is not None
    assert frame.boxes is not None
    assert frame.box_labels is not None
    assert alone["t"].labels is not None
    assert alone["t"].boxes is not None
    np.testing.assert_array_equal(frame.labels[:own], alone["t"].labels)
    assert set(frame.labels[own:].tolist()) == {-1}
    for view in frame.views.values():
        assert (np.diff(view.row) > 0).all()
        # Points and boxes are augmented alike: each pasted box holds its points, and no other row.
        back = transform_points(np.linalg.inv(view.view_T_lidar), view.points.astype(np.float64))
        mapped, _ = view_boxes(frame.boxes, frame.box_labels, view.view_T_lidar)
        scale = view.view_T_lidar[2, 2]
        first = len(alone["t"].boxes)
        grown = frame.boxes.sizes[first:] + 1e-3
        inside = points_in_boxes(back, frame.boxes.centers[first:], grown, frame.boxes.yaws[first:])
        assert (inside.sum(axis=1) >= frame.boxes.num_lidar_pts[first:]).all()
        rows_inside = view.row[inside.any(axis=0)]
        assert (rows_inside >= own).mean() > 0.99
        count = len(frame.boxes) - first
        last = mapped[-count:].numpy()
        again = points_in_boxes(view.points, last[:, :3], last[:, 3:6] + 1e-3 * scale, last[:, 6])
        assert (again.sum(axis=1) >= frame.boxes.num_lidar_pts[first:]).all()
    batch = collate([samples[0], samples[1]])
    assert batch.now.labels is not None
    assert len(batch.now.labels) == batch.now.num_points


def test_several_sweeps_are_pasted_with_their_age(index: SweepIndex, tmp_path: Path) -> None:
    rows = index.key_rows("sim_train").tolist()
    features = ("intensity", "time")
    database = build_paste_database(
        index, [index[row].token for row in rows], tmp_path / "objects", features, sweeps=3
    )
    assert database.points.shape[1] == 5
    assert len(np.unique(database.points[:, 4])) > 2
    sweep = index[rows[0]]
    stacked, _ = stack_sweeps(sweep, [], features)
    assert (stacked[:, 4] == 0).all()
    config = FrameConfig(
        features=features, sweeps=3, paste=PasteConfig(str(tmp_path / "objects"), {"car": 5})
    )
    sample = FrameDataset(index, Needs(boxes=True), rows=rows, config=config)[2]
    assert any(track.startswith("pasted:") for track in sample.frames["t"].boxes.tracks)  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"3 sweep\(s\), the frames have"):
        FrameDataset(index, Needs(boxes=True), rows=rows, config=replace(config, sweeps=2))


def test_the_settings_of_a_config(tiny_index: Path, folder: Path) -> None:
    config = {
        "index": str(tiny_index),
        "split": "sim_val",
        "paste": {"database": str(folder), "counts": {"car": 5, "pedestrian": 5}},
    }
    plain = build_dataset({**config, "paste": None}, Needs(boxes=True))
    dataset = build_dataset(config, Needs(boxes=True))
    counts = [
        sum(len(data[0, n].frames["t"].boxes) for n in range(len(data)))  # type: ignore[arg-type]
        for data in (plain, dataset)
    ]
    assert counts[1] > counts[0]
    assert "paste" not in frame_settings(config)
    with pytest.raises(ValueError, match="PasteConfig has no setting number"):
        build_dataset({**config, "paste": {"number": 3}}, Needs(boxes=True))


def test_what_makes_no_sense_is_refused(index: SweepIndex, folder: Path, tmp_path: Path) -> None:
    config = FrameConfig(paste=PasteConfig(str(folder), COUNTS))
    with pytest.raises(ValueError, match="no boxes are read"):
        FrameDataset(index, Needs(), split="sim_train", config=config)
    with pytest.raises(ValueError, match="with_images"):
        FrameDataset(index, Needs(boxes=True, images=True), split="sim_train", config=config)
    accepted = FrameConfig(paste=PasteConfig(str(folder), COUNTS, with_images=True), image_size=(36, 80))
    frame = FrameDataset(index, Needs(boxes=True, images=True), split="sim_train", config=accepted)[0].frames[
        "t"
    ]
    assert frame.pairs is not None
    assert frame.pairs.row.max() < frame.num_points
    for counts in ({}, {"car": 0}):
        with pytest.raises(ValueError, match="counts"):
            PasteConfig(str(folder), counts)
    wrong = FrameConfig(paste=PasteConfig(str(folder), {"cat": 2}))
    with pytest.raises(DataError, match=r"names 'cat', which is no detection class[\s\S]*did you mean 'car'"):
        FrameDataset(index, Needs(boxes=True), split="sim_train", config=wrong)
    with pytest.raises(DataError, match="no database"):
        PasteDatabase.open(tmp_path)
    with pytest.raises(DataError, match="exists"):
        build_paste_database(index, [], folder)
    for _ in range(2):  # what the first left is no database, and in nobody's way
        with pytest.raises(DataError, match="no object"):
            build_paste_database(index, [], tmp_path / "empty")
    for content in (b"broken", (folder / "objects.npz").read_bytes()[:-100]):
        (tmp_path / "objects.npz").write_bytes(content)
        with pytest.raises(DataError, match="broken"):
            PasteDatabase.open(tmp_path)


def test_an_empty_frame_takes_objects(folder: Path) -> None:
    database = PasteDatabase.open(folder)
    empty = Boxes(
        np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros((0, 2)), (), (), np.zeros(0, np.int64), ()
    )
    pasted = database.paste(
        PasteConfig(str(folder), {"car": 1}),
        np.zeros((0, 4), np.float32),
        empty,
        NUSCENES,
        np.random.default_rng(0),
    )
    assert len(pasted.boxes) == 1
    assert len(pasted.points) == pasted.boxes.num_lidar_pts[0]


def test_damaged_points_are_not_pasted(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    points = tmp_path / "copy" / "points.bin"
    whole = points.read_bytes()
    database = PasteDatabase.open(tmp_path / "copy")
    config = PasteConfig(str(folder), dict.fromkeys(COUNTS, 500))
    empty = Boxes(
        np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros((0, 2)), (), (), np.zeros(0, np.int64), ()
    )
    chosen = database.draw(config, empty, NUSCENES, np.random.default_rng(0))
    place = 16 * int(database.starts[chosen[0]]) + 5
    points.write_bytes(whole[:place] + bytes([whole[place] ^ 8]) + whole[place + 1 :])
    damaged = PasteDatabase.open(tmp_path / "copy")
    with pytest.raises(DataError, match=r"points of an object are damaged[\s\S]*pc3d objects"):
        damaged.paste(config, np.zeros((0, 4), np.float32), empty, NUSCENES, np.random.default_rng(0))
    unchecked = replace(damaged, checksums=None)  # as of earlier versions
    unchecked.paste(config, np.zeros((0, 4), np.float32), empty, NUSCENES, np.random.default_rng(0))


@pytest.mark.parametrize(
    "change",
    [
        {"starts": np.array([0, 5], np.int64)},
        {"starts": np.zeros(0, np.int64)},
        {"sweeps": np.array([1, 2])},
        {"features": np.array(7)},
        {"checksums": np.zeros(1, np.uint32)},
        {"centers": np.array("text")},
        {"names": np.zeros(3)},
    ],
)
def test_databases_whose_arrays_do_not_fit(
    folder: Path, tmp_path: Path, change: dict[str, np.ndarray]
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    objects = tmp_path / "copy" / "objects.npz"
    save_arrays(objects, {**load_arrays(objects), **change})
    with pytest.raises(DataError, match=r"database of objects is broken[\s\S]*pc3d objects"):
        PasteDatabase.open(tmp_path / "copy")


def test_points_of_another_length_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    points = tmp_path / "copy" / "points.bin"
    whole = points.read_bytes()
    for content in (whole[:-4], whole + bytes(16), b""):
        points.write_bytes(content)
        with pytest.raises(DataError, match=r"points.bin does not hold \d+ points"):
            PasteDatabase.open(tmp_path / "copy")


def test_the_same_objects_give_the_same_bytes(index: SweepIndex, folder: Path, tmp_path: Path) -> None:
    tokens = [index[int(row)].token for row in index.key_rows("sim_train")]
    build_paste_database(index, tokens, tmp_path / "again")
    for path in folder.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_objects_of_other_classes_are_refused(folder: Path) -> None:
    own = ClassSet("own", detection=("car",), boxes={"Car": "car"})
    config = PasteConfig(str(folder), {"car": 1})
    with pytest.raises(DataError, match=r"no object is of a class of 'own'[\s\S]*human.pedestrian"):
        PasteDatabase.open(folder).check(("intensity",), 1, config, own)
    merged = ClassSet(
        "own", detection=("any",), boxes={"vehicle.car": "any", "human.pedestrian.adult": "any"}
    )
    counts = object_counts(PasteDatabase.open(folder), merged)
    assert counts.keys() == {"any"}
    assert counts["any"] > 0
