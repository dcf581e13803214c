"""Calibrations that are wrong, said when a data set is indexed and when a run starts."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import Fault, Place, check
from PIL import Image

from pc3d.geometry.rigid import invert_SE3, make_SE3, matrix_to_quaternion, quaternion_to_matrix, yaw_matrix

Row = dict[str, Any]
Change = Callable[[Row], None]


def inverted(row: Row) -> None:
    pose = invert_SE3(make_SE3(quaternion_to_matrix(row["rotation"]), np.array(row["translation"])))
    row["translation"] = pose[:3, 3].tolist()
    row["rotation"] = matrix_to_quaternion(pose[:3, :3]).tolist()


def turned(degrees: float) -> Change:
    def change(row: Row) -> None:
        rotation = yaw_matrix(np.radians(degrees)) @ quaternion_to_matrix(row["rotation"])
        row["rotation"] = matrix_to_quaternion(rotation).tolist()

    return change


def scalar_last(row: Row) -> None:
    row["rotation"] = [*row["rotation"][1:], row["rotation"][0]]


def half_size(row: Row) -> None:
    row["camera_intrinsic"] = (np.diag([0.5, 0.5, 1]) @ row["camera_intrinsic"]).tolist()


def sensors(channel: str, change: Change) -> Callable[[Place], Path]:
    """A data set whose calibration of a sensor is changed."""

    def spoil(place: Place) -> Path:
        root = place.copy_of_data(None if place.real is None else place.real / "nuscenes")
        (tables,) = root.glob("v1.0-*")
        (sensor,) = (
            row for row in json.loads((tables / "sensor.json").read_text()) if row["channel"] == channel
        )
        rows = json.loads((tables / "calibrated_sensor.json").read_text())
        for row in rows:
            if row["sensor_token"] == sensor["token"]:
                change(row)
        place.rewrite(tables / "calibrated_sensor.json", json.dumps(rows).encode())
        return root

    return spoil


def exchanged(place: Place) -> Path:
    """The images of two cameras under each other's names."""
    root = place.copy_of_data()
    for left in sorted((root / "samples" / "CAM_FRONT_LEFT").iterdir()):
        right = next((root / "samples" / "CAM_BACK_RIGHT").glob(f"*{left.stem.rpartition('__')[2]}*"))
        contents = left.read_bytes(), right.read_bytes()
        place.rewrite(right, contents[0])
        place.rewrite(left, contents[1])
    return root


def centre_exchanged(row: Row) -> None:
    (_, _, cx), (_, _, cy), _ = row["camera_intrinsic"]
    row["camera_intrinsic"][0][2], row["camera_intrinsic"][1][2] = cy, cx


def pictures(name: str, write: Callable[[Path], bytes]) -> Callable[[Place], Path]:
    """A data set with other pictures of a camera."""

    def spoil(place: Place) -> Path:
        root = place.copy_of_data()
        for path in sorted((root / "samples" / name).iterdir()):
            place.rewrite(path, write(path))
        return root

    return spoil


def upside_down(path: Path) -> bytes:
    with Image.open(path) as image, io.BytesIO() as file:
        image.transpose(Image.Transpose.ROTATE_180).save(file, "JPEG", quality=95)
        return file.getvalue()


def mirrored_points(place: Place) -> Path:
    """Without boxes, which would show it."""
    root = place.copy_of_data()
    for name in ("sample_annotation", "instance"):
        place.rewrite(root / "v1.0-sim" / f"{name}.json", b"[]")
    for path in sorted(root.glob("s*/LIDAR_TOP/*")):
        points = np.fromfile(path, np.float32).reshape(-1, 5) * np.array([1, -1, 1, 1, 1], np.float32)
        place.rewrite(path, points.astype(np.float32).tobytes())
    return root


def index(spoil: Callable[[Place], Path]) -> Callable[[Place], Sequence[str | Path]]:
    def command(place: Place) -> Sequence[str | Path]:
        root = spoil(place)
        (tables,) = root.glob("v1.0-*")
        return ["data_prep/nuscenes.py", root, "--version", tables.name, "--out", place.tmp / "index"]

    return command


def scored(spoil: Callable[[Place], Path], camera: str) -> Callable[[Place], Sequence[str | Path]]:
    """Scores of one camera of the sound index, with the files of a spoiled data set."""
    return lambda place: [
        "data_prep/calibration.py", place.index, "--root", spoil(place), "--cameras", camera
    ]  # fmt: skip


def calibration(*options: str) -> Callable[[Place], Sequence[str | Path]]:
    return lambda place: ["data_prep/calibration.py", place.index, *options]


FAULTS = [
    Fault(
        "extrinsics of a camera that are inverted",
        "indexing",
        0,
        [r"problem +calibration CAM_BACK_LEFT: ego_SE3_cam is inverted", "data.calibration=warn"],
        index(sensors("CAM_BACK_LEFT", inverted)),
        never=["Traceback", "calibration CAM_FRONT"],
    ),
    Fault(
        "a camera that is turned by 5 degrees",
        "indexing",
        0,
        [r"problem +calibration CAM_FRONT: it fits better turned by 5 degrees to the right"],
        index(sensors("CAM_FRONT", turned(5))),
        never=["Traceback", "calibration CAM_BACK"],
    ),
    Fault(
        "a LiDAR that is turned by 5 degrees",
        "indexing",
        0,
        [
            rf"problem +calibration CAM_{name}: it fits better turned by 5(\.5)? degrees"
            for name in ("FRONT", "BACK")
        ],
        index(sensors("LIDAR_TOP", turned(-5))),
    ),
    Fault(
        "images of two cameras that are exchanged",
        "indexing",
        0,
        [
            r"CAM_FRONT_LEFT: its images are those of CAM_BACK_RIGHT",
            r"CAM_BACK_RIGHT: its images are those of CAM_F",
        ],
        index(exchanged),
        never=["Traceback", "calibration CAM_FRONT:"],
    ),
    Fault(
        "a quaternion in the order x y z w",
        "indexing",
        0,
        [r"problem +calibration CAM_BACK_RIGHT: the quaternion of ego_SE3_cam is"],
        index(sensors("CAM_BACK_RIGHT", scalar_last)),
    ),
    Fault(
        "intrinsics of another image size",
        "indexing",
        0,
        [r"problem +calibration CAM_BACK_LEFT: the intrinsics are 0.5 times"],
        index(sensors("CAM_BACK_LEFT", half_size)),
    ),
    Fault(
        "pictures of a camera that are turned by 180 degrees",
        "indexing",
        0,
        [r"problem +calibration CAM_BACK_LEFT: its images are turned by 180 degrees"],
        index(pictures("CAM_BACK_LEFT", upside_down)),
        never=["Traceback", "calibration CAM_FRONT"],
    ),
    Fault(
        "points of a LiDAR that are mirrored, without boxes",
        "indexing",
        0,
        [r"problem +calibration CAM_FRONT_LEFT: y of the LiDAR's points has the wrong sign"],
        index(mirrored_points),
    ),
    Fault(
        "a principal point whose x and y are exchanged",
        "indexing",
        0,
        [
            r"problem +intrinsics: 9 of 54 .*cx and cy exchanged",
            r"problem +calibration CAM_FRONT: cx and cy of the intrinsics are exchanged",
        ],
        index(sensors("CAM_FRONT", centre_exchanged)),
        never=["Traceback", "calibration CAM_BACK"],
    ),
    Fault(
        "one picture for all times of a camera",
        "start",
        0,
        [r"warning +calibration CAM_BACK: \d frames have one and the same image"],
        scored(pictures("CAM_BACK", lambda path: sorted(path.parent.iterdir())[-1].read_bytes()), "CAM_BACK"),
    ),
    Fault(
        "pictures of a camera none of which can be read",
        "start",
        0,
        [r"warning +calibration CAM_BACK: (\d+) of \1 pictures that were looked at cannot be read, first: "],
        scored(pictures("CAM_BACK", lambda path: path.read_bytes()[:500]), "CAM_BACK"),
    ),
    Fault(
        "calibration of cameras that are not there",
        "start",
        2,
        ["no image to compare"],
        calibration("--cameras", "CAM"),
    ),
]
REAL = Fault(
    "real: extrinsics of a camera that are inverted",
    "indexing",
    0,
    [r"problem +calibration CAM_BACK: ego_SE3_cam is inverted .*in 1 frames"],
    index(sensors("CAM_BACK", inverted)),
    never=["Traceback", "calibration CAM_FRONT"],
)

SLOW = (
    "a camera that is turned by 5 degrees",
    "a quaternion in the order x y z w",
    "a LiDAR that is turned by 5 degrees",
    "images of two cameras that are exchanged",
    "pictures of a camera that are turned by 180 degrees",
    "points of a LiDAR that are mirrored, without boxes",
)
"""They are named as the others; that each is found, tests/data/test_data_calibration.py looks at."""
MARKED = [
    pytest.param(fault, id=fault.name, marks=[pytest.mark.long] if fault.name in SLOW else [])
    for fault in FAULTS
]


def test_the_slow_ones_are_faults() -> None:
    assert set(SLOW) < {fault.name for fault in FAULTS}


@pytest.mark.parametrize("fault", MARKED)
def test_fault(fault: Fault, place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    check(fault, place, capfd)


def test_real(real_place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    check(REAL, real_place, capfd)


def test_sound(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    sound = Fault(
        "sound",
        "start",
        0,
        [r"ok +calibration CAM_BACK: edges"],
        calibration(),
        never=["Traceback", "problem"],
    )
    check(sound, place, capfd)
