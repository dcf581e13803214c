"""PLY, LAS and what all point files share: by the specifications, and real ones against other readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open3d as o3d
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from small_clouds import assert_same, cloud, ply, write_las, written

from pc3d.data.errors import DataError
from pc3d.data.point_files import (
    columns_of,
    decode,
    decoder_of,
    las,
)

PLY_ENCODINGS = ("ascii", "binary_little_endian", "binary_big_endian")


@pytest.mark.parametrize("encoding", PLY_ENCODINGS)
@pytest.mark.parametrize(("before", "after"), [((), ()), ((3, 5, 1), (4,))])
def test_ply(tmp_path: Path, encoding: str, before: tuple[int, ...], after: tuple[int, ...]) -> None:
    made = cloud()
    path = written(tmp_path / "a.ply", ply(made, encoding, before, after))
    assert_same(decode(path), made)
    assert columns_of(path) == {name: column.dtype for name, column in decode(path).items()}


@pytest.mark.parametrize("encoding", PLY_ENCODINGS)
def test_cloud_compare_names(tmp_path: Path, encoding: str) -> None:
    made = cloud()
    stored = {f"scalar_{name}" if name in ("intensity", "ring") else name: c for name, c in made.items()}
    assert_same(decode(written(tmp_path / "a.ply", ply(stored, encoding))), made)
    both = {**made, "scalar_intensity": made["ring"]}
    assert_same(decode(written(tmp_path / "a.ply", ply(both, encoding))), both)


def test_real_ply_as_open3d_reads_it(real_data: Path) -> None:
    path = real_data / "ply" / "lidar_scan_scalar_intensity_binary.ply"
    theirs = o3d.t.io.read_point_cloud(str(path)).point
    mine = decode(path)
    assert_array_equal(np.stack([mine[axis] for axis in "xyz"], axis=1), theirs.positions.numpy())
    assert_array_equal(mine["intensity"], theirs["scalar_intensity"].numpy()[:, 0])
    assert len(mine["x"]) == 69_792
    assert mine["intensity"].max() == 187


def test_ply_errors(tmp_path: Path) -> None:
    sound = ply(cloud(), "binary_little_endian", (3, 4), ())
    in_vertex = sound.replace(b"property uchar intensity", b"property list uchar int intensity")
    for content, message in (
        (in_vertex, "the vertices have a list, 'intensity'"),
        (sound[:-1], "cut off"),
        (sound.replace(b"element vertex 40", b"element vertex 99999999999"), "more than any sweep"),
        (sound.replace(b"float x", b"half x"), "no line of a PLY header: 'property half x'"),
        (sound.replace(b"element vertex", b"element point"), "0 elements 'vertex'"),
        (b"plx" + sound[3:], "no PLY file: it starts with 'plx'"),
        (sound[:100], "no end_header"),
    ):
        with pytest.raises(DataError, match=message):
            decode(written(tmp_path / "a.ply", content))


def _las_by_hand(path: Path) -> NDArray:
    """Points of format 3 by the table of the specification."""
    content = path.read_bytes()
    offset, count = (int(np.frombuffer(content, "<u4", 1, at)[0]) for at in (96, 107))
    names = [*"XYZ", "intensity", "bits", "classification", "angle", "user", "source", "gps_time", "rgb"]
    kinds = ["<i4", "<i4", "<i4", "<u2", "u1", "u1", "i1", "u1", "<u2", "<f8", "3<u2"]
    return np.frombuffer(content, list(zip(names, kinds, strict=True)), count, offset)


def test_real_las_by_the_specification(real_data: Path) -> None:
    path = real_data / "las" / "simple.las"
    points, mine = _las_by_hand(path), decode(path)
    scale, offset = (np.frombuffer(path.read_bytes(), "<f8", 3, at) for at in (131, 155))
    for n, axis in enumerate("xyz"):
        np.testing.assert_allclose(mine[axis], points[axis.upper()] * scale[n] + offset[n], rtol=1e-15)
    for name in ("intensity", "classification", "gps_time"):
        assert_array_equal(mine[name], points[name])
    assert_array_equal(mine["return_number"], points["bits"] & 7)
    assert columns_of(path) == {name: column.dtype for name, column in mine.items()}


def test_real_las_compressed_and_extended(real_data: Path) -> None:
    plain, packed = (decode(real_data / "las" / f"simple.{end}") for end in ("las", "copc.laz"))
    for name in ("gps_time", "intensity", "x"):  # in another order
        np.testing.assert_allclose(np.sort(packed[name]), np.sort(plain[name]), atol=1e-9)
    extended = decode(real_data / "las" / "extrabytes.las")
    assert {"intensity", "Intensity", "Time", "Colors_0", "Colors_2", "Flags_1"} <= set(extended)
    assert_array_equal(extended["Colors_1"], extended["green"])
    assert_array_equal(extended["Intensity"], extended["intensity"])
    assert len(decode(real_data / "las" / "autzen_trim.laz")["x"]) == 110_000


def test_las_and_laz_are_equal(tmp_path: Path) -> None:
    angle = np.random.default_rng(1).normal(size=40)
    for end in ("las", "laz"):
        write_las(tmp_path / f"a.{end}", angle=angle)
    plain, packed = decode(tmp_path / "a.las"), decode(tmp_path / "a.laz")
    assert_same(packed, plain)
    assert_array_equal(plain["angle"], angle)
    assert plain["x"].min() > 400_000


def test_las_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_las(tmp_path / "a.las")
    sound = (tmp_path / "a.las").read_bytes()
    for content, message in (
        (sound[:-1], "cut off"),
        (b"LASX" + sound[4:], "no LAS file: it starts with 'LASX"),
        (sound[:107] + b"\xff\xff\xff\x7f" + sound[111:], "more than any sweep"),
        (sound[:100] + b"\xff\xff\xff\x7f" + sound[104:], "2147483647 records"),
    ):
        with pytest.raises(DataError, match=message):
            decode(written(tmp_path / "b.las", content))
    other_letters = sound[:58] + b"caf\xe9" + sound[62:]
    assert len(decode(written(tmp_path / "c.las", other_letters))["x"]) == 40
    monkeypatch.setattr(las, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="laspy is not installed") as error:
        decode(tmp_path / "a.las")
    assert 'pip install "pc3d[las]"' in str(error.value)


def test_decoders_by_the_end_of_a_name(tmp_path: Path) -> None:
    ends = {"a.PCD": "pcd", "a.laz": "las", "a.xyz": "csv", "a.pkl.gz": "pandas", "a.npz": "npy"}
    assert {name: decoder_of(Path(name)) for name in ends} == ends
    assert decoder_of(Path("a.pcd.bin")) == decoder_of(Path("a.gz")) == ""
    with pytest.raises(DataError, match="no format of points is known"):
        decode(tmp_path / "a.bin")
    with pytest.raises(DataError, match="point file is missing"):
        decode(tmp_path / "a.pcd")
    (tmp_path / "b.pcd").mkdir()
    with pytest.raises(DataError, match="point file cannot be read: Is a directory"):
        decode(tmp_path / "b.pcd")
