"""What is looked at in the data of a run before its first step: cameras, boxes, neighbours, findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.calibration import calibration_findings
from pc3d.data.checks import read_findings
from pc3d.data.classes import ClassSet
from pc3d.data.dataset import FrameDataset
from pc3d.data.detection import counted_boxes
from pc3d.data.errors import fail
from pc3d.data.records import Boxes
from pc3d.engine.data import MixedDataset
from pc3d.engine.runs.ranks import on_first, rank
from pc3d.findings import Finding
from pc3d.geometry.grid import BevGrid
from pc3d.storage.whole import write_json

DATA_CHECKS = "data_checks.json"
CALIBRATION = "calibration "
"""Begin of the name of a finding about a camera; the camera's follows."""
LOOKED_AT = 200
"""Frames, evenly spaced, that are looked at first; the others only where these do not decide."""


def check_data(dataset: MixedDataset, calibration: str = "stop") -> list[Finding]:
    """What was found about the data that a run reads.

    Args:
        calibration: `stop`, `warn` or `off`, see `LoaderSettings`.

    Raises:
        DataError: no frame has a camera that is asked for; or, with `stop`, the calibration of one that is
            read looks wrong. In every process.
        ValueError: an unknown `calibration`.
    """
    if calibration not in ("stop", "warn", "off"):
        raise ValueError(f"data.calibration is {calibration!r}, expected stop, warn or off")
    return on_first(lambda: _checked(dataset.parts, calibration))


def write_checks(folder: Path, findings: Sequence[Finding]) -> None:
    """Print the findings that are not well, and keep all in a run folder (first process)."""
    if rank() == 0:
        for finding in findings:
            if finding.state != "ok":
                print(finding.line(), flush=True)
        write_json(folder / DATA_CHECKS, [asdict(finding) for finding in findings])


def _checked(parts: list[FrameDataset], calibration: str) -> list[Finding]:
    needs = parts[0].needs
    if needs.cameras and parts[0].config.cameras is not None:
        _check_cameras(parts, parts[0].config.cameras)
    findings = list(_neighbours(parts))
    for part in {part.index.folder: part for part in parts}.values():
        found = _of_index(part, calibration)
        findings += found
        wrong = [one for one in found if one.state == "problem" and one.name.startswith(CALIBRATION)]
        if wrong and calibration == "stop":
            fail(
                "; ".join(f"{one.name}: {one.text}" for one in wrong),
                part.index.folder,
                "mend the calibration and build the index again, or go on with it: data.calibration=warn",
            )
    return findings


def _of_index(part: FrameDataset, calibration: str) -> list[Finding]:
    """The findings about an index, those on a camera's calibration only where it is read."""
    looks, names = part.needs.cameras and calibration != "off", part.config.cameras
    found = read_findings(part.index.folder)
    if found is None:
        found = calibration_findings(part.index, names) if looks else []

    def concerns(finding: Finding) -> bool:
        if not finding.name.startswith(CALIBRATION):
            return True
        return looks and (names is None or finding.name.removeprefix(CALIBRATION) in names)

    return [finding for finding in found if concerns(finding)]


def _spread(part: FrameDataset, count: int = LOOKED_AT) -> Iterator[int]:
    """Rows of the frames: `count` evenly spaced ones, then the others."""
    rows = part.rows
    first = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64))
    yield from map(int, rows[first])
    yield from map(int, np.delete(rows, first))


def camera_names(dataset: MixedDataset, wanted: Collection[str] = ()) -> tuple[str, ...]:
    """Names of the cameras of some frames of each source, and of more until all the wanted ones are there."""
    return _camera_names(dataset.parts, wanted)


def _camera_names(parts: list[FrameDataset], wanted: Collection[str]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for part in parts:
        for number, row in enumerate(_spread(part, 20)):
            if number >= 20 and set(wanted) <= names.keys():
                break
            names.update(dict.fromkeys(camera.name for camera in part.index[row].cameras))
    return tuple(sorted(names))


def _check_cameras(parts: list[FrameDataset], wanted: Sequence[str]) -> None:
    names = _camera_names(parts, wanted)
    missing = [name for name in wanted if name not in names]
    if missing:
        near = [match for name in missing for match in get_close_matches(name, names, 1)]
        meant = f"did you mean {', '.join(near)}? " if near else ""
        fail(
            f"no frame has a camera {', '.join(missing)}",
            ", ".join(sorted({str(part.index.folder) for part in parts})),
            f"{meant}data.camera_names: the frames have {', '.join(names) or 'no camera'}",
        )


def _neighbours(parts: list[FrameDataset]) -> Iterator[Finding]:
    """Whether frames that losses compare with the key frame are the key frame itself everywhere."""
    for name in parts[0].needs.frames:
        if name == "t" or any(_has(part, row, name) for part in parts for row in _spread(part)):
            continue
        what = "earlier sweeps" if name == "dense" else "a key frame there"
        yield Finding(
            f"frame {name}",
            "warning",
            f"no frame has {what} in its scene: {name} is the key frame itself everywhere",
            "take an index with whole scenes, or leave out the terms of the loss that compare with it",
        )


def _has(part: FrameDataset, row: int, name: str) -> bool:
    if name != "dense":
        return part.index.neighbour(row, int(name[1:])) is not None
    earlier = part.index.previous_sweeps(row, min(part.config.dense_sweeps, 1))
    return any(part.index.neighbour(other, 0) != other for other in earlier)


def check_boxes(dataset: MixedDataset, labels: Collection[int], grid: BevGrid) -> None:
    """Refuse to train a detector on frames without a box that it can learn.

    Args:
        labels: of the detection classes that the head knows. grid: of its map.

    Raises:
        DataError: says what is the matter with those that there are. In every process.
    """
    parts = dataset.parts
    if parts[0].config.paste is None:
        on_first(lambda: _check_boxes(parts, labels, grid))


def _check_boxes(parts: list[FrameDataset], labels: Collection[int], grid: BevGrid) -> None:
    names: Counter[str] = Counter()
    total, without_points, outside, frames = 0, 0, 0, 0
    for part in parts:
        classes = ClassSet.of(part.index.metadata)
        for row in _spread(part):
            boxes = part.index[row].boxes
            if boxes is None or classes is None:
                continue  # reading the frame says so
            of_class = classes.box_labels(boxes.names)
            known = np.isin(of_class, list(labels))
            counted, inside = counted_boxes(boxes, of_class), _inside(boxes, grid)
            if (known & counted & inside).any():
                return
            frames, total = frames + 1, total + len(boxes)
            names.update(name for name, taken in zip(boxes.names, known, strict=True) if not taken)
            without_points += int((known & ~counted).sum())
            outside += int((known & counted & ~inside).sum())
    listed = ", ".join(f"{name} {count:,}" for name, count in names.most_common(5))
    fail(
        f"no box can be learned: of {total:,} boxes in {frames:,} frames, {names.total():,} are of no class "
        f"of the detector{f' ({listed})' if listed else ''}, {without_points:,} hold no LiDAR point, "
        f"{outside:,} lie outside of its map",
        ", ".join(sorted({str(part.index.folder) for part in parts})),
        f"the classes of the index take the categories {_categories(parts)}: give a class file that takes "
        "those of the data (--classes FILE) and build the index again; else look at the split, the frame of "
        "the boxes, and the grid of `lidar`",
    )


def _categories(parts: list[FrameDataset]) -> str:
    classes = ClassSet.of(parts[0].index.metadata)
    first = {label: name for name, label in reversed(classes.class_of_box.items())} if classes else {}
    names = [first[label] for label in sorted(first)]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _inside(boxes: Boxes, grid: BevGrid) -> Any:
    x, y = boxes.centers[:, 0], boxes.centers[:, 1]
    return (x >= grid.x_min) & (x < grid.x_max) & (y >= grid.y_min) & (y < grid.y_max)
