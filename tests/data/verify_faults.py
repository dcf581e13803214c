"""The faults that `pc3d verify` finds: what is spoiled, and the name and state of the finding."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet
from verify_drives import (
    HEIGHT,
    SIZE,
    STEPS,
    Sweeps,
    change,
    change_boxes,
    change_camera,
    cloud,
    make_SE3,
    yaw_matrix,
)

from pc3d.findings import State

Spoil = Callable[[Sweeps, Path], "Sweeps | None"]


@dataclass(frozen=True)
class Injected:
    """A fault.

    Attributes:
        name: what is wrong, as the table of docs/verify.md has it.
        finding: name of the finding that says it. state: of that.
        spoil: changes files below a root, or gives other records.
    """

    name: str
    finding: str
    state: State
    spoil: Spoil


def everywhere(_: int) -> bool:
    return True


def rewrite(at: int, change_points: Callable[[np.ndarray], np.ndarray], dtype: str = "<f4") -> Spoil:
    """Other points in the file of sweep `at`, of all sweeps where it is -1."""

    def spoil(sweeps: Sweeps, _: Path) -> None:
        for sweep in sweeps if at < 0 else [sweeps[at]]:
            change_points(cloud(sweep, 0)[0]).astype(dtype).tofile(sweep.path)

    return spoil


def scaled(columns: slice | int, factor: float) -> Callable[[np.ndarray], np.ndarray]:
    def points(table: np.ndarray) -> np.ndarray:
        table[:, columns] *= factor
        return table

    return points


def set_to(
    columns: slice | int, value: float, first: int | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    def points(table: np.ndarray) -> np.ndarray:
        table[:first, columns] = value
        return table

    return points


def shifted(column: int, by: float) -> Callable[[np.ndarray], np.ndarray]:
    def points(table: np.ndarray) -> np.ndarray:
        table[:, column] += by
        return table

    return points


def cut(which: Callable[[Sweeps], Path], keep: float = 0.5, extra: int = 1) -> Spoil:
    """A file of which a share is kept, and some bytes less."""

    def spoil(sweeps: Sweeps, _: Path) -> None:
        path = which(sweeps)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * keep) - extra])

    return spoil


def lidar(sweeps: Sweeps) -> Path:
    return sweeps[3].path


def rear(sweeps: Sweeps) -> Path:
    return sweeps[3].lidars[0].path


def front(sweeps: Sweeps) -> Path:
    return sweeps[3].cameras[0].path


def labels(sweeps: Sweeps) -> Path:
    path = sweeps[3].lidarseg_path
    assert path is not None
    return path


def removed(which: Callable[[Sweeps], Path]) -> Spoil:
    return lambda sweeps, _: which(sweeps).unlink()


def written(which: Callable[[Sweeps], Path], content: bytes) -> Spoil:
    return lambda sweeps, _: which(sweeps).write_bytes(content) and None


def picture(make: Callable[[Image.Image], Image.Image], **options: object) -> Spoil:
    def spoil(sweeps: Sweeps, _: Path) -> None:
        path = front(sweeps)
        with Image.open(path) as image:
            made = make(image.copy())
        made.save(path, **options)

    return spoil


def turned_by_exif(sweeps: Sweeps, _: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(front(sweeps)) as image:
        made = image.copy()
    made.save(front(sweeps), exif=exif)


def frozen(which: Callable[[Sweeps, int], Path]) -> Spoil:
    """The file of sweep 1 over those of 2 to 5."""

    def spoil(sweeps: Sweeps, _: Path) -> None:
        for n in range(2, 6):
            shutil.copyfile(which(sweeps, 1), which(sweeps, n))

    return spoil


def relabelled(make: Callable[[np.ndarray], np.ndarray], which: range = range(16)) -> Spoil:
    def spoil(sweeps: Sweeps, _: Path) -> None:
        for n in which:
            path = sweeps[n].lidarseg_path
            assert path is not None
            make(np.fromfile(path, np.uint8)).tofile(path)

    return spoil


def copied_scene(sweeps: Sweeps, _: Path) -> None:
    for one, other in zip(sweeps[:STEPS], sweeps[STEPS:], strict=True):
        shutil.copyfile(one.path, other.path)
        shutil.copyfile(one.lidars[0].path, other.lidars[0].path)


def without_key(sweeps: Sweeps, root: Path) -> Sweeps:
    """Images in rows of a Parquet file, of which one is asked for that is not there."""
    path = root / "images.parquet"
    column = [sweep.cameras[0].path.read_bytes() for sweep in sweeps]
    parquet.write_table(pa.table({"image": column}), path)
    keys = {sweep.token: f"0,{n},image" for n, sweep in enumerate(sweeps)} | {sweeps[3].token: "0,99,image"}
    return [
        replace(s, cameras=(replace(s.cameras[0], path=path, key=keys[s.token]), *s.cameras[1:]))
        for s in sweeps
    ]


def moved(by: tuple[float, float, float]) -> Callable[[object], np.ndarray]:
    def pose(record: object) -> np.ndarray:
        return make_SE3(np.eye(3), by) @ record.world_SE3_ego  # type: ignore[attr-defined]

    return pose


def from_step(n: int) -> Callable[[int], bool]:
    return lambda row: row % STEPS >= n


def late(seconds: float) -> Callable[[object], int]:
    return lambda record: record.timestamp + round(1e6 * seconds)  # type: ignore[attr-defined]


def own_pose(
    sweeps: Sweeps, make: Callable[[np.ndarray], np.ndarray], at: Callable[[int], bool] | int
) -> Sweeps:
    """Other poses of sweeps and of their images alike."""
    changed = change(sweeps, at, world_SE3_ego=lambda s: make(s.world_SE3_ego))
    for name in ("FRONT", "LEFT"):
        changed = change_camera(changed, at, name, world_SE3_ego=lambda c: make(c.world_SE3_ego))
    return changed


def stuck(sweeps: Sweeps, _: Path) -> Sweeps:
    """Poses at a third of the rate of the sweeps."""
    poses = [sweeps[n - n % STEPS % 3].world_SE3_ego for n in range(len(sweeps))]
    return [replace(sweep, world_SE3_ego=pose) for sweep, pose in zip(sweeps, poses, strict=True)]


def tilt(pose: np.ndarray) -> np.ndarray:
    return pose @ make_SE3([[1, 0, 0], [0, 0, -1], [0, 1, 0]], [0, 0, 0])


FILES = [
    Injected("a LiDAR file is missing", "missing files of LiDAR", "problem", removed(lidar)),
    Injected("a LiDAR file is empty", "missing files of LiDAR", "problem", written(lidar, b"")),
    Injected("a LiDAR file ends within a point", "damaged files of LiDAR", "problem", cut(lidar)),
    Injected(
        "a LiDAR file lacks two thirds of its points", "few points", "warning", rewrite(3, lambda p: p[:100])
    ),
    Injected(
        "a point is not a number", "damaged files of LiDAR", "problem", rewrite(3, set_to(1, np.nan, 1))
    ),
    Injected("a point is infinite", "damaged files of LiDAR", "problem", rewrite(3, set_to(2, np.inf, 1))),
    Injected(
        "points in coordinates of a map", "damaged files of LiDAR", "problem", rewrite(3, shifted(0, 4e5))
    ),
    Injected(
        "points in millimetres", "damaged files of LiDAR", "problem", rewrite(3, scaled(slice(0, 3), 1e3))
    ),
    Injected("points in kilometres", "reach", "warning", rewrite(-1, scaled(slice(0, 3), 1e-3))),
    Injected("points in float64", "damaged files of LiDAR", "problem", rewrite(3, lambda p: p, "<f8")),
    Injected("points in big endian", "damaged files of LiDAR", "problem", rewrite(3, lambda p: p, ">f4")),
    Injected(
        "ring and intensity exchanged", "rings", "warning", rewrite(-1, lambda p: p[:, [0, 1, 2, 4, 3, 5]])
    ),
    Injected(
        "intensity of another scale", "damaged files of LiDAR", "problem", rewrite(3, scaled(3, 1 / 255))
    ),
    Injected("intensity is 0 everywhere", "intensity", "warning", rewrite(3, set_to(3, 0.0))),
    Injected(
        "all points in one place", "damaged files of LiDAR", "problem", rewrite(3, set_to(slice(0, 3), 0.0))
    ),
    Injected(
        "most points at the origin",
        "points at the origin",
        "warning",
        rewrite(3, set_to(slice(0, 3), 0.0, 900)),
    ),
    Injected(
        "times of points in milliseconds", "damaged files of LiDAR", "problem", rewrite(3, scaled(5, 1e3))
    ),
    Injected(
        "times of points from the start of the drive", "times of points", "warning", rewrite(3, shifted(5, 5))
    ),
    Injected("one time for all points", "equal times of points", "warning", rewrite(3, set_to(5, 0.02))),
    Injected("a LiDAR upside down", "upright", "problem", rewrite(-1, scaled(slice(1, 3), -1))),
    Injected(
        "a scan copied over those after it",
        "copied files of LiDAR",
        "warning",
        frozen(lambda s, n: s[n].path),
    ),
    Injected("a scene copied under another name", "copied scenes", "warning", copied_scene),
    Injected("a file of a further LiDAR is missing", "missing files of LiDAR rear", "problem", removed(rear)),
    Injected("a file of a further LiDAR is cut off", "damaged files of LiDAR rear", "problem", cut(rear)),
    Injected("an image is missing", "missing files of FRONT", "problem", removed(front)),
    Injected("an image is cut off", "damaged files of FRONT", "problem", cut(front)),
    Injected("an image is none", "damaged files of FRONT", "problem", written(front, b"not found")),
    Injected(
        "an image of another size", "damaged files of FRONT", "problem", picture(lambda i: i.resize((32, 18)))
    ),
    Injected(
        "an image of 16 bits", "damaged files of FRONT", "problem", picture(lambda i: i.convert("I;16"))
    ),
    Injected("an image that its EXIF turns", "damaged files of FRONT", "problem", turned_by_exif),
    Injected(
        "an image of one colour",
        "blank images of FRONT",
        "warning",
        picture(lambda i: Image.new("RGB", SIZE)),
    ),
    Injected(
        "a camera that stands still",
        "copied files of FRONT",
        "warning",
        frozen(lambda s, n: s[n].cameras[0].path),
    ),
    Injected("a key that its container lacks", "damaged files of FRONT", "problem", without_key),
    Injected("a label file is missing", "missing files of labels", "problem", removed(labels)),
    Injected("a label too few", "damaged files of labels", "problem", cut(labels, 1.0)),
    Injected(
        "labels of another type",
        "damaged files of labels",
        "problem",
        relabelled(lambda raw: raw.astype(np.uint16), range(3, 4)),
    ),
    Injected(
        "ids that no class takes",
        "label ids",
        "problem",
        relabelled(lambda raw: np.where(raw == 24, 99, raw).astype(np.uint8)),
    ),
    Injected("ignored labels only", "label content", "warning", relabelled(np.zeros_like, range(3, 4))),
    Injected(
        "labels in another order", "labels in boxes", "warning", relabelled(lambda raw: np.roll(raw, 100))
    ),
    Injected(
        "a label file of no scan",
        "orphan labels",
        "warning",
        lambda sweeps, _: shutil.copyfile(labels(sweeps), labels(sweeps).with_name("stray.label")) and None,
    ),
]

TIMES_AND_POSES = [
    Injected(
        "a gap of three seconds",
        "gaps in time",
        "warning",
        lambda s, _: change(s, from_step(4), timestamp=late(3), cameras=()),
    ),
    Injected(
        "two sweeps of one time",
        "equal times",
        "warning",
        lambda s, _: change(s, 4, timestamp=s[3].timestamp),
    ),
    Injected(
        "times in milliseconds",
        "unit of time",
        "problem",
        lambda s, _: change(s, everywhere, timestamp=lambda one: one.timestamp // 1000, cameras=()),
    ),
    Injected(
        "an image of two seconds later",
        "times of images",
        "warning",
        lambda s, _: change_camera(s, 3, "FRONT", timestamp=late(2)),
    ),
    Injected(
        "a jump of 50 m",
        "jumps",
        "warning",
        lambda s, _: own_pose(s, lambda p: make_SE3(np.eye(3), [50.0, 0, 0]) @ p, from_step(4)),
    ),
    Injected("poses at a lower rate than sweeps", "repeated poses", "warning", stuck),
    Injected(
        "a heading that turns by 60 degrees at once",
        "turns",
        "warning",
        lambda s, _: own_pose(s, lambda p: p @ make_SE3(yaw_matrix(1.05), [0.0, 0, 0]), 3),
    ),
    Injected("a vehicle on its side", "ego axes", "problem", lambda s, _: own_pose(s, tilt, everywhere)),
    Injected(
        "a vehicle that drives sideways",
        "heading",
        "problem",
        lambda s, _: own_pose(s, lambda p: p @ make_SE3(yaw_matrix(np.pi / 2), [0.0, 0, 0]), everywhere),
    ),
    Injected(
        "poses that are all the identity",
        "poses",
        "warning",
        lambda s, _: own_pose(s, lambda p: np.eye(4), everywhere),
    ),
    Injected(
        "an image with the pose of another place",
        "poses of images",
        "warning",
        lambda s, _: change_camera(s, 3, "FRONT", world_SE3_ego=moved((30.0, 0, 0))),
    ),
]

MOUNTS = [
    Injected(
        "the mount of the LiDAR in millimetres",
        "mount of the LiDAR",
        "problem",
        lambda s, _: change(s, everywhere, ego_SE3_lidar=make_SE3(np.eye(3), [900.0, 0, 1800.0])),
    ),
    Injected(
        "the mount of a camera in millimetres",
        "mounts of cameras",
        "problem",
        lambda s, _: change_camera(
            s, everywhere, "FRONT", ego_SE3_cam=lambda c: make_SE3(c.ego_SE3_cam[:3, :3], [500.0, 0, 1500.0])
        ),
    ),
    Injected(
        "the mount of a further LiDAR in millimetres",
        "mounts of further LiDARs",
        "problem",
        lambda s, _: change(
            s,
            everywhere,
            lidars=lambda one: (
                replace(one.lidars[0], lidar_SE3_sensor=make_SE3(np.eye(3), [-1000.0, 0, 0])),
            ),
        ),
    ),
    Injected(
        "a LiDAR that is mounted otherwise in the middle of a scene",
        "moved LiDAR",
        "warning",
        lambda s, _: change(s, from_step(4), ego_SE3_lidar=make_SE3(yaw_matrix(0.1), [0.0, 0, HEIGHT])),
    ),
    Injected(
        "a camera that is turned in the middle of a scene",
        "moved cameras",
        "warning",
        lambda s, _: change_camera(
            s,
            from_step(4),
            "FRONT",
            ego_SE3_cam=lambda c: make_SE3(yaw_matrix(0.1), [0.0, 0, 0]) @ c.ego_SE3_cam,
        ),
    ),
    Injected(
        "a focal length that changes in a scene",
        "changed intrinsics",
        "warning",
        lambda s, _: change_camera(
            s, 3, "FRONT", intrinsics=lambda c: c.intrinsics * [[1.2, 1, 1], [1, 1.2, 1], [1, 1, 1]]
        ),
    ),
    Injected(
        "intrinsics of an image of another size",
        "intrinsics",
        "problem",
        lambda s, _: change_camera(
            s, everywhere, "FRONT", intrinsics=lambda c: np.diag([4.0, 4.0, 1.0]) @ c.intrinsics
        ),
    ),
    Injected(
        "two cameras in one place",
        "equal cameras",
        "problem",
        lambda s, _: change_camera(s, everywhere, "LEFT", ego_SE3_cam=s[0].cameras[0].ego_SE3_cam),
    ),
    Injected(
        "a camera that some frames lack",
        "camera LEFT",
        "warning",
        lambda s, _: change(s, 3, cameras=lambda one: one.cameras[:1]),
    ),
    Injected(
        "a LiDAR that some sweeps lack",
        "absent LiDARs",
        "warning",
        lambda s, _: change(s, 3, lidars=(), lidarseg_path=None),
    ),
    Injected("a file for two sweeps", "shared files", "warning", lambda s, _: change(s, 3, path=s[2].path)),
]

BOXES = [
    Injected(
        "boxes in the world frame",
        "far boxes",
        "warning",
        lambda s, _: change_boxes(s, everywhere, centers=lambda b: b.centers + np.array([4e5, 5e6, 0])),
    ),
    Injected(
        "boxes in millimetres",
        "sizes of boxes",
        "warning",
        lambda s, _: change_boxes(s, everywhere, sizes=lambda b: b.sizes * 1000),
    ),
    Injected(
        "boxes beside their points",
        "boxes on points",
        "warning",
        lambda s, _: change_boxes(s, everywhere, centers=lambda b: b.centers[:, [1, 0, 2]]),
    ),
    Injected(
        "boxes beside their points, whose number is not said",
        "empty boxes",
        "warning",
        lambda s, _: change_boxes(
            s, everywhere, centers=lambda b: b.centers + np.array([0, 0, 8]), num_lidar_pts=np.full(4, -1)
        ),
    ),
    Injected(
        "boxes that all hold no point",
        "points in boxes",
        "problem",
        lambda s, _: change_boxes(s, everywhere, num_lidar_pts=np.zeros(4, np.int64)),
    ),
    Injected(
        "a category that no class takes",
        "box categories",
        "warning",
        lambda s, _: change_boxes(s, 3, names=("Car", *("vehicle.car",) * 3)),
    ),
    Injected(
        "annotations without a box",
        "boxes",
        "warning",
        lambda s, _: change(s, everywhere, boxes=lambda one: _none(one.boxes)),
    ),
    Injected(
        "a box that is there twice",
        "boxes twice",
        "warning",
        lambda s, _: change_boxes(s, 3, centers=lambda b: b.centers[[0, 0, 2, 3]]),
    ),
    Injected(
        "a track of two objects at once",
        "tracks twice",
        "warning",
        lambda s, _: change_boxes(s, 3, tracks=("car-0", "car-0", "car-2", "car-3")),
    ),
    Injected(
        "tracks that change their objects",
        "jumps of tracks",
        "warning",
        lambda s, _: change_boxes(s, from_step(4), tracks=("car-1", "car-2", "car-3", "car-0")),
    ),
    Injected(
        "key frames of which some have no labels",
        "labels",
        "warning",
        lambda s, _: change(s, 3, lidarseg_path=None),
    ),
    Injected(
        "a split without a key frame",
        "split val",
        "warning",
        lambda s, _: change(s, lambda n: n >= STEPS, is_key_frame=False),
    ),
]


def _none(boxes: object) -> object:
    empty = {
        name: getattr(boxes, name)[:0] for name in ("centers", "sizes", "yaws", "velocities", "num_lidar_pts")
    }
    return replace(boxes, names=(), tracks=(), attributes=(), **empty)  # type: ignore[type-var]


FAULTS = [*FILES, *TIMES_AND_POSES, *MOUNTS, *BOXES]
