"""Tables of points: text, arrays of numpy, Feather and Parquet."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from pyarrow import feather, parquet
from small_clouds import assert_same, cloud, records, text_rows, written

from pc3d.data.errors import DataError
from pc3d.data.point_files import (
    columns_of,
    csv,
    decode,
    npy,
)
from pc3d.data.points import point_format


@pytest.mark.parametrize("delimiter", [",", ";", "\t", " ", "  ", ", "])
@pytest.mark.parametrize("mark", ["", "# ", "//"])
def test_csv(tmp_path: Path, delimiter: str, mark: str) -> None:
    made = {**cloud(), "stamp": np.arange(40) + 1_600_000_000_000_000_001}
    text = mark + delimiter.join(made) + "\n\n" + text_rows(made, delimiter)
    for content in (text, "\ufeff" + text, text.replace("\n", "\r\n")):
        assert_same(decode(written(tmp_path / "a.csv", content)), made)


def test_csv_without_names(tmp_path: Path) -> None:
    made = cloud()
    path = written(tmp_path / "a.txt", "# two LiDARs\n" + text_rows(made, " "))
    assert list(decode(path)) == list(columns_of(path)) == ["0", "1", "2", "3", "4", "5"]
    layout = point_format("csv:x,y,z,intensity/255,ring,_")
    assert_same(csv.decode(path, "", layout), {n: c for n, c in made.items() if n != "timestamp"})
    assert list(csv.decode(path, "", point_format("csv:x=0,y=1,z=2"))) == ["0", "1", "2", "3", "4", "5"]
    with pytest.raises(DataError, match="the file has 6 columns without names, the format names 3"):
        csv.decode(path, "", point_format("csv:x,y,z"))


def test_csv_of_words_and_gaps(tmp_path: Path) -> None:
    text = 'x,y,z,class,"laser id"\n1,2,3,car,1\n4,,nan,"a, b",2\n'
    found = decode(written(tmp_path / "a.csv", text))
    assert_array_equal(found["y"], [2, np.nan])
    assert_array_equal(found["z"], [3, np.nan])
    assert found["class"].tolist() == ["car", "a, b"]
    assert found["laser id"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("x,y,z\n1,2,3\n\n4,five,6\n", "'y' is 'five', expected a number", 4),
        ("x;y;z\n1;2;3\n1,5;2;3\n", "'x' is '1,5', expected a number; write decimal points, not commas", 3),
        ("x,y,z\n1,2,3\n1,2\n", "2 values where 3 are expected", 3),
        ("x,y,x\n1,2,3\n", "names of columns that are empty or there twice", 1),
        ("1 2\n3 4\n", "no row of a table with x, y and z", 1),
    ],
)
def test_csv_errors_name_the_line(tmp_path: Path, text: str, message: str, line: int) -> None:
    with pytest.raises(DataError, match=message) as error:
        decode(written(tmp_path / "a.csv", text))
    assert f"a.csv, line {line}\n" in str(error.value)


def test_no_text(tmp_path: Path) -> None:
    for content, message in (
        ("x,y,z\n1,2,3\n".encode("utf-16"), "no plain text"),
        (b"# x y z\n", "the table has no row"),
        (b"", "point file is empty"),
    ):
        with pytest.raises(DataError, match=message):
            decode(written(tmp_path / "a.csv", content))


def _saved(array: NDArray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "<i2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(tmp_path: Path, kind: str, order: str) -> None:
    array = np.asarray(np.random.default_rng(0).uniform(-90, 90, (30, 5)).astype(kind), order=order)
    path = written(tmp_path / "a.npy", _saved(array))
    found = decode(path)
    assert_array_equal(np.stack([found[str(n)] for n in range(5)], axis=1), array)
    assert columns_of(path) == {name: column.dtype for name, column in found.items()}
    named = npy.decode(path, "", point_format("npy:x,y,z,_,time"))
    assert list(named) == ["x", "y", "z", "time"]
    assert_array_equal(named["time"], array[:, 4])


def test_structured_npy_and_npz(tmp_path: Path) -> None:
    made = cloud()
    assert_same(decode(written(tmp_path / "a.npy", _saved(records(made)))), made)
    pairs = np.zeros(7, [("xyz", "<f4", 3), ("t", "<u4")])
    assert list(decode(written(tmp_path / "b.npy", _saved(pairs)))) == ["xyz_0", "xyz_1", "xyz_2", "t"]
    np.savez_compressed(tmp_path / "a.npz", **made, sweep=np.int64(3))
    assert_same(decode(tmp_path / "a.npz"), made)
    np.savez(tmp_path / "b.npz", points=np.ones((40, 3)), ring=made["ring"])
    assert list(decode(tmp_path / "b.npz")) == ["0", "1", "2", "ring"]
    np.savez(tmp_path / "c.npz", points=np.ones((40, 3)), ring=made["ring"][:-1])
    with pytest.raises(DataError, match="not one entry a point: 0 40, 1 40, 2 40, ring 39"):
        decode(tmp_path / "c.npz")


def test_npy_errors(tmp_path: Path) -> None:
    header = _saved(np.zeros((4, 4), np.float32))
    for content, message in (
        (_saved(np.zeros((4, 1000))), "it holds the columns as rows"),
        (_saved(np.zeros(10)), r"an array of shape \(10,\)"),
        (
            _saved(np.full(3, "a")),
            "no plain numbers",
        ),
        (header.replace(b"(4, 4)", b"(9999999999, 9999)")[: len(header)], "no whole npy file|has the shape"),
        (header[:-1], "but 63 bytes"),
    ):
        with pytest.raises(DataError, match=message):
            decode(written(tmp_path / "a.npy", content))


def test_real_feather(real_data: Path) -> None:
    path = sorted((real_data / "argoverse2").rglob("lidar/*.feather"))[0]
    table, found = feather.read_table(path), decode(path)
    assert list(found) == ["x", "y", "z", "intensity", "laser_number", "offset_ns"]
    assert found["x"].dtype == np.float16
    for name, column in found.items():
        assert_array_equal(column, np.array(table[name].to_pylist(), dtype=column.dtype))
    sensors = decode(next((real_data / "argoverse2").rglob("egovehicle_SE3_sensor.feather")))
    assert {"up_lidar", "ring_front_center"} <= set(sensors["sensor_name"])


@pytest.mark.parametrize("end", ["feather", "parquet"])
def test_tables(tmp_path: Path, end: str) -> None:
    made = cloud()
    stamps = pa.array([1_600_000_000_000_000_500, None] * 20, pa.timestamp("ns"))
    columns = {
        **made,
        "gaps": pa.array([1, None] * 20),
        "name": pa.array(["a", "b"] * 20).dictionary_encode(),
        "stamp": stamps,
        "list": pa.array([[1]] * 40),
    }
    write = {"feather": feather.write_feather, "parquet": parquet.write_table}[end]
    write(pa.table(columns), str(tmp_path / f"a.{end}"))
    found = decode(tmp_path / f"a.{end}")
    assert list(found) == [*made, "gaps", "name", "stamp"]
    assert_same({name: found[name] for name in made}, made)
    assert_array_equal(found["gaps"], [1, np.nan] * 20)
    assert found["name"].tolist() == ["a", "b"] * 20
    np.testing.assert_allclose(found["stamp"], [1.6e9, np.nan] * 20, rtol=0, atol=1e-6)


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no Feather or Parquet file: it starts with 'x,y"):
        decode(written(tmp_path / "a.parquet", "x,y,z\n1,2,3\n"))
