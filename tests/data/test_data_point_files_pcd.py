"""PCD files: written by the tests from the specification, and real ones as open3d reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open3d as o3d
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from small_clouds import assert_same, cloud, lzf, pcd, written

from pc3d.data.errors import DataError
from pc3d.data.point_files import (
    columns_of,
    decode,
    notes,
)
from pc3d.data.point_files.lzf import decompress

PCD_TYPES = st.sampled_from(["<f4", "<f8", "i1", "<i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8"])


@st.composite
def columns(draw: st.DrawFn) -> dict[str, NDArray]:
    """Columns of any types and values, not-a-number among them."""
    points = draw(st.integers(0, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    made = {}
    for n, kind in enumerate(draw(st.lists(PCD_TYPES, min_size=1, max_size=6))):
        dtype = np.dtype(kind)
        if dtype.kind == "f":
            values = (rng.normal(size=points) * 10.0 ** rng.integers(-20, 20, points)).astype(dtype)
            values[rng.random(points) < 0.2] = np.nan
        else:
            info = np.iinfo(dtype)
            values = rng.integers(info.min, info.max, points, dtype=dtype, endpoint=True)
        made[f"c{n}"] = values
    return made


@settings(max_examples=40, deadline=None)
@given(columns())
def test_pcd_encodings_are_equal(tmp_path_factory: pytest.TempPathFactory, made: dict[str, NDArray]) -> None:
    folder = tmp_path_factory.mktemp("pcd")
    for encoding in ("ascii", "binary", "binary_compressed"):
        path = written(folder / f"{encoding}.pcd", pcd(made, encoding))
        assert_same(decode(path), made)
        types = {name: column.dtype for name, column in decode(path).items()}
        assert columns_of(path) == types
        if encoding != "ascii":  # whose floats are as they are written
            assert types == {name: column.dtype for name, column in made.items()}


REAL = {
    "ascii_short": 2000,
    "ascii_version_.7": 3400,
    "ascii_xyz": 2,
    "binary": 119_978,
    "binary_compressed": 85_546,
    "binary_xyz_pcl": 2,
    "organised_640x480_nan_compressed_viewpoint": 640 * 480,
    "vlp16_10_fields_mixed_sizes_binary": 14_831,
}


@pytest.mark.parametrize("name", REAL)
def test_real_pcd_as_open3d_reads_them(real_data: Path, name: str) -> None:
    path = real_data / "pcd" / f"{name}.pcd"
    saved = o3d.t.io.read_point_cloud(str(path), remove_nan_points=False, remove_infinite_points=False)
    theirs, mine = saved.point, decode(path)
    assert len(mine["x"]) == REAL[name]
    xyz = np.stack([mine[axis] for axis in "xyz"], axis=1)
    assert_array_equal(xyz.astype(np.float32), theirs.positions.numpy().astype(np.float32))
    for field in set(theirs) - {"positions"}:
        assert_array_equal(mine[field].astype(np.float32), theirs[field].numpy()[:, 0].astype(np.float32))


def test_real_pcd_of_other_kinds(real_data: Path) -> None:
    folder = real_data / "pcd"
    utm = decode(folder / "utm17_tab.pcd")
    assert list(utm) == ["X", "Y", "Z"]
    assert_array_equal(utm["Y"][:2], [4320978.61, 4320978.84])  # as written: float32 has steps of 0.5 m there
    assert notes(folder / "binary.pcd") == ()
    (note,) = notes(folder / "organised_640x480_nan_compressed_viewpoint.pcd")
    assert note.startswith("VIEWPOINT 0 0 0 0 1 0 0 is not the identity")
    with pytest.raises(DataError, match="no line of a PCD header: '289814") as error:
        decode(folder / "missingheader.pcd")
    assert "missingheader.pcd, line 1" in str(error.value)


def test_what_open3d_compresses(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = np.round(rng.normal(size=(3000, 3)) * 4).astype(np.float32)
    saved = o3d.t.geometry.PointCloud(o3d.core.Tensor(points))
    o3d.t.io.write_point_cloud(str(tmp_path / "a.pcd"), saved, write_ascii=False, compressed=True)
    assert b"binary_compressed" in (tmp_path / "a.pcd").read_bytes()[:300]
    found = decode(tmp_path / "a.pcd")
    assert_array_equal(np.stack([found[axis] for axis in "xyz"], axis=1), points)


@pytest.mark.parametrize("encoding", ["ascii", "binary", "binary_compressed"])
def test_headers_of_old_and_odd_pcd(tmp_path: Path, encoding: str) -> None:
    made = cloud()
    content = pcd(made, encoding, VERSION=None, COUNT=None, VIEWPOINT=None, POINTS=None)
    content = content.replace(b"FIELDS x y", b"columns\tx\t y").replace(
        b"WIDTH 40\n", b"WIDTH 40\r\n# a note\n\n"
    )
    path = written(tmp_path / "a.pcd", content + b"bytes behind the points\n")
    assert_same(decode(path), made)


def test_fields_of_padding_and_of_several_values(tmp_path: Path) -> None:
    made = cloud()
    stored = {"_": np.arange(40, dtype="<u2"), **made}
    for name in ("normal", "normal2"):
        stored[name] = np.arange(40.0)
    lines = {"FIELDS": f"_ {' '.join(made)} normal", "SIZE": "2 4 4 4 1 2 8 8", "TYPE": "U F F F U U F F"}
    lines["COUNT"] = "1 1 1 1 1 1 1 2"
    expected = {**made, "normal_0": stored["normal"], "normal_1": stored["normal2"]}
    for encoding in ("ascii", "binary"):
        assert_same(decode(written(tmp_path / "a.pcd", pcd(stored, encoding, **lines))), expected)


def test_two_fields_of_one_name(tmp_path: Path) -> None:
    made = cloud()
    names = "x y z intensity ring x"
    path = written(tmp_path / "a.pcd", pcd(made, "binary", FIELDS=names))
    assert_array_equal(decode(path)["x"], made["x"])
    assert notes(path) == ("field 'x' is there 2 times; the first is taken",)


@pytest.mark.parametrize("line", ["FIELDS", "SIZE", "TYPE"])
def test_pcd_header_without_a_line(tmp_path: Path, line: str) -> None:
    path = written(tmp_path / "a.pcd", pcd(cloud(), "binary", **{line: None}))
    with pytest.raises(DataError, match=f"the PCD header has no {line}"):
        decode(path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({"WIDTH": None, "POINTS": None}, "neither POINTS nor WIDTH"),
        ({"POINTS": "41"}, "POINTS is 41, but WIDTH x HEIGHT is 40"),
        ({"POINTS": "99999999999", "WIDTH": "99999999999"}, "more than any sweep"),
        ({"POINTS": "-40"}, "POINTS is '-40', expected whole numbers"),
        ({"SIZE": "4 4 4 3 2 8"}, "TYPE 'U' of SIZE 3 is no type"),
        ({"COUNT": "1 1 1 1 1"}, "6 FIELDS, but 5 entries in COUNT"),
        ({"VIEWPOINT": "0 0 0 1"}, "expected tx ty tz qw qx qy qz"),
    ],
)
def test_pcd_headers_that_contradict(tmp_path: Path, lines: dict[str, str | None], message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode(written(tmp_path / "a.pcd", pcd(cloud(), "binary", **lines)))


def test_cut_pcd(tmp_path: Path) -> None:
    needed = 40 * 23
    for encoding, cut, message in (
        ("binary", 1, f"cut off: {needed - 1} of {needed} bytes"),
        ("binary_compressed", 1, "compressed bytes"),
        ("ascii", 300, "of 40 points"),
    ):
        path = written(tmp_path / "a.pcd", pcd(cloud(), encoding)[:-cut])
        with pytest.raises(DataError, match=message):
            decode(path)


def test_a_wrong_word_is_told_with_its_line(tmp_path: Path) -> None:
    lines = pcd(cloud(), "ascii").decode().split("\n")
    lines[20] = lines[20].replace(".", ",", 1)
    with pytest.raises(DataError, match="write decimal points, not commas") as error:
        decode(written(tmp_path / "a.pcd", "\n".join(lines)))
    assert "a.pcd, line 21" in str(error.value)
    lines[20] = "1 2 3"
    with pytest.raises(DataError, match="3 values where 6 are expected"):
        decode(written(tmp_path / "a.pcd", "\n".join(lines)))
    lines[20] = "1 2 3 256 5 6"
    with pytest.raises(DataError, match="'256', expected a whole number from 0 to 255"):
        decode(written(tmp_path / "a.pcd", "\n".join(lines)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 255), st.integers(1, 400)), max_size=30), st.binary(max_size=60))
def test_lzf(runs: list[tuple[int, int]], tail: bytes) -> None:
    content = b"".join(bytes([value]) * length for value, length in runs) + tail
    packed = lzf(content)
    assert decompress(packed, len(content)).tobytes() == content
    if content:
        for size in (len(content) - 1, len(content) + 1):
            with pytest.raises(ValueError, match="LZF"):
                decompress(packed, size)
        with pytest.raises(ValueError, match="LZF"):
            decompress(packed[:-1], len(content))


def test_lzf_that_unpacks_to_terabytes() -> None:
    with pytest.raises(ValueError, match="cannot unpack to"):
        decompress(bytes(100), 1 << 42)
    with pytest.raises(ValueError, match="before its start"):
        decompress(bytes([0, 7, 0x20, 1]), 4)
