"""Own folders: a drive a folder, a sensor a folder in it, and one calibration file: docs/own-data.md."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.classes import load_class_set
from pc3d.data.errors import fail
from pc3d.data.odometry import OdometryConfig, lidar_odometry, require_kiss_icp
from pc3d.data.points import load_points, point_format
from pc3d.data.points.load import columns_of
from pc3d.data.readers.folder.boxes import read_boxes
from pc3d.data.readers.folder.description import (
    CameraEntry,
    Description,
    LidarEntry,
    PosesEntry,
    find_description,
    read_description,
)
from pc3d.data.readers.folder.guesses import CompleteLidar, Proposal, complete_lidar
from pc3d.data.readers.folder.images import CameraImages, Sync, half_a_period, nearest
from pc3d.data.readers.folder.labels import label_format, label_of
from pc3d.data.readers.folder.poses import read_poses
from pc3d.data.readers.folder.scenes import (
    Scene,
    find_scenes,
    image_files,
    image_folders,
    lidar_folders,
    point_files,
)
from pc3d.data.readers.folder.stamps import by_number, microseconds, stem_of, unit_by_digits
from pc3d.data.readers.nuscenes_splits import listed_splits, split_of_scenes
from pc3d.data.records import Boxes, Camera, Float64, Lidar, Sweep
from pc3d.data.survey.poses import NO_POSES
from pc3d.findings import Finding, State
from pc3d.geometry.rigid import invert_SE3

POSE_FILES = ("poses.csv", "poses.txt", "poses.tum")
KISS_ICP = "kiss-icp"


@dataclass(frozen=True, eq=False)
class _Setup:
    """What is known of all scenes: the description with nothing left open."""

    description: Description
    lidars: tuple[CompleteLidar, ...]
    cameras: tuple[CameraEntry, ...]
    stamp_unit: str | None
    rate_hz: float | None
    poses: PosesEntry | None
    labels: str | None

    def times(self, files: Sequence[Path]) -> dict[int, Path]:
        """Files by their time in microseconds, ascending."""
        found = by_number(files)
        return {microseconds(number, self.stamp_unit, self.rate_hz): path for number, path in found.items()}

    @property
    def ego_SE3_lidar(self) -> Float64:
        return _mount(self.lidars[0].entry)


class FolderReader:
    """Reads own folders.

    What `calibration.yaml` leaves out (units, scales, columns, the mount of the LiDAR, the unit of stamps) is
    proposed from the data and taken with `accept_guesses` only.

    Args:
        root: the folder of the scenes, or one scene.
        accept_guesses: take what is proposed.
        poses: `kiss-icp` estimates them from the scans where no file states them.

    Raises:
        DataError: no scene; a calibration file that is wrong, or leaves something out that is not accepted.
        ImportError: `poses="kiss-icp"` without the package.
    """

    def __init__(self, root: Path, accept_guesses: bool = False, poses: str | None = None) -> None:
        self._root = Path(root).resolve()
        if poses == KISS_ICP:
            require_kiss_icp()
        self._kiss_icp = poses == KISS_ICP
        path = find_description(self._root)
        description = read_description(path) if path else None
        self._scenes = find_scenes(self._root, description)
        if not self._scenes:
            fail(
                "no folder holds points" if description is None else "no scene has the folder of a LiDAR",
                self._root,
                "put scans into SCENE/lidar/ and write calibration.yaml; `pc3d folder DIR` writes an example",
            )
        self.findings: list[Finding] = []
        self._setup = self._complete(description or _bare_description(self._root, self._scenes[0]))
        self._sync: dict[str, Sync] = defaultdict(Sync)
        self._missing: dict[str, int] = defaultdict(int)
        if self._proposals:
            self._ask(accept_guesses, path)
        names = [scene.name for scene in self._scenes]
        listed = listed_splits(self._root) is not None
        self._splits = split_of_scenes(self._root, names) if listed else dict.fromkeys(names, "train")
        self.metadata: dict[str, Any] = self._metadata()

    def __len__(self) -> int:
        name = self._setup.lidars[0].entry.name
        return sum(len(point_files(scene.folder / name)) for scene in self._scenes)

    def sweeps(self) -> Iterator[Sweep]:
        """The scenes by name, each ascending in time."""
        for scene in self._scenes:
            yield from _SceneReader(self._setup, scene, self._sync, self._missing, self._kiss_icp).sweeps(
                self._splits.get(scene.name, "none")
            )
        self.findings += self._reports()

    def _complete(self, description: Description) -> _Setup:
        """Fill what the description leaves open; `_proposals` holds how."""
        self._proposals: list[Proposal] = []
        scene = self._scenes[0].folder
        lidars = []
        for number, entry in enumerate(description.lidars):
            folder = next(
                (s.folder / entry.name for s in self._scenes if point_files(s.folder / entry.name)), None
            )
            if folder is None:
                fail(
                    f"no scene has points in {entry.name}/", self._root, "correct `lidars` in the calibration"
                )
            lidar, proposals = complete_lidar(entry, point_files(folder)[0], main=not number)
            lidars.append(lidar)
            self._proposals += proposals
        main = lidars[0].entry.name
        unit, rate = self._stamps(description, point_files(scene / main))
        return _Setup(
            description=description,
            lidars=tuple(lidars),
            cameras=description.cameras,
            stamp_unit=unit,
            rate_hz=rate,
            poses=self._poses_entry(description, lidars),
            labels=self._label_format(description, main, lidars[0]),
        )

    def _stamps(self, description: Description, files: list[Path]) -> tuple[str | None, float | None]:
        if description.stamp_unit or description.rate_hz:
            return description.stamp_unit, description.rate_hz
        numbers = list(by_number(files))
        unit = unit_by_digits(numbers)
        if unit is not None:
            reason = f"the numbers in file names have the digits of {unit} since 1970"
            self._proposals.append(Proposal("stamps", unit, reason))
            return unit, None
        reason = f"files are numbered {numbers[0]} to {numbers[-1]}; no file tells how many a second"
        self._proposals.append(Proposal("stamps", "{rate_hz: 10}", reason))
        return None, 10.0

    def _poses_entry(self, description: Description, lidars: list[CompleteLidar]) -> PosesEntry | None:
        entry = description.poses
        if entry is None:
            there = [n for n in POSE_FILES if any((s.folder / n).is_file() for s in self._scenes)]
            if not there:
                return None
            entry = PosesEntry(there[0])
            self._proposals.append(Proposal("poses.file", there[0], "it is there"))
        if entry.of is None:
            turned = not np.allclose(_mount(lidars[0].entry), np.eye(4))
            if turned:
                reason = "poses may be of the ego vehicle, of a LiDAR or of a camera: the file does not say"
                self._proposals.append(Proposal("poses.of", "ego", reason))
            entry = replace(entry, of="ego")
        known = ["ego", *(e.name for e in description.lidars), *(c.name for c in description.cameras)]
        if entry.of not in known:
            fail(f"poses.of is {entry.of!r}", description.path, f"name one of {', '.join(known)}")
        return entry

    def _label_format(self, description: Description, main: str, lidar: CompleteLidar) -> str | None:
        folder, stated = description.labels
        for scene in self._scenes:
            for scan in point_files(scene.folder / main):
                label = label_of(scene.folder / folder, stem_of(scan))
                if label is not None:
                    points = len(load_points(scan, lidar.lidar_format)) if stated is None else 0
                    found, reason = label_format(label, scan, lidar.lidar_format, points, stated)
                    if stated is None:
                        self._proposals.append(Proposal("labels.format", found, reason))
                    return found
        return None

    def _ask(self, accepted: bool, path: Path | None) -> None:
        if accepted:
            for proposal in self._proposals:
                self.findings.append(
                    Finding(f"guess {proposal.key}", "warning", f"{proposal.value}: {proposal.reason}")
                )
            return
        lines = "\n".join(f"  {proposal.line}" for proposal in self._proposals)
        fail(
            f"{len(self._proposals)} things are not said and would be guesses:\n{lines}",
            path or self._root / "calibration.yaml (there is none)",
            "write what is right into calibration.yaml, or take all of them with --accept-guesses",
        )

    def _metadata(self) -> dict[str, Any]:
        setup, description = self._setup, self._setup.description
        classes = None
        where = self._root / (description.classes or "classes.yaml")
        if description.classes is not None or where.is_file():
            name = description.classes if description.classes and not where.is_file() else where
            classes = load_class_set(name).to_dict()
        notes = [f"guessed and accepted: {proposal.line}" for proposal in self._proposals]
        if setup.poses is None:
            notes.append(
                "poses by KISS-ICP odometry" if self._kiss_icp else f"{NO_POSES}: no file states them"
            )
        return {
            "dataset": "folder",
            "root": str(self._root),
            "classes": classes,
            "frames": {"lidar": "as in its files", "ego": "x forward, y left, z up, as the calibration says"},
            "notes": notes,
            "has_labels": setup.labels is not None,
        }

    def _reports(self) -> list[Finding]:
        found = []
        for name, sync in sorted(self._sync.items()):
            state: State = "warning" if sync.alone else "ok"
            remedy = "set `sync` (seconds) in the calibration, or complete the folder" if sync.alone else ""
            found.append(Finding(f"times of {name}", state, sync.text(), remedy))
        for what, count in sorted(self._missing.items()):
            found.append(
                Finding(what, "warning", f"{count} scans of {len(self)}", "complete the files of the scene")
            )
        return found


class _SceneReader:
    """The sweeps of one scene."""

    def __init__(
        self, setup: _Setup, scene: Scene, sync: dict[str, Sync], missing: dict[str, int], kiss_icp: bool
    ) -> None:
        self._setup, self._scene, self._sync, self._missing = setup, scene, sync, missing
        self._scans = setup.times(point_files(scene.folder / setup.lidars[0].entry.name))
        self._times = list(self._scans)
        self._poses = self._pose_source(kiss_icp)
        self._cameras = list(self._camera_images())
        self._others = [
            (lidar, setup.times(point_files(scene.folder / lidar.entry.name))) for lidar in setup.lidars[1:]
        ]

    def sweeps(self, split: str) -> Iterator[Sweep]:
        rank = 0
        for time, path in self._scans.items():
            pose = self._pose(time)
            if pose is None:
                self._missing["scans without a pose, left out"] += 1
                continue
            key = rank % self._setup.description.key_every == 0
            rank += 1
            yield self._sweep(time, path, pose, key, split)

    def _sweep(self, time: int, path: Path, pose: Float64, key: bool, split: str) -> Sweep:
        setup, stem = self._setup, stem_of(path)
        token = f"{self._scene.name}/{stem}"
        label = (
            label_of(self._scene.folder / setup.description.labels[0], stem) if setup.labels and key else None
        )
        world_SE3_lidar = pose @ setup.ego_SE3_lidar
        return Sweep(
            token=token,
            scene=self._scene.name,
            timestamp=time,
            is_key_frame=key,
            path=path,
            lidar_format=setup.lidars[0].lidar_format,
            ego_SE3_lidar=setup.ego_SE3_lidar,
            world_SE3_ego=pose,
            split=split,
            cameras=tuple(self._images(time)) if key else (),
            boxes=self._boxes(stem, world_SE3_lidar) if key else None,
            lidarseg_path=label,
            sample_token=token if key else "",
            lidar_SE3_points=invert_SE3(world_SE3_lidar) if setup.lidars[0].entry.frame == "world" else None,
            lidars=tuple(self._further(time, pose)),
            lidarseg_format=setup.labels or "uint8",
        )

    def _images(self, time: int) -> Iterator[Camera]:
        for name, images in self._cameras:
            image = images.at(time, self._pose, self._sync[f"camera {name}"])
            if image is not None:
                yield image

    def _boxes(self, stem: str, world_SE3_lidar: Float64) -> Boxes | None:
        folder, frame = self._setup.description.boxes
        path = next(
            (p for end in (".txt", ".csv") if (p := self._scene.folder / folder / f"{stem}{end}").is_file()),
            None,
        )
        if path is None:
            return None
        of = {
            "lidar": np.eye(4),
            "ego": invert_SE3(self._setup.ego_SE3_lidar),
            "world": invert_SE3(world_SE3_lidar),
        }
        return read_boxes(path, of[frame])

    def _further(self, time: int, pose: Float64) -> Iterator[Lidar]:
        """The other LiDARs at the scan that is nearest in time, the motion in between taken along."""
        for lidar, scans in self._others:
            sync = self._sync[f"LiDAR {lidar.entry.name}"]
            times = list(scans)
            found = nearest(times, time, half_a_period(times))
            there = None if found is None else self._pose(times[found])
            if found is None or there is None:
                sync.alone += 1
                continue
            sync.apart.append(abs(times[found] - time))
            world_SE3_lidar = pose @ self._setup.ego_SE3_lidar
            if lidar.entry.frame == "world":
                moved = invert_SE3(world_SE3_lidar)
            else:
                moved = invert_SE3(world_SE3_lidar) @ there @ _mount(lidar.entry)
            offset = (times[found] - time) / 1e6
            yield Lidar(lidar.entry.name, scans[times[found]], lidar.lidar_format, moved, "", offset)

    def _camera_images(self) -> Iterator[tuple[str, CameraImages]]:
        setup = self._setup
        for camera in setup.cameras:
            files = setup.times(image_files(self._scene.folder / camera.folder))
            if not files:
                self._missing[f"camera {camera.name}: scenes without an image"] += 1
                continue
            if camera.ego_SE3_cam is not None:
                mount = camera.ego_SE3_cam
            else:
                assert camera.lidar_SE3_cam is not None
                mount = setup.ego_SE3_lidar @ camera.lidar_SE3_cam
            sync = setup.description.sync
            tolerance = half_a_period(list(files)) if sync is None else round(1e6 * sync)
            yield camera.name, CameraImages(camera, mount, files, tolerance)

    def _pose_source(self, kiss_icp: bool) -> dict[int, Float64] | Any:
        entry = self._setup.poses
        if entry is not None:
            path = self._scene.folder / entry.file
            return read_poses(path, entry, self._times, self._setup.stamp_unit)
        return self._odometry() if kiss_icp else None

    def _odometry(self) -> dict[int, Float64]:
        lidar, mount = self._setup.lidars[0], self._setup.ego_SE3_lidar
        names = columns_of(point_format(lidar.lidar_format))

        def clouds() -> Iterator[tuple[Any, Any]]:
            for time, path in self._scans.items():
                points = load_points(path, lidar.lidar_format, timestamp=time)
                yield points, points[:, names.index("time")].astype(np.float64) if "time" in names else None

        ground = (
            OdometryConfig(ground_below=0.4 - float(mount[2, 3])) if mount[2, 3] > 0.5 else OdometryConfig()
        )
        poses = lidar_odometry(clouds(), ground)
        lidar_SE3_ego = invert_SE3(mount)
        return {time: mount @ pose @ lidar_SE3_ego for time, pose in zip(self._times, poses, strict=True)}

    def _pose(self, time: int) -> Float64 | None:
        """(4, 4) world_SE3_ego at a time."""
        if self._poses is None:
            return np.eye(4)
        if isinstance(self._poses, dict):
            near = nearest(self._times, time, half_a_period(self._times))
            return None if near is None else self._poses[self._times[near]]
        found = self._poses.at(time)
        return None if found is None else found @ invert_SE3(self._ego_SE3_posed())

    def _ego_SE3_posed(self) -> Float64:
        entry, setup = self._setup.poses, self._setup
        assert entry is not None
        for lidar in setup.lidars:
            if lidar.entry.name == entry.of:
                return _mount(lidar.entry)
        for camera in setup.cameras:
            if camera.name == entry.of:
                if camera.ego_SE3_cam is not None:
                    return camera.ego_SE3_cam
                assert camera.lidar_SE3_cam is not None
                return setup.ego_SE3_lidar @ camera.lidar_SE3_cam
        return np.eye(4)


def _mount(entry: LidarEntry) -> Float64:
    assert entry.ego_SE3_lidar is not None  # `complete_lidar` has set it
    return entry.ego_SE3_lidar


def _bare_description(root: Path, scene: Scene) -> Description:
    """Of a root without a calibration file: its folders of points; cameras without calibration are no use."""
    lidars = tuple(LidarEntry(name) for name in lidar_folders(scene.folder)[:1])
    return Description(path=root, lidars=lidars)


def detect(root: Path) -> str | None:
    """Why a root looks like own folders, None where it does not."""
    if root.is_file():
        return None
    path = find_description(root)
    if path is not None:
        text = path.read_text(encoding="utf-8", errors="replace")
        if "lidars" in text:
            return f"{path.name} with lidars"
    scenes = find_scenes(root, None)
    if not scenes:
        return None
    inside = scenes[0].folder
    lidars, images = scenes[0].lidars or lidar_folders(inside), image_folders(inside)
    return f"points in {inside.name}/{lidars[0]}" + f", images in {', '.join(images[:3])}" * bool(images)


def add_options(parser: argparse._ActionsContainer) -> None:
    """The options of the reader."""
    parser.add_argument(
        "--accept-guesses", action="store_true", help="take what the calibration leaves out from the data"
    )
    parser.add_argument(
        "--poses", choices=[KISS_ICP], default=None, help="estimate poses where no file states them"
    )
