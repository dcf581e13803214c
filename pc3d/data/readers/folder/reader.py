"""Own folders: a drive a folder, a sensor a folder in it, and one calibration file: docs/own-data.md."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pc3d.data.classes import load_class_set
from pc3d.data.errors import fail
from pc3d.data.odometry import require_kiss_icp
from pc3d.data.readers.folder.description import Description, LidarEntry, find_description, read_description
from pc3d.data.readers.folder.drive import DriveReader, Tallies
from pc3d.data.readers.folder.leftovers import leftovers
from pc3d.data.readers.folder.scenes import Scene, find_scenes, image_folders, lidar_folders, point_files
from pc3d.data.readers.folder.setup import KISS_ICP, complete_setup
from pc3d.data.readers.nuscenes_splits import listed_splits, odd_splits, split_of_scenes
from pc3d.data.records import Float64, Sweep
from pc3d.data.survey.poses import NO_POSES
from pc3d.findings import Finding, State

_COMPLETE = "complete the files of the drives, or correct `poses` and `stamps` in the calibration"


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
        self._setup = complete_setup(
            description or _bare_description(self._root, self._scenes[0]), self._scenes, self._root
        )
        self.findings: list[Finding] = [*self._setup.findings]
        if self._kiss_icp and self._setup.lidars[0].entry.frame == "world" and self._setup.poses is None:
            fail(
                "points in the world's coordinates have poses: none can be estimated from them",
                path or self._root,
                "add the file of poses",
            )
        self.findings += leftovers(self._root, self._scenes, self._setup.description)
        self._tallies = Tallies()
        self._drives: dict[str, DriveReader] = {}
        if self._setup.proposals:
            self._ask(accept_guesses, path)
        names = [scene.name for scene in self._scenes]
        listed = listed_splits(self._root) is not None
        self._splits = dict.fromkeys(names, "train")
        if listed:
            self._splits = split_of_scenes(self._root, names, nested=False)
            self.findings += odd_splits(self._root, names, all_in_one=True)
        self.metadata: dict[str, Any] = self._metadata()

    def __len__(self) -> int:
        name = self._setup.lidars[0].entry.name
        return sum(len(point_files(scene.folder / name)) for scene in self._scenes)

    def sweeps(self) -> Iterator[Sweep]:
        """The scenes by name, each ascending in time.

        Raises:
            DataError: at the end, no drive could be read.
        """
        read = 0
        for scene in self._scenes:
            drive = DriveReader(self._setup, scene, self._tallies, self._kiss_icp)
            self._drives[scene.name] = drive
            for sweep in drive.sweeps(self._splits.get(scene.name, "none")):
                read += 1
                yield sweep
        if not read and self._tallies.drives:
            fail("no drive can be read: " + "; ".join(self._tallies.drives[:3]), self._root, _COMPLETE)
        self.findings += self._reports()

    def twist(self, sweep: Sweep) -> Float64 | None:
        """(6,) velocity of the ego vehicle at a sweep that `sweeps` gave, None where no pose file tells."""
        return self._drives[sweep.scene].twist(sweep.timestamp)

    def _ask(self, accepted: bool, path: Path | None) -> None:
        if accepted:
            for proposal in self._setup.proposals:
                self.findings.append(
                    Finding(f"guess {proposal.key}", "warning", f"{proposal.value}: {proposal.reason}")
                )
            return
        lines = "\n".join(f"  {proposal.line}" for proposal in self._setup.proposals)
        fail(
            f"{len(self._setup.proposals)} things are not said and would be guesses:\n{lines}",
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
        notes = [f"guessed and accepted: {proposal.line}" for proposal in self._setup.proposals]
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
            # Points in the world were put there from their own times.
            "compensated": any(lidar.entry.frame == "world" for lidar in setup.lidars),
        }

    def _reports(self) -> list[Finding]:
        found = []
        for name, sync in sorted(self._tallies.sync.items()):
            state: State = "warning" if sync.alone else "ok"
            remedy = "set `sync` (seconds) in the calibration, or complete the folder" if sync.alone else ""
            found.append(Finding(f"times of {name}", state, sync.text(), remedy))
        for what, count in sorted(self._tallies.missing.items()):
            found.append(
                Finding(what, "warning", f"{count} scans of {len(self)}", "complete the files of the scene")
            )
        if lost := self._tallies.drives:
            text = f"{len(lost)} of {len(self._scenes)} drives are left out: {'; '.join(lost[:3])}"
            found.append(Finding("drives", "problem", text + ", ..." * (len(lost) > 3), _COMPLETE))
        if levelled := self._tallies.levelled:
            assert self._setup.poses is not None
            text = (
                f"the world of {len(levelled)} drives has the axes of {self._setup.poses.of}: it was turned "
                "so that z is up"
            )
            found.append(Finding("world", "ok", text))
        return found


def _bare_description(root: Path, scene: Scene) -> Description:
    """Of a root without a calibration file: its first folder of points; cameras without calibration are no
    use."""
    return Description(path=root, lidars=(LidarEntry(_lidars_of(scene)[0]),))


def _lidars_of(scene: Scene) -> Sequence[str]:
    """The folders of points of a scene, where no calibration names them."""
    return scene.lidars or lidar_folders(scene.folder)


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
    images = image_folders(inside)
    points = f"points in {inside.name}/{_lidars_of(scenes[0])[0]}"
    return points + f", images in {', '.join(images[:3])}" * bool(images)


def add_options(parser: argparse._ActionsContainer) -> None:
    """The options of the reader."""
    parser.add_argument(
        "--accept-guesses", action="store_true", help="take what the calibration leaves out from the data"
    )
    parser.add_argument(
        "--poses", choices=[KISS_ICP], default=None, help="estimate poses where no file states them"
    )
