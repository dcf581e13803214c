"""Points and labels of the Waymo Open Dataset (v2): range images of up to five LiDARs in Parquet rows.

What is read is the published geometry of its range images: beams by inclination, columns by azimuth, and for
the LiDAR on the roof a pose of the vehicle for each pixel. All of it in float64, for worlds reach 1e4 m.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.points.decoders import Raw
from pc3d.data.readers.parquet_rows import cursor, numbers, places, read_columns
from pc3d.data.readers.waymo_files import (
    AGAIN,
    LASER,
    LASERS,
    TOP,
    Rows,
    component,
    poses_of,
    sensor_rows,
    sensors_of,
    transforms,
)
from pc3d.data.records import Float64
from pc3d.geometry.rigid import invert_SE3, transform_points

RETURNS = (1, 2)
COLUMNS = ("x", "y", "z", "intensity", "elongation", "no_label_zone", "return", "lidar")
"""Of `decode`: vehicle frame in metres; intensity without bound; no_label_zone 1 inside, -1 outside; return
from 1; lidar from 0, the one on the roof."""

_IMAGE = "[LiDARComponent].range_image_return{}"
_POSES = "[LiDARPoseComponent].range_image_return1"
_LABELS = "[LiDARSegmentationLabelComponent].range_image_return{}"
_EXTRINSIC = "[LiDARCalibrationComponent].extrinsic.transform"
_INCLINATION = "[LiDARCalibrationComponent].beam_inclination"
_MOST_PIXELS = 1 << 24
_FAR = 64
"""Rows between the LiDARs of one frame, from which on each has a cursor of its own."""


@dataclass(frozen=True, eq=False)
class Laser:
    """A LiDAR: vehicle_SE3_laser, and the inclinations of its beams, all from the lowest or the outermost."""

    vehicle_SE3_laser: Float64
    beams: Float64 | None
    outermost: tuple[float, float]

    def inclinations(self, height: int, where: str) -> Float64:
        """(height,) radians of the rows of its range image, the highest first."""
        if self.beams is None:
            low, high = self.outermost
            return (low + (np.arange(height) + 0.5) / height * (high - low))[::-1]
        if len(self.beams) != height:
            fail(f"there are {len(self.beams)} beam inclinations for {height} rows", where, AGAIN)
        return self.beams[::-1]


def frame_key(timestamp: int, laser: str = "") -> str:
    """The key of a frame, of all LiDARs or of one."""
    return f"{timestamp},{laser}" if laser else str(timestamp)


def decode(path: Path, key: str = "", layout: object = None) -> Raw:
    """The points of a frame in the vehicle frame at its time, by `COLUMNS`.

    LiDARs in ascending order, of each the first return row after row, then the second.

    Args:
        path: component `lidar` of a segment; other components are found beside its folder.
        key: see `frame_key`.

    Raises:
        DataError: a component is missing or damaged, or has no such frame.
    """
    timestamp, rows = _rows_of(path, key)
    lasers = lasers_of(component(path, "lidar_calibration"))
    clouds = []
    for laser, place in rows.items():
        if laser not in lasers:
            fail(f"laser {laser} has no calibration", component(path, "lidar_calibration"), AGAIN)
        batch = _batch(path, place, _pair(_IMAGE), rows, laser)
        where = f"{path}, {key}"
        poses = _pixel_poses(path, timestamp) if laser == TOP else None
        for number in RETURNS:
            image = _image(batch, _IMAGE.format(number), 4, where)
            if image is not None:
                clouds.append(_cloud(image, lasers[laser], poses, (laser, number), where))
    if not clouds:
        fail("the frame has no range image", f"{path}, {key}", AGAIN)
    return {name: np.concatenate([cloud[name] for cloud in clouds]) for name in COLUMNS}


def decode_labels(path: Path, key: str = "", argument: str = "") -> NDArray:
    """(P,) classes in the order of `decode`, 0 where a LiDAR has none.

    Args:
        path: component `lidar_segmentation`. key: as of `decode`.
    """
    lidar = component(path, "lidar")
    timestamp, rows = _rows_of(lidar, key)
    labelled = sensor_rows(path)
    classes = []
    for laser, place in rows.items():
        batch = _batch(lidar, place, _pair(_IMAGE), rows, laser)
        at = labelled.get((timestamp, laser))
        labels = None if at is None else cursor(path, _pair(_LABELS)).row(*at)
        for number in RETURNS:
            image = _image(batch, _IMAGE.format(number), 4, f"{lidar}, {key}")
            if image is None:
                continue
            taken = image[..., 0] > 0
            found = None if labels is None else _image(labels, _LABELS.format(number), 2, f"{path}, {key}")
            if found is not None and found.shape[:2] != taken.shape:
                what = f"labels of {found.shape[:2]} for a range image of {taken.shape}"
                fail(what, f"{path}, {key}", AGAIN)
            classes.append(np.zeros(taken.sum()) if found is None else found[..., 1][taken])
    if not classes:
        fail("the frame has no range image", f"{lidar}, {key}", AGAIN)
    return np.concatenate(classes).astype(np.int64)


def _pair(name: str) -> tuple[str, ...]:
    return tuple(f"{name.format(number)}.{part}" for number in RETURNS for part in ("values", "shape"))


def _rows_of(path: Path, key: str) -> tuple[int, dict[int, tuple[int, int]]]:
    """Microseconds of a key, and the rows of its LiDARs, ascending."""
    stamp, _, name = key.partition(",")
    if not stamp.isdigit() or (name and name not in LASERS):
        fail(f"the key {key!r} is no TIME or TIME,LASER", path, "build the index again")
    rows: Rows = sensor_rows(path)
    wanted = [LASERS[name]] if name else sorted(LASERS.values())
    found = {laser: rows[int(stamp), laser] for laser in wanted if (int(stamp), laser) in rows}
    if not found:
        fail(f"there is no frame {key}", path, f"{AGAIN}, and build the index again")
    return int(stamp), found


def _batch(
    path: Path, place: tuple[int, int], columns: tuple[str, ...], rows: dict[int, tuple[int, int]], laser: int
) -> pa.RecordBatch:
    """A row, by one cursor for a frame whose rows are together, else by one for each LiDAR."""
    groups = {group for group, _ in rows.values()}
    near = max(row for _, row in rows.values()) - min(row for _, row in rows.values()) < _FAR
    together = len(groups) == 1 and near
    return cursor(path, columns, 0 if together else laser).row(*place)


def _image(batch: pa.RecordBatch, name: str, channels: int, where: str) -> Float64 | None:
    """(H, W, channels) float64, None where the row has no such image."""
    values, shape = numbers(batch, f"{name}.values"), numbers(batch, f"{name}.shape")
    if values is None or shape is None or not len(values):
        return None
    size = [int(n) for n in shape]
    if len(size) != 3 or size[2] != channels or min(size) < 1 or size[0] * size[1] > _MOST_PIXELS:
        fail(f"{name} has the shape {size}, expected H W {channels}", where, AGAIN)
    if size[0] * size[1] * channels != len(values) or not np.isfinite(values).all():
        fail(f"{name} has {len(values)} values for the shape {size}, or some are not finite", where, AGAIN)
    return values.astype(np.float64).reshape(size)


@lru_cache(maxsize=4)
def _poses(path: Path, stamp: object) -> dict[int, Float64]:
    return poses_of(path)


def _pixel_poses(path: Path, timestamp: int) -> tuple[Float64, Float64]:
    """(H, W, 6) roll pitch yaw x y z of world_SE3_vehicle at each pixel, vehicle_SE3_world of the frame."""
    vehicle = component(path, "vehicle_pose")
    poses = _poses(vehicle, vehicle.stat().st_mtime_ns if vehicle.is_file() else None)
    where = component(path, "lidar_pose")
    at = sensor_rows(where).get((timestamp, TOP))
    if timestamp not in poses or at is None:
        fail(f"there is no pose of time {timestamp}", vehicle if timestamp not in poses else where, AGAIN)
    names = (f"{_POSES}.values", f"{_POSES}.shape")
    image = _image(cursor(where, names).row(*at), _POSES, 6, f"{where}, {timestamp}")
    if image is None:
        fail("the row holds no poses", f"{where}, {timestamp}", AGAIN)
    return image, invert_SE3(poses[timestamp])


def _cloud(
    image: Float64,
    laser: Laser,
    poses: tuple[Float64, Float64] | None,
    number: tuple[int, int],
    where: str,
) -> Raw:
    """Columns of one range image; `number` is of the LiDAR and of the return."""
    taken = image[..., 0] > 0
    row, column = np.nonzero(taken)
    depth, intensity, elongation, no_label_zone = image[taken].T
    height, width = taken.shape
    E = laser.vehicle_SE3_laser
    azimuth = ((width - column - 0.5) / width * 2 - 1) * np.pi - np.arctan2(E[1, 0], E[0, 0])
    beam = laser.inclinations(height, where)[row]
    level = np.cos(beam) * depth
    xyz = np.stack([np.cos(azimuth) * level, np.sin(azimuth) * level, np.sin(beam) * depth], axis=1)
    xyz = transform_points(E, xyz)
    if poses is not None:
        if poses[0].shape[:2] != taken.shape:
            fail(f"poses of {poses[0].shape[:2]} pixels for a range image of {taken.shape}", where, AGAIN)
        xyz = transform_points(poses[1], _in_world(xyz, poses[0][taken]))
    fixed = {"return": number[1], "lidar": number[0] - 1}
    return {
        "x": xyz[:, 0],
        "y": xyz[:, 1],
        "z": xyz[:, 2],
        "intensity": intensity,
        "elongation": elongation,
        "no_label_zone": no_label_zone,
        **{name: np.full(len(xyz), value) for name, value in fixed.items()},
    }


def _in_world(xyz: Float64, poses: Float64) -> Float64:
    """(P, 3) points, each by its own pose (P, 6) roll pitch yaw x y z: R = Rz(yaw) Ry(pitch) Rx(roll)."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(poses[:, :3].T), np.sin(poses[:, :3].T)
    x, y, z = xyz.T
    y, z = cr * y - sr * z, sr * y + cr * z
    x, z = cp * x + sp * z, cp * z - sp * x
    x, y = cy * x - sy * y, sy * x + cy * y
    return np.stack([x, y, z], axis=1) + poses[:, 3:]


def lasers_of(path: Path) -> dict[int, Laser]:
    """The LiDARs of the component lidar_calibration, by number.

    Raises:
        DataError: it is missing or damaged.
    """
    return _lasers(path, path.stat().st_mtime_ns if path.is_file() else None)


@lru_cache(maxsize=16)
def _lasers(path: Path, stamp: object) -> dict[int, Laser]:
    bounds = [f"{_INCLINATION}.min", f"{_INCLINATION}.max"]
    columns = read_columns(path, [LASER, _EXTRINSIC, *bounds])
    names = sensors_of(columns, LASER, LASERS, path)
    extrinsics = transforms(columns[_EXTRINSIC], _EXTRINSIC, path)
    lows, highs = (columns[name].astype(np.float64) for name in bounds)
    values = f"{_INCLINATION}.values"
    found = {}
    for n, (laser, place) in enumerate(zip(names, places(path), strict=True)):
        beams = numbers(cursor(path, (values,)).row(*place), values)
        beams = None if beams is None or not len(beams) else beams.astype(np.float64)
        given = beams if beams is not None else np.array([lows[n], highs[n]])
        if not (np.abs(given) <= np.pi / 2).all() or (np.diff(given) <= 0).any():
            fail(f"the beam inclinations of laser {laser} are no ascending angles", path, AGAIN)
        found[laser] = Laser(extrinsics[n], beams, (float(lows[n]), float(highs[n])))
    return found
