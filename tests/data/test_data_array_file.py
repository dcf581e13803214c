"""Files of arrays: equal arrays give equal bytes, and no damage goes unnoticed."""

from __future__ import annotations

import io
import os
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pc3d.data.array_file import load_arrays, save_arrays
from pc3d.data.errors import DataError
from pc3d.data.region_cache import RegionCache

RNG = np.random.default_rng(0)
IDS = RNG.integers(0, 150, (8, 16)).repeat(10, 0).repeat(10, 1).astype(np.int16)
ARRAYS = {
    "CAM_FRONT": IDS,
    "regions": RNG.integers(-1, 40, 900).astype(np.int16),
    "names": np.array(["a", "ü"]),
}


def same(first: dict[str, NDArray], second: dict[str, NDArray]) -> bool:
    return first.keys() == second.keys() and all(
        array.dtype == second[name].dtype and np.array_equal(array, second[name])
        for name, array in first.items()
    )


@pytest.mark.parametrize("compressed", [False, True])
def test_what_goes_in_comes_out_in_the_same_bytes(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.npz"
    first = save_arrays(path, ARRAYS, compressed)
    assert same(load_arrays(path), ARRAYS)
    with np.load(path) as file:
        assert same(dict(file), ARRAYS)
    os.utime(path, (0, 0))
    time.sleep(2.1)  # archives have times of two seconds
    assert save_arrays(path, ARRAYS, compressed, durable=False) == first


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("tries", [400, pytest.param(5000, marks=pytest.mark.long)])
def test_no_flipped_bit_goes_unnoticed(tmp_path: Path, compressed: bool, tries: int) -> None:
    path = tmp_path / "a.npz"
    save_arrays(path, ARRAYS, compressed)
    whole = path.read_bytes()
    directory = 8 * (len(whole) - 300)  # what lists the arrays is more fragile than they are
    half = tries // 2
    bits = [*RNG.integers(0, 8 * len(whole), half), *RNG.integers(directory, 8 * len(whole), half)]
    for bit in bits:
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            found = load_arrays(path)
        except ValueError:
            continue
        assert same(found, ARRAYS)  # such as a date of the archive


def test_cut_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save_arrays(path, ARRAYS)
    whole = path.read_bytes()
    for length in (0, 1, 22, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="no whole file"):
            load_arrays(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        load_arrays(path)


def test_objects_are_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="pickle"):
        load_arrays(path)


def npz(path: Path, member: bytes, packed: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", packed) as file:
        file.writestr("a.npy", member)
    return path


def npy(shape: tuple[int, ...], descr: object, data: bytes = b"") -> bytes:
    content = io.BytesIO()
    header = {"shape": shape, "fortran_order": False, "descr": descr}
    np.lib.format.write_array_header_1_0(content, header)
    return content.getvalue() + data


@pytest.mark.parametrize(
    ("shape", "descr", "words"),
    [
        ((1 << 42,), "<i2", "shape .4398046511104,. and type int16 in 8 bytes"),
        ((1 << 40, 1 << 40, 1 << 40), "<i2", "in 8 bytes"),
        ((3,), "<i2", "in 8 bytes"),
        ((5,), "<i2", "in 8 bytes"),
        ((-1, -4), "<i2", "in 8 bytes"),
        ((1,), "|O", "no plain number"),
        ((1,), [("x", "<f4"), ("y", "<f4")], "no plain number"),
        ((1,), "<M8[s]", "no plain number"),
        ((4,), "|S2", "no plain number"),
    ],
)
def test_a_header_is_compared_with_the_bytes_behind_it(
    tmp_path: Path, shape: tuple[int, ...], descr: object, words: str
) -> None:
    path = npz(tmp_path / "a.npz", npy(shape, descr, bytes(8)))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"no whole file.*{words}"):
            load_arrays(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_bombs_and_other_packings_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    member = npy((1 << 20,), "<i2", bytes(2 << 20))
    path = npz(tmp_path / "a.npz", member, zipfile.ZIP_DEFLATED)
    assert load_arrays(path)["a"].shape == (1 << 20,)
    monkeypatch.setattr("pc3d.data.array_file.MOST_BYTES", 1 << 20)
    with pytest.raises(ValueError, match=r"unpack to 2097"):
        load_arrays(path)
    assert load_arrays(npz(path, member))["a"].shape == (1 << 20,)  # as large as the file is
    for packed in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with pytest.raises(ValueError, match="compressed in another way"):
            load_arrays(npz(path, npy((4,), "<i2", bytes(8)), packed))
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("a.npy", b"")
    with pytest.raises(ValueError, match="two arrays of one name"):
        load_arrays(path)


def test_damaged_regions_name_the_command(tmp_path: Path) -> None:
    """Also where the archive's own reader fails with an error that is no `OSError` or `ValueError`."""
    cache = RegionCache(tmp_path, "superpixels", {})
    path = cache.save("t", {"CAM_FRONT": IDS})
    whole = path.read_bytes()
    for place in range(30, len(whole) - 30):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            found = cache.load_all("t")
        except DataError as error:
            message = str(error)
        else:
            assert same(found, {"CAM_FRONT": IDS})
            continue
        assert "run pc3d regions" in message


def test_region_files_have_the_mode_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        cache = RegionCache(tmp_path, "clusters", {})
        path = cache.save("t", np.zeros(3, np.int16))
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in (path, cache.folder / "params.json")} == {0o640}
