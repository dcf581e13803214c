"""Region files: keyed by parameters, complete or absent."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pc3d.data.array_file import save_arrays
from pc3d.data.errors import DataError
from pc3d.data.region_cache import RegionCache


@pytest.mark.parametrize("token", ["9d9bf11fb0e144c8", "drive/0000000001", "../../etc/passwd", "ü" * 90])
def test_regions_come_back_inside_the_cache(tmp_path: Path, token: str) -> None:
    cache = RegionCache(tmp_path, "clusters", {"eps": 0.75})
    assert not cache.has(token)
    regions = np.array([-1, 0, 3, 3], dtype=np.int16)
    path = cache.save(token, regions)
    assert path.resolve().is_relative_to(cache.folder.resolve())
    assert cache.has(token)
    loaded = cache.load(token)
    np.testing.assert_array_equal(loaded, regions)
    assert loaded.dtype == np.int16
    assert json.loads((cache.folder / "params.json").read_text()) == {"eps": 0.75}
    assert not list(tmp_path.rglob("*.part"))


def test_superpixels_by_camera(tmp_path: Path) -> None:
    cache = RegionCache(tmp_path, "superpixels", {})
    maps = {"CAM_FRONT": np.arange(6, dtype=np.uint8).reshape(2, 3), "CAM_BACK": np.zeros((4, 4), np.int16)}
    cache.save("t", maps)
    loaded = cache.load_all("t")
    assert set(loaded) == set(maps)
    np.testing.assert_array_equal(loaded["CAM_FRONT"], maps["CAM_FRONT"])


def test_a_changed_parameter_meets_no_stale_file(tmp_path: Path) -> None:
    RegionCache(tmp_path, "clusters", {"eps": 0.75, "min": 5}).save("t", np.zeros(3, np.int16))
    assert RegionCache(tmp_path, "clusters", {"min": 5, "eps": 0.75}).has("t")
    other = RegionCache(tmp_path, "clusters", {"eps": 0.8, "min": 5})
    with pytest.raises(DataError, match=r"no clusters regions of sweep t[\s\S]*pc3d regions"):
        other.load("t")


def test_broken_and_wrong(tmp_path: Path) -> None:
    cache = RegionCache(tmp_path, "clusters", {})
    path = cache.save("t", np.zeros(3, np.int16))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"broken[\s\S]*remove it"):
        cache.load("t")
    save_arrays(path, {"regions": np.zeros(3)})
    with pytest.raises(DataError, match=r"regions is an array of float64 of shape \(3,\), no ids"):
        cache.load("t")
    cache.save("t", {"FRONT": np.zeros((2, 2), np.int16)})
    with pytest.raises(DataError, match=r"no regions of points, but FRONT[\s\S]*remove it"):
        cache.load("t")
    with pytest.raises(ValueError, match="integers"):
        cache.save("t", np.zeros(3))
    with pytest.raises(ValueError, match="plain lower-case"):
        RegionCache(tmp_path, "../x", {})


@pytest.mark.parametrize("text", ["[" * 200_000, "{", "[]", '{"eps": 0.8}', "\udcff"])
def test_parameters_are_those_of_the_folder(tmp_path: Path, text: str) -> None:
    cache = RegionCache(tmp_path, "clusters", {"eps": 0.75})
    cache.save("t", np.zeros(3, np.int16))
    assert RegionCache.find(tmp_path, "clusters").params == {"eps": 0.75}
    (cache.folder / "params.json").write_text(text, errors="surrogateescape")
    with pytest.raises(DataError, match=r"parameters of a cache are broken[\s\S]*params.json"):
        RegionCache.find(tmp_path, "clusters")
