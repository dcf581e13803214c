"""The numbers and tables of the page of `pc3d inspect`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pc3d.data.index import SweepIndex
from pc3d.data.points.formats import COLUMNS
from pc3d.data.records import Camera, Float64, Sweep
from pc3d.viz.inspect_facts import ContentFacts, SceneFacts
from pc3d.viz.report import KeyNumber, KeyNumbers, Table

_SCENES = 40


def key_numbers(
    index: SweepIndex, total: int, scenes: Sequence[SceneFacts], content: ContentFacts, first: Sweep
) -> KeyNumbers:
    """The cards at the top."""
    seconds, metres = sum(s.seconds for s in scenes), sum(s.metres for s in scenes)
    part = f"of {len(scenes)} of {total} scenes" if len(scenes) < total else ""
    steps = np.concatenate([scene.steps for scene in scenes])
    numbers = [
        KeyNumber(f"{len(index):,}", "sweeps", f"{len(index.key_rows(None)):,} key frames"),
        KeyNumber(f"{total:,}", "scenes", ", ".join(index.splits)),
        KeyNumber(_duration(seconds), "driven", part or f"{metres / 1000:.3g} km"),
    ]
    if len(steps) and np.median(steps) > 0:
        numbers.append(KeyNumber(f"{1 / float(np.median(steps)):.3g} Hz", "sweeps", "median step"))
    if content.points:
        lidars = 1 + len(first.lidars)
        note = f"{lidars} LiDARs" if lidars > 1 else "one LiDAR file"
        numbers.append(KeyNumber(f"{int(np.median(content.points)):,}", "points of a sweep", note))
    numbers.append(KeyNumber(str(len(first.cameras)), "cameras", _images(first)))
    boxes = sum(len(table) for tables in content.boxes.values() for table in tables)
    if content.annotated:
        numbers.append(
            KeyNumber(f"{boxes / content.annotated:.3g}", "boxes of a sweep", f"{boxes:,} looked at")
        )
    if content.labelled:
        labelled = sum(count for label, count in content.labels.items() if label >= 0)
        share = 100 * labelled / max(content.labels.total(), 1)
        numbers.append(KeyNumber(f"{share:.3g} %", "of points have a class", f"{content.labelled} sweeps"))
    return KeyNumbers(numbers)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _images(first: Sweep) -> str:
    sizes = sorted({f"{camera.size[0]} x {camera.size[1]}" for camera in first.cameras})
    return ", ".join(sizes[:2]) or "no images"


def split_table(index: SweepIndex) -> Table:
    """Key frames of each split."""
    rows = [[split, f"{len(index.key_rows(split)):,}"] for split in index.splits]
    return Table(["split", "key frames"], rows, "Splits")


def scene_table(scenes: Sequence[SceneFacts], total: int) -> Table:
    """Drives with their rates and gaps."""
    rows = [
        [
            scene.name,
            scene.split,
            scene.place,
            f"{scene.sweeps:,}",
            f"{scene.key_frames:,}",
            _duration(scene.seconds),
            _rate(scene.steps),
            f"{scene.steps.max():.3g} s" if len(scene.steps) else "-",
            f"{scene.metres:.4g} m",
        ]
        for scene in scenes[:_SCENES]
    ]
    shown = f"{len(rows)} of {total} scenes." if len(rows) < total else ""
    header = ["scene", "split", "place", "sweeps", "key frames", "time", "rate", "longest step", "way"]
    return Table(header, rows, "Scenes", shown)


def _rate(steps: Float64) -> str:
    moving = steps[steps > 0]
    return f"{1 / float(np.median(moving)):.3g} Hz" if len(moving) else "-"


def column_table(content: ContentFacts, first: Sweep) -> Table:
    """The columns of points with their units and ranges."""
    rows = []
    for name, found in content.columns.items():
        low, middle, high = np.array(found).T
        shown = [f"{value:.4g}" for value in (low.min(), np.median(middle), high.max())]
        rows.append([name, COLUMNS[name], *shown, f"{len(found)}"])
    header = ["column", "unit", "least", "median", "most", "sweeps"]
    return Table(header, rows, "Columns of points", f"LiDAR format {first.lidar_format}")


def box_table(content: ContentFacts) -> Table:
    """Sizes, distances and points of boxes by category: medians."""
    tables = {name: np.concatenate(parts) for name, parts in content.boxes.items()}
    rows = []
    for name, table in sorted(tables.items(), key=lambda pair: -len(pair[1])):
        length, width, height, distance = np.median(table[:, :4], axis=0).tolist()
        said = table[table[:, 4] >= 0, 4]
        rows.append(
            [
                name,
                f"{len(table):,}",
                f"{length:.2f} m",
                f"{width:.2f} m",
                f"{height:.2f} m",
                f"{distance:.1f} m",
                f"{np.median(said):.0f}" if len(said) else "-",
            ]
        )
    header = ["category", "boxes", "length", "width", "height", "distance", "points"]
    return Table(header, rows, "Boxes", "Medians; points as the data set states them.")


def lidar_table(first: Sweep) -> Table:
    """The LiDARs of the first sweep and where they are."""
    rows = [["the first", first.lidar_format, *_mount(first.ego_SE3_lidar)]]
    for lidar in first.lidars:
        known = first.lidar_SE3_points is None  # else the file is in the coordinates of a map
        mount = _mount(first.ego_SE3_lidar @ lidar.lidar_SE3_sensor) if known else ["-"] * 4
        rows.append([lidar.name, lidar.lidar_format, *mount])
    header = ["LiDAR", "format", "forward", "left", "up", "looks to"]
    return Table(header, rows, "LiDARs", "Mounts in the ego frame; to the left is positive.")


def _mount(pose: Float64, axis: int = 0) -> list[str]:
    """Place, and the direction of an axis (0: x, 2: z) over the ground."""
    forward = pose[:3, axis]
    degrees = math.degrees(math.atan2(forward[1], forward[0]))
    return [*(f"{value:.2f} m" for value in pose[:3, 3]), f"{degrees:.0f}\u00b0"]


def camera_table(first: Sweep) -> Table:
    """The cameras of the first sweep."""
    rows = []
    for camera in first.cameras:
        offset = 1e-3 * (camera.timestamp - first.timestamp)
        rows.append(
            [
                camera.name,
                f"{camera.size[0]} x {camera.size[1]}",
                camera.model if camera.distortion or camera.model != "brown" else "pinhole",
                f"{camera.intrinsics[0, 0]:.0f} px",
                f"{_view(camera):.0f}\u00b0",
                *_mount(camera.ego_SE3_cam, 2),
                f"{offset:+.0f} ms",
            ]
        )
    header = ["camera", "size", "lens", "focal length", "view", "forward", "left", "up", "looks to", "time"]
    return Table(header, rows, "Cameras", "Of the first sweep; times from that of the sweep.")


def _view(camera: Camera) -> float:
    """Degrees across the image, through its lens; NaN where the lens shows no ray at an edge."""
    from pc3d.geometry.camera import unproject

    width, height = camera.size
    edges = np.array([[0.0, height / 2], [float(width), height / 2]])
    rays = unproject(edges, camera.intrinsics, camera.lens)
    left, right = (ray / np.linalg.norm(ray) for ray in rays)
    return math.degrees(math.acos(min(1.0, max(-1.0, float(left @ right)))))
