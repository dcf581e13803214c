"""What the columns of point files seem to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pc3d.data.point_files import decode
from pc3d.data.point_files.names import (
    guess_columns,
    guess_intensity,
    guess_metres,
    guess_time,
    standard_names,
)
from pc3d.data.points import point_format

SPAN = np.linspace(0, 0.1, 50)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("x y z intensity ring time", {"intensity": "intensity", "ring": "ring", "time": "time"}),
        ("X Y Z I LINE timeStamp", {"intensity": "I", "ring": "LINE", "time": "timeStamp"}),
        ("x y z i laser_number offset_ns", {"intensity": "i", "ring": "laser_number", "time": "offset_ns"}),
        ("x y z gps_time return_number", {"time": "gps_time", "return": "return_number"}),
        ("x y z scalar_Intensity", {"intensity": "scalar_Intensity"}),
        ("x y z red green label", {}),
    ],
)  # fmt: skip
def test_names(names: str, expected: dict[str, str]) -> None:
    words = names.split()
    assert standard_names(words) == {"x": words[0], "y": words[1], "z": words[2], **expected}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (SPAN.astype(np.float32), "time=t"),  # Velodyne
        ((SPAN - 0.1).astype(np.float32), "time=t"),  # Velodyne, of the end of the sweep
        ((SPAN * 1e9).astype(np.uint32), "time=t/1000000000"),  # Ouster
        ((SPAN * 1e6).astype(np.int32), "time=t/1000000"),
        (SPAN * 1e3, "time=t/1000"),
        (SPAN + 1.7e9, "time=t@"),  # Hesai
        (((SPAN + 1.7e9) * 1e9).astype(np.int64), "time=t/1000000000@"),
        (((SPAN + 1.7e9) * 1e6).astype(np.uint64), "time=t/1000000@"),
    ],
)
def test_times(values: np.ndarray, text: str) -> None:
    guess = guess_time("t", values)
    assert guess.text == text
    assert guess.reason
    assert point_format(f"feather:x,y,z,{text}").columns == ("x", "y", "z", "time")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((SPAN + 1.7e9).astype(np.float32), "float32 has steps of 128 s"),
        (SPAN + 245_370.0, "from a start that the file does not tell"),  # seconds of a GPS week
        (np.zeros(9), "all at one time"),
        (np.full(9, np.nan), "holds no number"),
        (np.linspace(0, 3e12, 9), "in no unit the 5 ms to 2 s of a sweep"),
    ],
)
def test_times_that_nobody_can_tell(values: np.ndarray, reason: str) -> None:
    guess = guess_time("t", values)
    assert not guess.sure
    assert guess.text == ""
    assert reason in guess.reason


@given(st.floats(0.006, 1.9), st.sampled_from([1.0, 1e3, 1e6, 1e9]), st.floats(0, 4e9), st.booleans())
def test_times_of_any_span(span: float, ticks: float, start: float, absolute: bool) -> None:
    start = 1e9 + start if absolute else 0.0
    values = np.array([start, start + span]) * ticks
    guess = guess_time("t", values)
    assert guess.divisor == ticks
    assert guess.start == ("1970" if absolute else "sweep")


@pytest.mark.parametrize(
    ("values", "divisor"),
    [
        (np.array([0.0, 0.99]), 1),
        (np.array([0, 1, 254], np.uint8), 255),
        (np.array([0.0, 90.5]), 255),
        (np.array([0, 3000], np.uint16), 4095),
        (np.array([0, 40_000], np.uint16), 65535),
        (np.array([0.0, 2e6]), 2e6),
        (np.array([-20.0, 3.0]), None),
        (np.zeros(3), None),
        (np.full(3, np.nan), None),
    ],
)
def test_intensities(values: np.ndarray, divisor: float | None) -> None:
    guess = guess_intensity("i", values)
    assert guess.divisor == divisor
    assert guess.reason
    assert guess.text == {None: "", 1: "intensity=i"}.get(divisor, f"intensity=i/{divisor or 0:.10g}")


def test_metres() -> None:
    rng = np.random.default_rng(0)
    xy = rng.uniform(-80, 80, (2, 100))
    for scale, divisor in ((1.0, 1.0), (1e3, 1e3), (1e2, 1e2)):
        columns = {"x": xy[0] * scale + 4e5, "y": xy[1] * scale}
        assert guess_metres(columns, {"x": "x", "y": "y"}).divisor == divisor


def test_words_are_no_columns() -> None:
    (guess,) = guess_columns({"intensity": np.array(["low"], dtype=object)})
    assert not guess.sure


@pytest.mark.parametrize(
    ("file", "texts"),
    [
        ("pcd/binary_compressed.pcd", ["x", "y", "z", "intensity/255", "ring", "time=timestamp@"]),
        ("pcd/binary.pcd", ["x", "y", "z", "intensity"]),
        ("ply/lidar_scan_scalar_intensity_binary.ply", ["x", "y", "z", "intensity/255"]),
        ("pandaset/001/lidar/00.pkl.gz", ["x", "y", "z", "intensity=i/255", "time=t@"]),
    ],
)
def test_real_files(real_data: Path, file: str, texts: list[str]) -> None:
    assert [guess.text for guess in guess_columns(decode(real_data / file))] == texts
