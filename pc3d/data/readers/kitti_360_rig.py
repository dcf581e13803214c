"""The rig of KITTI-360: where LiDAR and cameras stand on the vehicle."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.readers.image_folders import first_image_size
from pc3d.data.readers.kitti_calibration import Calibration
from pc3d.data.readers.kitti_rig import EGO_SE3_LIDAR
from pc3d.data.readers.text_files import read_lines, read_rows
from pc3d.data.records import Camera, Float64, check_pose
from pc3d.geometry.camera import shift_pixel_centres
from pc3d.geometry.rigid import compose_SE3, invert_SE3, make_SE3

PERSPECTIVE = {"image_00": "data_rect", "image_01": "data_rect"}
FISHEYE = {"image_02": "data_rgb", "image_03": "data_rgb"}
"""The cameras and the folder of their images."""

_REMEDY = "extract the calibration archive into ROOT/calibration"
_ENTRY = re.compile(r"\s*(\w+)\s*:\s*([-+.\deE]+)\s*")
_MEI = ("xi", "k1", "k2", "p1", "p2", "gamma1", "gamma2", "u0", "v0", "image_width", "image_height")


@dataclass(frozen=True, eq=False)
class Rig:
    """(4, 4) imu_SE3_ego, and the cameras without path, time and pose."""

    imu_SE3_ego: Float64
    cameras: list[Camera]


def read_rig(root: Path, drive: Path) -> Rig:
    """The rig of a drive: its cameras are those that have an image folder, which is their path.

    Args:
        root: of the data set.
        drive: folder of the drive in `data_2d_raw`.

    Raises:
        DataError: a calibration file, an entry or all images of a folder are missing or broken.
    """
    folder = root / "calibration"
    to_imu = Calibration(folder / "calib_cam_to_pose.txt", _REMEDY)
    imu_SE3_velo = compose_SE3(to_imu.transform("image_00"), invert_SE3(_velo_SE3_cam0(folder)))
    imu_SE3_ego = compose_SE3(imu_SE3_velo, invert_SE3(EGO_SE3_LIDAR))
    ego_SE3_imu = invert_SE3(imu_SE3_ego)
    cameras = [
        *_perspective(folder, drive, to_imu, ego_SE3_imu),
        *_fisheye(folder, drive, to_imu, ego_SE3_imu),
    ]
    return Rig(imu_SE3_ego, cameras)


def _velo_SE3_cam0(folder: Path) -> Float64:
    path = folder / "calib_cam_to_velo.txt"
    rows = read_rows(path, "calibration", 12, _REMEDY)
    if len(rows) != 1:
        fail(f"{len(rows)} lines, expected one of 12 numbers", path, _REMEDY)
    entry = rows[0].reshape(3, 4)
    velo_SE3_cam0 = make_SE3(entry[:, :3], entry[:, 3])
    try:
        check_pose("the transform", velo_SE3_cam0)
    except ValueError as error:
        fail(str(error), path, _REMEDY)
    return velo_SE3_cam0


def _perspective(folder: Path, drive: Path, to_imu: Calibration, ego_SE3_imu: Float64) -> Iterator[Camera]:
    """The rectified cameras: each stands where it was measured, turned by its rectification."""
    found = {name: path for name, part in PERSPECTIVE.items() if (path := drive / name / part).is_dir()}
    if not found:
        return
    where = folder / "perspective.txt"
    calibration = Calibration(where, _REMEDY)
    for name, path in found.items():
        projection = calibration.projection(f"P_rect_{name[-2:]}", f"S_rect_{name[-2:]}")
        rect_SE3_cam = calibration.rectification(f"R_rect_{name[-2:]}")
        imu_SE3_rect = compose_SE3(to_imu.transform(name), invert_SE3(rect_SE3_cam))
        size = _size_of(path, projection.size, where)
        yield _camera(name, path, size, projection.K, compose_SE3(ego_SE3_imu, imu_SE3_rect))


def _fisheye(folder: Path, drive: Path, to_imu: Calibration, ego_SE3_imu: Float64) -> Iterator[Camera]:
    for name, part in FISHEYE.items():
        path = drive / name / part
        if path.is_dir():
            where = folder / f"{name}.yaml"
            found = _read_mei(where)
            K = np.array([[found["gamma1"], 0, found["u0"]], [0, found["gamma2"], found["v0"]], [0, 0, 1]])
            size = _size_of(path, (found["image_width"], found["image_height"]), where)
            distortion = tuple(found[key] for key in ("xi", "k1", "k2", "p1", "p2"))
            ego_SE3_cam = compose_SE3(ego_SE3_imu, to_imu.transform(name))
            try:
                yield _camera(name, path, size, K, ego_SE3_cam, distortion, "mei")
            except ValueError as error:
                fail(f"{name} is no camera: {error}", where, _REMEDY)


def _camera(
    name: str,
    path: Path,
    size: tuple[int, int],
    K: Float64,
    ego_SE3_cam: Float64,
    distortion: tuple[float, ...] = (),
    model: str = "brown",
) -> Camera:
    return Camera(
        name=name,
        path=path,
        size=size,
        intrinsics=shift_pixel_centres(K),
        ego_SE3_cam=ego_SE3_cam,
        world_SE3_ego=np.eye(4),
        timestamp=0,
        distortion=distortion,
        model=model,
    )


def _size_of(path: Path, stated: tuple[float, ...] | None, where: Path) -> tuple[int, int]:
    size = first_image_size(path)
    if stated not in (None, size):
        fail(
            f"the images have {size[0]} x {size[1]} pixels, the calibration is of {stated}",
            f"{path} and {where}",
            "take images and calibration of the same release, in their own size",
        )
    return size


def _read_mei(path: Path) -> dict[str, float]:
    """The numbers of a camera file of OpenCV; its first line is no YAML, so each line is read alone."""
    lines = read_lines(path, "calibration", _REMEDY)
    found = {m[1]: m[2] for line in lines if (m := _ENTRY.fullmatch(line))}
    values: dict[str, float] = {}
    for name in _MEI:
        if name not in found:
            fail(f"calibration entry {name} is missing", path, _REMEDY)
        try:
            values[name] = float(found[name])
        except ValueError as error:
            fail(f"calibration entry {name} is broken: {error}", path, _REMEDY)
    return values
