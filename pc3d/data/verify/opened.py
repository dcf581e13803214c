"""The files of a sweep, opened: points of all LiDARs, images, labels, and the points in boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import ClassSet
from pc3d.data.errors import DataError
from pc3d.data.images import load_image
from pc3d.data.labels import load_raw_labels, look_up
from pc3d.data.points import load_sweep
from pc3d.data.points.load import BASE, available
from pc3d.data.records import Boxes, Camera, Float32, Sweep
from pc3d.data.survey.labels import LabelContent
from pc3d.data.survey.listing import why_missing
from pc3d.data.survey.point_columns import odd_rings
from pc3d.data.verify.notes import Notes
from pc3d.geometry.boxes import points_in_boxes

LIDAR, LABELS = "LiDAR", "labels"
_AT_ORIGIN, _REACH = 0.01, 2.0  # metres
_SECONDS = 1.0
_ROAD = 5.0  # metres from the LiDAR, beyond which the ground is looked for
_HIGH = 0.5  # metres above the LiDAR, where no ground is
_NEAR = 30.0  # metres: a box there holds points
_MOST, _POINTS = 10, 10  # boxes that are counted, and points that they are said to hold
_SAID = 100  # points in the boxes of a sweep, from which that sweep is judged alone
_SCAN = 1000  # points of a scan, which sees more than one class
_BLANK = 3
_Read = TypeVar("_Read")


@dataclass
class Opened:
    """What is kept of a sweep.

    Attributes:
        token, scene: of it. position: of the vehicle, metres in the world.
        points: number of them by LiDAR, none where they cannot be read.
        content: hash of what was read, by sensor and file.
    """

    token: str
    scene: str
    position: tuple[float, float, float]
    points: dict[str, int] = field(default_factory=dict)
    content: list[tuple[str, str, bytes]] = field(default_factory=list)


def open_sweep(sweep: Sweep, classes: ClassSet | None, notes: Notes) -> Opened:
    """Open all files of a sweep and note what is odd."""
    x, y, z = sweep.world_SE3_ego[:3, 3].tolist()
    opened = Opened(sweep.token, sweep.scene, (x, y, z))
    extra = tuple(name for name in available(sweep) if name not in BASE)
    files = [(LIDAR, sweep.path), *((f"{LIDAR} {one.name}", one.path) for one in sweep.lidars)]
    points = _read(notes, files, sweep.token, lambda: load_sweep(sweep, extra))
    if points is not None:
        for sensor, file, own in _by_lidar(points, extra, sweep):
            opened.points[sensor] = len(own)
            opened.content.append((sensor, file, _hash(own)))
            _look_at_points(own, extra, sensor, sweep, notes)
        chosen = _count(points, sweep.boxes, sweep.token, notes)
        if sweep.lidarseg_path is not None and classes is not None and classes.classes:
            _look_at_labels(points, chosen, sweep, classes, notes)
    for camera in sweep.cameras:
        image = _read(notes, [(camera.name, camera.path)], sweep.token, partial(_decode, camera, sweep))
        if image is not None:
            opened.content.append((camera.name, f"{camera.path} {camera.key}", _hash(image)))
            flat = image.reshape(-1, 3)
            blank = int((flat.max(axis=0) - flat.min(axis=0)).max(initial=0)) < _BLANK
            notes.look("blank images", blank, f"{camera.path.name} of sweep {sweep.token}", camera.name)
    return opened


def _read(
    notes: Notes, files: Sequence[tuple[str, Path]], token: str, read: Callable[[], _Read]
) -> _Read | None:
    """What `read` gives of files of sensors; what cannot be read is noted, and the next one is looked at."""
    try:
        content = read()
    except ImportError:
        raise  # a package that is missing is no fault of the data
    except Exception as error:  # of a damaged file: of many kinds
        _note(notes, files, token, error)
        return None
    for sensor, _ in files:
        notes.look("missing files", False, sensor=sensor)
        notes.look("damaged files", False, sensor=sensor)
    return content


def _note(notes: Notes, files: Sequence[tuple[str, Path]], token: str, error: Exception) -> None:
    """Note each file that is not there, or else the one that the error names."""
    missing = [one for one in files if _is_missing(one[1])]
    for sensor, path in missing:
        notes.look("missing files", True, f"{path} {why_missing(path)}, sweep {token}", sensor)
    if not missing:
        lines = [line.strip() for line in str(error).split("\n")[:2]]
        what = ", ".join(lines) if isinstance(error, DataError) else f"{type(error).__name__}: {lines[0]}"
        sensor = next((sensor for sensor, path in files if str(path) in str(error)), files[0][0])
        notes.look("damaged files", True, what if token in what else f"{what}, sweep {token}", sensor)


def _is_missing(path: Path) -> bool:
    return not path.exists() or (path.is_file() and not path.stat().st_size)


def _hash(content: NDArray) -> bytes:
    return blake2b(np.ascontiguousarray(content).data, digest_size=8).digest()


def _decode(camera: Camera, sweep: Sweep) -> NDArray[np.uint8]:
    """A JPEG at an eighth of its size: what is cut off shows in it too."""
    width, height = camera.size
    least = (max(1, width // 8), max(1, height // 8))
    return load_image(camera.path, sweep.token, least, camera.size, camera.key)


def _by_lidar(points: Float32, extra: Sequence[str], sweep: Sweep) -> Iterator[tuple[str, str, Float32]]:
    """Sensor, file and points of each LiDAR of a sweep: what one lacks, all of them together may hide."""
    if "lidar" not in extra:
        yield LIDAR, f"{sweep.path} {sweep.key}", points
        return
    numbers = points[:, len(BASE) + extra.index("lidar")]
    for number in np.unique(numbers).astype(int).tolist():
        sensor, file = LIDAR if number == 0 else f"{LIDAR} {number}", f"{sweep.path} {sweep.key} {number}"
        if 0 < number <= len(sweep.lidars):
            one = sweep.lidars[number - 1]
            sensor, file = f"{LIDAR} {one.name}", f"{one.path} {one.key}"
        yield sensor, file, points[numbers == number]


def _look_at_points(points: Float32, extra: Sequence[str], sensor: str, sweep: Sweep, notes: Notes) -> None:
    """Look at the points of one LiDAR."""
    look, where = partial(notes.look, sensor="" if sensor == LIDAR else sensor), f"sweep {sweep.token}"
    away = np.abs(points[:, :3]).max(axis=1)
    look("points at the origin", bool((away < _AT_ORIGIN).mean() > 0.5), where)
    away = away[away >= _AT_ORIGIN]
    farthest = float(np.quantile(away, 0.98)) if len(away) else 0.0
    look("reach", 0 < farthest < _REACH, f"98 % within {farthest:.3g} m, {where}")
    strength = points[:, 3]
    look("intensity", bool((strength == strength[0]).all()), f"{strength[0]:.3g} in {where}")
    if "ring" in extra:
        what = odd_rings(points[:, [0, 1, 2, 3, len(BASE) + extra.index("ring")]])
        look("rings", bool(what), f"{what}, {where}")
    if "time" in extra:
        seconds = points[:, len(BASE) + extra.index("time")]
        low, high = float(seconds.min()), float(seconds.max())
        far = max(abs(low), abs(high)) > _SECONDS
        look("times of points", far, f"{low:.4g} to {high:.4g} s, {where}")
        look("equal times of points", low == high and len(seconds) > 1, f"{low:.4g} s, {where}")
    above = _ground(points, sweep)
    look("upright", above > _HIGH, f"at {above:.3g} m, {where}")


def _ground(points: Float32, sweep: Sweep) -> float:
    """Height over the LiDAR, along the ego's z axis, at which the most points beyond `_ROAD` lie; 0 where
    too few do."""
    far = points[np.hypot(points[:, 0], points[:, 1]) > _ROAD]
    height = far[:, :3] @ sweep.ego_SE3_lidar[2, :3].astype(np.float32)
    if len(height) < 100:
        return 0.0
    counts, edges = np.histogram(height, bins=40, range=(-10.0, 10.0))
    return float(edges[counts.argmax()]) if counts.max() > 0.2 * len(height) else 0.0


def _count(points: Float32, boxes: Boxes | None, token: str, notes: Notes) -> NDArray[np.int64]:
    """Count the points in boxes; gives those that are said to hold most, if they hold them."""
    if boxes is None or not len(boxes):
        return np.empty(0, dtype=np.int64)
    near = np.flatnonzero((boxes.num_lidar_pts < 0) & (np.linalg.norm(boxes.centers[:, :2], axis=1) < _NEAR))
    counted = _inside(points, boxes, near).sum(axis=1)
    notes.near += len(near)
    notes.empty += int((counted == 0).sum())
    most = np.argsort(-boxes.num_lidar_pts, kind="stable")[:_MOST]
    most = most[boxes.num_lidar_pts[most] >= _POINTS]
    counted = _inside(points, boxes, most).sum(axis=1)
    said = int(boxes.num_lidar_pts[most].sum())
    held = int(np.minimum(counted, boxes.num_lidar_pts[most]).sum())
    notes.said, notes.held = notes.said + said, notes.held + held
    if said >= _SAID:
        where = f"{held} of {said} points in the boxes of sweep {token}"
        notes.look("boxes beside points", 2 * held < said, where)
    return most if 2 * held >= said else most[:0]


def _inside(points: Float32, boxes: Boxes, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    return points_in_boxes(points, boxes.centers[rows], boxes.sizes[rows], boxes.yaws[rows])


def _look_at_labels(
    points: Float32, chosen: NDArray[np.int64], sweep: Sweep, classes: ClassSet, notes: Notes
) -> None:
    path = sweep.lidarseg_path
    assert path is not None
    read = partial(load_raw_labels, sweep, len(points))
    raw = _read(notes, [(LABELS, path)], sweep.token, read)
    if raw is None:
        return
    labels = look_up(raw, classes)
    ids, counts = np.unique(raw[labels == -2], return_counts=True)
    notes.unknown.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
    notes.labels += len(raw)
    one = len(raw) > _SCAN and len(classes.classes) > 1 and labels[0] >= 0 and (labels == labels[0]).all()
    what = f"{classes.classes[labels[0]]} in {path.name} of sweep {sweep.token}" if one else ""
    notes.look("labels of one class", bool(one), what)
    content = LabelContent(classes)
    content.look(np.maximum(labels, -1), points, sweep.boxes, chosen, sweep.token)
    odd = {finding.name for finding in content.findings()}
    for name in ("label content", "labels in boxes"):
        notes.look(name, name in odd, f"{path.name} of sweep {sweep.token}")
