"""The faults of files that `pc3d verify` finds: their content is spoiled."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet
from verify_drives import (
    SIZE,
    STEPS,
    Injected,
    Spoil,
    Sweeps,
    cloud,
)


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
        "one class for all points",
        "labels of one class",
        "warning",
        relabelled(lambda raw: np.full_like(raw, 24), range(3, 4)),
    ),
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
