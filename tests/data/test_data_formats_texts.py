"""LiDAR and label formats written as texts: any order of columns, any scale; rows that are left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.data.classes import ClassSet
from pc3d.data.errors import DataError
from pc3d.data.labels import load_label_file, load_labels
from pc3d.data.points import load_points, load_sweep, point_format
from pc3d.data.points.load import columns_of, valid_rows
from pc3d.data.records import Sweep

CLASSES = ClassSet("mine", ("a", "b"), {}, {3: "a", 70: "b", 9: "ignore"})
SCALES = {"x": 1000, "y": 1000, "z": 1000, "intensity": 255, "ring": 1, "time": 1e6}


def cloud(rows: int = 20) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(rows)
    return {
        **{name: rng.uniform(-40, 40, rows) for name in "xyz"},
        "intensity": rng.integers(0, 256, rows) / 255,
        "ring": rng.integers(0, 64, rows).astype(float),
        "time": np.rint(rng.uniform(0, 1e5, rows)) / 1e6,
    }


@settings(max_examples=40, deadline=None)
@given(
    st.permutations(["x", "y", "z", "intensity", "ring", "time", "_"]),
    st.sampled_from(["<f4", ">f4", "<f8", "<i4"]),
)
def test_columns_in_any_order(order: list[str], dtype: str) -> None:
    import tempfile

    values = cloud()
    path = Path(tempfile.mkstemp(suffix=".bin")[1])
    table = np.column_stack([np.rint(values[n] * SCALES[n]) if n != "_" else np.full(20, 7.0) for n in order])
    table.astype(dtype).tofile(path)
    scaled = [n if n == "_" or SCALES[n] == 1 else f"{n}/{SCALES[n]:g}" for n in order]
    text = f"bin:{','.join(scaled)};dtype={dtype}"
    points = load_points(path, text)
    path.unlink()
    names = columns_of(point_format(text))
    assert names[:4] == ("x", "y", "z", "intensity")
    for name, column in zip(names, points.T, strict=True):
        np.testing.assert_allclose(
            column, np.rint(values[name] * SCALES[name]) / SCALES[name], rtol=1e-5, atol=1e-6
        )


def test_a_format_without_intensity_and_absolute_times(tmp_path: Path) -> None:
    stamp = 1_700_000_000_000_000
    table = np.zeros(3, [("X", "<f4"), ("Y", "<f4"), ("Z", "<f4"), ("T", "<f8")])
    table["X"], table["T"] = [1, 2, 3], stamp / 1e6 + np.array([0.0, 0.05, 0.1])
    np.save(tmp_path / "a.npy", table)
    points = load_points(tmp_path / "a.npy", "npy:x=X,y=Y,z=Z,time=T@", timestamp=stamp)
    np.testing.assert_allclose(points[:, 3], 0)
    np.testing.assert_allclose(points[:, 4], [0, 0.05, 0.1], atol=1e-6)


def test_points_far_from_the_origin_keep_their_place(tmp_path: Path) -> None:
    world = np.array([[4_500_000.123, 650_000.456, 30.0], [4_500_010.321, 650_020.654, 31.0]])
    np.save(tmp_path / "a.npy", np.column_stack([world, [0, 0]]))
    lidar_SE3_points = np.eye(4)
    lidar_SE3_points[:3, 3] = [-4_500_000, -650_000, 0]
    points = load_points(tmp_path / "a.npy", "npy:x,y,z,_", lidar_SE3_points=lidar_SE3_points)
    np.testing.assert_allclose(points[:, :3], world + lidar_SE3_points[:3, 3], atol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kity", "did you mean 'kitti'"),
        ("bin:x,y,intensity", "no x, y, z"),
        ("bin:x,y,z,intensty", "did you mean 'intensity'"),
        ("bin:x,y,z,x", "twice"),
        ("bin:x,y,z*zero", "no column"),
        ("bin:x,y,z*0", "no factor"),
        ("bin:x,y,z;speed=1", "unknown option 'speed'"),
        ("bni:x,y,z", "did you mean 'bin'"),
    ],
)
def test_a_format_that_is_none(text: str, message: str, tmp_path: Path) -> None:
    np.zeros(12, "<f4").tofile(tmp_path / "a.bin")
    with pytest.raises(DataError, match=message):
        load_points(tmp_path / "a.bin", text)


def test_rows_that_are_left_out_have_no_label(tmp_path: Path) -> None:
    table = np.zeros((6, 5), "<f4")
    table[:, :3] = np.arange(18).reshape(6, 3)
    table[:, 4] = [0, 1, 0, 0, 1, 0]
    table[2, :3], table[3, 0] = 0, np.nan
    table.tofile(tmp_path / "a.bin")
    np.array([3, 70, 9, 3, 3, 70], "<u4").tofile(tmp_path / "a.label")
    for text, rows in (
        ("bin:x,y,z,intensity,_;drop=invalid", [0, 1, 4, 5]),
        ("bin:x,y,z,intensity,lidar;where=lidar:1", [1, 4]),
    ):
        np.testing.assert_array_equal(np.flatnonzero(valid_rows(tmp_path / "a.bin", text)), rows)
        eye = np.eye(4)
        sweep = Sweep(
            "t",
            "s",
            0,
            True,
            tmp_path / "a.bin",
            text,
            eye,
            eye,
            "train",
            lidarseg_path=tmp_path / "a.label",
            lidarseg_format="uint32",
        )
        assert len(load_sweep(sweep)) == len(rows)
        wanted = np.array([0, 1, -1, 0, 0, 1])[rows]
        np.testing.assert_array_equal(load_labels(sweep, len(rows), CLASSES), wanted)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "int32", "int64", "npy", "npz", "column"])
def test_labels_of_every_type(kind: str, tmp_path: Path) -> None:
    raw = np.array([3, 70, 9, 70], dtype="<i8")
    path, text = tmp_path / "labels.bin", kind
    if kind == "npy":
        path = tmp_path / "labels.npy"
        np.save(path, raw.astype(np.int16))
    elif kind == "npz":
        path, text = tmp_path / "labels.npz", "npy:data"
        np.savez(path, data=raw)
    elif kind == "column":
        path, text = tmp_path / "labels.csv", "column:csv/class"
        path.write_text("x,y,z,class\n" + "\n".join(f"0,0,{n},{c}" for n, c in enumerate(raw)) + "\n")
    elif kind == "uint32":
        (raw.astype(np.uint32) | np.uint32(12 << 16)).astype("<u4").tofile(path)
    else:
        raw.astype(np.dtype(kind).newbyteorder("<")).tofile(path)
    np.testing.assert_array_equal(load_label_file(path, 4, CLASSES, label_format=text), [0, 1, -1, 1])
    with pytest.raises(DataError, match="label"):
        load_label_file(path, 5, CLASSES, label_format=text)
    with pytest.raises(DataError, match="label 70 is none of the 2 categories"):
        load_label_file(path, 4, ClassSet("other", ("a",), {}, {3: "a", 9: "ignore"}), label_format=text)
    if kind in ("npy", "npz"):
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(DataError, match="cannot be read"):
            load_label_file(path, 4, CLASSES, label_format=text)
