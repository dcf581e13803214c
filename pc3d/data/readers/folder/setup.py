"""What is known of all drives of an own folder: its calibration, with nothing left open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.point_files import notes
from pc3d.data.points.load import valid_rows
from pc3d.data.readers.folder.description import CameraEntry, Description, LidarEntry, PosesEntry
from pc3d.data.readers.folder.guesses import CompleteLidar, Proposal, complete_lidar
from pc3d.data.readers.folder.labels import label_format, label_of
from pc3d.data.readers.folder.poses import LATEST, POSE_FILES
from pc3d.data.readers.folder.scenes import Scene, point_files
from pc3d.data.readers.folder.stamps import by_number, microseconds, stem_of, unit_by_digits
from pc3d.data.records import Float64
from pc3d.findings import Finding

KISS_ICP = "kiss-icp"


@dataclass(frozen=True, eq=False)
class Setup:
    """The description, completed.

    Attributes:
        labels: format of the label files, None where there are none.
        proposals: what it does not say, and what was taken.
        findings: what it says that does not fit the files.
    """

    description: Description
    lidars: tuple[CompleteLidar, ...]
    cameras: tuple[CameraEntry, ...]
    stamp_unit: str | None
    rate_hz: float | None
    poses: PosesEntry | None
    labels: str | None
    proposals: tuple[Proposal, ...] = field(default=())
    findings: tuple[Finding, ...] = field(default=())

    def times(self, files: Sequence[Path]) -> dict[int, Path]:
        """Files by their time in microseconds, ascending.

        Raises:
            DataError: two have one time; times are after the year 2286.
        """
        found: dict[int, Path] = {}
        for number, path in by_number(files).items():
            time = microseconds(number, self.stamp_unit, self.rate_hz)
            if time > LATEST:
                fail(
                    f"its number is {time / 1e6:.4g} s in {self.stamp_unit}, after the year 2286",
                    path,
                    "say another unit for `stamps` in the calibration",
                )
            if time in found:
                fail(
                    f"two files have one time, {time} us: {found[time].name}, {path.name}",
                    path.parent,
                    "correct `stamps` in the calibration, or remove one",
                )
            found[time] = path
        return found

    @property
    def ego_SE3_lidar(self) -> Float64:
        """(4, 4) mount of the first LiDAR."""
        return mount_of(self.lidars[0].entry)


def mount_of(entry: LidarEntry) -> Float64:
    """(4, 4) ego_SE3_lidar of a completed entry."""
    assert entry.ego_SE3_lidar is not None  # `complete_lidar` has set it
    return entry.ego_SE3_lidar


def complete_setup(description: Description, scenes: Sequence[Scene], root: Path) -> Setup:
    """Fill what a description leaves open by a look at the files.

    Raises:
        DataError: no scene has points of a LiDAR; what `complete_lidar` and `label_format` find wrong.
    """
    proposals: list[Proposal] = []
    lidars, findings = _lidars(description, scenes, root, proposals)
    main = lidars[0].entry.name
    unit, rate = _stamps(description, _first_files(scenes, main), proposals)
    return Setup(
        description=description,
        lidars=tuple(lidars),
        cameras=description.cameras,
        stamp_unit=unit,
        rate_hz=rate,
        poses=_poses_entry(description, lidars, scenes, proposals),
        labels=_label_format(description, lidars[0], scenes, proposals),
        proposals=tuple(proposals),
        findings=tuple(findings),
    )


def _first_files(scenes: Sequence[Scene], lidar: str) -> list[Path]:
    """The scans of the first scene that has some."""
    return next((files for s in scenes if (files := point_files(s.folder / lidar))), [])


def _lidars(
    description: Description, scenes: Sequence[Scene], root: Path, proposals: list[Proposal]
) -> tuple[list[CompleteLidar], list[Finding]]:
    lidars, findings = [], []
    for number, entry in enumerate(description.lidars):
        files = _first_files(scenes, entry.name)
        if not files:
            fail(f"no scene has points in {entry.name}/", root, "correct `lidars` in the calibration")
        lidar, proposed, odd = complete_lidar(entry, _sample(files), main=not number)
        lidars.append(lidar)
        proposals += proposed
        findings += odd
        findings += _notes(entry.name, files)
    return lidars, findings


def _notes(name: str, files: Sequence[Path]) -> list[Finding]:
    """What files say that is not followed; the first, the middle and the last are looked at."""
    for path in dict.fromkeys((files[0], files[len(files) // 2], files[-1])):
        if path.stat().st_size and (said := notes(path)):
            text, remedy = f"{'; '.join(said)}, first: {path.name}", "put the mount into the calibration"
            return [Finding(f"files of {name}", "warning", text, remedy)]
    return []


def _sample(files: Sequence[Path]) -> Path:
    """The first file that is not empty; the first of all where all are."""
    return next((path for path in files if path.stat().st_size), files[0])


def _stamps(
    description: Description, files: list[Path], proposals: list[Proposal]
) -> tuple[str | None, float | None]:
    if description.stamp_unit or description.rate_hz:
        return description.stamp_unit, description.rate_hz
    numbers = list(by_number(files))
    unit = unit_by_digits(numbers)
    if unit is not None:
        reason = f"the numbers in file names have the digits of {unit} since 1970"
        proposals.append(Proposal("stamps", unit, reason))
        return unit, None
    reason = f"files are numbered {numbers[0]} to {numbers[-1]}; no file tells how many a second"
    proposals.append(Proposal("stamps", "{rate_hz: 10}", reason))
    return None, 10.0


def _poses_entry(
    description: Description,
    lidars: list[CompleteLidar],
    scenes: Sequence[Scene],
    proposals: list[Proposal],
) -> PosesEntry | None:
    entry = description.poses
    if entry is None:
        there = [n for n in POSE_FILES if any((s.folder / n).is_file() for s in scenes)]
        if not there:
            return None
        entry = PosesEntry(there[0])
        proposals.append(Proposal("poses.file", there[0], "it is there"))
    if entry.of is None:
        if not np.allclose(mount_of(lidars[0].entry), np.eye(4)):
            reason = "poses may be of the ego vehicle, of a LiDAR or of a camera: the file does not say"
            proposals.append(Proposal("poses.of", "ego", reason))
        entry = replace(entry, of="ego")
    known = ["ego", *(e.name for e in description.lidars), *(c.name for c in description.cameras)]
    if entry.of not in known:
        fail(f"poses.of is {entry.of!r}", description.path, f"name one of {', '.join(known)}")
    return entry


def _label_format(
    description: Description, lidar: CompleteLidar, scenes: Sequence[Scene], proposals: list[Proposal]
) -> str | None:
    folder, stated = description.labels
    for scene in scenes:
        for scan in point_files(scene.folder / lidar.entry.name):
            label = label_of(scene.folder / folder, stem_of(scan))
            if label is None:
                continue
            if stated is not None:
                return stated
            found, reason = label_format(label, scan, valid_rows(scan, lidar.lidar_format))
            proposals.append(Proposal("labels.format", found, reason))
            return found
    return None
