"""What could run or unpack more than it should: pickled data frames, objects in arrays, packed files."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pickled_frames import pickled_frame
from small_clouds import assert_same, cloud, written

from pc3d.data.errors import DataError
from pc3d.data.point_files import (
    decode,
    pandas_pickle,
    pickled,
)


class Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


def test_frames_put_together_by_hand(tmp_path: Path) -> None:
    made = {**cloud(), "class": np.array(["car", "bus"] * 20, dtype=object)}
    assert_same(decode(written(tmp_path / "a.pkl", pickled_frame(made))), made)
    packed = gzip.compress(pickled_frame(made))
    assert_same(decode(written(tmp_path / "a.pkl.gz", packed)), made)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_frames_that_pandas_writes(tmp_path: Path, protocol: int) -> None:
    pandas = pytest.importorskip("pandas")
    made = {**cloud(), "class": np.array(["car", None] * 20, dtype=object), "moves": np.arange(40) > 7}
    names = pandas.Index(list(made), dtype=object)
    frame = pandas.DataFrame({n: pandas.Series(c, dtype=c.dtype) for n, c in made.items()}).set_axis(
        names, axis=1
    )
    frame.to_pickle(tmp_path / "a.pkl", protocol=protocol)
    assert_same(decode(tmp_path / "a.pkl"), made)


def test_real_frames(real_data: Path) -> None:
    folder = real_data / "pandaset" / "001"
    points = decode(folder / "lidar" / "00.pkl.gz")
    assert list(points) == ["x", "y", "z", "i", "t", "d"]
    assert np.bincount(points["d"]).tolist() == [106_886, 62_285]
    assert {points[name].dtype for name in "xyzit"} == {np.dtype(np.float64)}
    # The values lie in the file in one piece, column after column.
    with gzip.open(folder / "lidar" / "00.pkl.gz") as file:
        content = file.read()
    assert content.count(points["x"].tobytes()) == content.count(points["t"].tobytes()) == 1
    classes = decode(folder / "annotations" / "semseg" / "00.pkl.gz")["class"]
    assert (len(classes), classes.min(), classes.max()) == (169_171, 2, 42)
    boxes = pandas_pickle.read_frame(folder / "annotations" / "cuboids" / "00.pkl.gz")
    assert len(boxes["uuid"]) == 151
    assert len(set(boxes["uuid"])) == 151
    assert set(boxes["label"]) >= {"Car", "Pedestrian"}


def test_what_a_pickle_says_is_not_run(tmp_path: Path) -> None:
    evil = pickle.dumps([Touches(str(tmp_path / "touched"))])
    with pytest.raises(DataError, match=r"it names (posix|nt)\.mkdir"):
        decode(written(tmp_path / "a.pkl", evil))
    inside = pickled_frame(cloud(), frame="os system")
    with pytest.raises(DataError, match=r"it names os\.system"):
        decode(written(tmp_path / "a.pkl", inside))
    assert not (tmp_path / "touched").exists()


def test_allowed_names_are_not_called_either(tmp_path: Path) -> None:
    """Even what is allowed is no code: an array of terabytes is only compared with the bytes that it has."""
    made = pickled_frame({"x": np.arange(3.0)})
    shape = b"(J\x01\0\0\0J\x03\0\0\0t"
    assert shape in made
    huge = made.replace(shape, b"(J\x01\0\0\0J\xff\xff\xff\x7ft")
    with pytest.raises(DataError, match="in 24 bytes"):
        decode(written(tmp_path / "a.pkl", huge))
    with pytest.raises(pickled.NotAllowed, match="takes the step"):
        pickled.read_pickle(b"\x80\x02Pabc\n.", set())


def test_what_unpacks_to_more_than_a_sweep(tmp_path: Path) -> None:
    packed = 300 * gzip.compress(bytes(1 << 20))
    with pytest.raises(DataError, match="it unpacks to more than"):
        decode(written(tmp_path / "a.pkl.gz", packed))
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(40))
    content = (tmp_path / "a.npz").read_bytes()
    size = content.rindex(b"PK\1\2") + 24  # in the directory at the end
    lying = content[:size] + b"\xff\xff\xff\x7f" + content[size + 4 :]
    with zipfile.ZipFile(io.BytesIO(lying)) as archive:
        assert archive.infolist()[0].file_size == 2**31 - 1
    with pytest.raises(DataError, match="unpack to 2147483647 bytes"):
        decode(written(tmp_path / "a.npz", lying))


def test_objects_of_npy_are_not_loaded(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.array([Touches(str(tmp_path / "touched"))], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="objects are not loaded"):
        decode(written(tmp_path / "a.npy", content.getvalue()))
    assert not (tmp_path / "touched").exists()
