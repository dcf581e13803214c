"""Sweeps of bags: one scene a bag."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pc3d.data.errors import did_you_mean, fail
from pc3d.data.odometry import require_kiss_icp
from pc3d.data.readers.bag.drive import Drive, Setup
from pc3d.data.readers.bag.files import BagPath, find_bags, renamed
from pc3d.data.readers.bag.formats import first_formats, formats_of
from pc3d.data.readers.bag.guesses import first_message, first_transforms, pictures_of
from pc3d.data.readers.bag.opened import Bag, open_bag
from pc3d.data.readers.bag.options import KISS_ICP, NONE, TF, BagOptions
from pc3d.data.readers.bag.poses import base_frame, choose_poses, fixed_frame
from pc3d.data.readers.bag.rig import Rig, choose_cameras
from pc3d.data.readers.bag.topics import ODOMETRY, Topic, choose_lidars, topics_of
from pc3d.data.readers.bag.transforms import TransformTree, frame_name, read_transforms
from pc3d.data.readers.extraction import check_settings
from pc3d.data.readers.key_frames import key_every_note
from pc3d.data.records import Sweep
from pc3d.findings import Finding


class BagReader:
    """Reads bags of ROS 1 and ROS 2 (sqlite3, MCAP); each is a scene of split `train`, without labels.

    What is not said is found out where there is one choice: the only topic of points, the only one of
    odometry, images with a CameraInfo. What is guessed (units of times and intensity, frames) is a finding.
    Points and images stay in the bag, unless `extract` names a folder.

    Args:
        root: a bag, or a folder that holds some.
        options: see `BagOptions`.

    Raises:
        DataError: no bag, or a broken one; no topic of points, or several and none named; frames that are
            not joined.
        ImportError: the package `rosbags` is not installed; `poses="kiss-icp"` without its package.
        ValueError: an option has a value that is none.
    """

    def __init__(self, root: Path, **options: Any) -> None:
        self._root = Path(root).resolve()
        self._options = BagOptions(**options)
        if self._options.poses == KISS_ICP:
            require_kiss_icp()
        self.findings: list[Finding] = []
        self._held: tuple[BagPath, Bag] | None = None
        self._statics = TransformTree()
        topics, self._bags = self._survey(find_bags(self._root))
        self._setup = self._prepare(topics)
        self.metadata = self._metadata()
        if self._options.extract is not None:
            check_settings(self._options.extract.resolve(), self._extraction())

    def __len__(self) -> int:
        return self._count

    def sweeps(self) -> Iterator[Sweep]:
        """The bags by path, each ascending in time."""
        for path in self._bags:
            drive = Drive(path, self._open(path), self._setup_of(path), self._statics)
            yield from drive.sweeps()
            self._statics = drive.tree if drive.tree.has_static else self._statics
        self.findings += self._setup.findings()

    def _setup_of(self, path: BagPath) -> Setup:
        """What holds for a bag: its points may have other units than those of the first."""
        formats = self._setup.formats
        if path != self._bags[0]:
            formats, found = formats_of(self._open(path), path, formats, self._options)
            self.findings += found
        if self._options.extract is not None:
            check_settings(self._options.extract.resolve() / path.scene, {"formats": formats})
        return replace(self._setup, formats=formats)

    def _open(self, path: BagPath) -> Bag:
        """A bag; the last one stays open, as opening takes a third of a second and more."""
        if self._held is None or self._held[0] != path:
            if self._held is not None:
                self._held[1].close()
                self._held = None
            self._held = path, open_bag(path)
        return self._held[1]

    def _survey(self, paths: list[BagPath]) -> tuple[list[Topic], list[BagPath]]:
        """The topics of all bags, and the bags that have the leading topic of points."""
        if twins := renamed(paths, self._root):
            named = ", ".join(f"{path.opened.name} as {path.scene}" for path in twins[:6])
            text = f"{len(twins)} bags share the name of their drive with another: {named}"
            self.findings.append(Finding("names of drives", "warning", text, "move one away if it is a copy"))
        by_bag: dict[BagPath, list[Topic]] = {}
        for path in paths:
            by_bag[path] = topics_of(self._open(path), path.file)
        topics = [topic for found in by_bag.values() for topic in found]
        self._lidars = choose_lidars(topics, self._options.lidar_topics, self._root)
        lead = self._lidars[0]
        counts = {path: sum(t.count for t in found if t.name == lead) for path, found in by_bag.items()}
        self._count = sum(counts.values())
        bare = [path.scene for path, count in counts.items() if not count]
        if bare:
            text = f"{len(bare)} of {len(paths)} bags have no message of {lead}: {', '.join(bare[:5])}"
            self.findings.append(Finding("bags", "warning", text, "index them by themselves"))
        self._check_names(topics)
        return topics, [path for path, count in counts.items() if count]

    def _check_names(self, topics: list[Topic]) -> None:
        known = {topic.name for topic in topics}
        for name in sorted(self._options.named_topics - known):
            fail(f"there is no topic {name!r}{did_you_mean(name, known)}", self._root, "see --list-topics")

    def _prepare(self, topics: list[Topic]) -> Setup:
        """What holds for all bags, from the first of them."""
        first, options = self._bags[0], self._options
        bag = self._open(first)
        tree = first_transforms(bag)
        given = TransformTree()
        if options.transforms is not None:
            read_transforms(options.transforms, given)
            tree.override(given)
        poses = choose_poses(topics, options.poses, tree, self._root)
        base = self._base(bag, poses, tree, topics)
        formats, found = first_formats(bag, first, self._lidars, options)
        self.findings += found
        pictures = pictures_of(bag, topics_of(bag, first.file), first.file)
        cameras, found = choose_cameras(topics, options, pictures, self._root)
        self.findings += found
        fixed = options.fixed_frame or fixed_frame(tree)
        if poses == TF and not fixed:
            there = ", ".join(tree.frames) or "none"
            fail("no frame of the bag is the world by its name", self._root, f"--fixed-frame: one of {there}")
        return Setup(options, formats, Rig(cameras, base, options), base, fixed, poses, given)

    def _base(self, bag: Bag, poses: str, tree: TransformTree, topics: list[Topic]) -> str:
        """The frame of the vehicle: as said, that of the odometry, one known by name, or the LiDAR's."""
        if self._options.base_frame:
            return frame_name(self._options.base_frame)
        kinds = {topic.name: topic.kind for topic in topics}
        message = first_message(bag, poses) if kinds.get(poses) == ODOMETRY else None
        if message and (child := frame_name(str(message.content.child_frame_id))):
            return child
        if base := base_frame(tree):
            return base
        message = first_message(bag, self._lidars[0])
        lidar = frame_name(str(message.content.header.frame_id)) if message else ""
        text = f"no frame of the vehicle is known: the LiDAR's own, {lidar!r}, is taken"
        self.findings.append(Finding("base frame", "warning", text, "name another: --base-frame FRAME"))
        return lidar

    def _metadata(self) -> dict[str, Any]:
        setup, options = self._setup, self._options
        root = self._root if self._root.is_dir() else self._root.parent
        notes = {
            NONE: "poses are the identity: none were asked for, or the bags have none",
            KISS_ICP: "poses by KISS-ICP odometry; the world is the ego frame of a bag's first sweep",
            TF: f"poses from tf, of {setup.base} in {setup.fixed}",
        }
        return {
            "dataset": "bag",
            "root": str(options.extract.resolve() if options.extract is not None else root),
            "classes": None,
            "frames": {"ego": setup.base, "world": setup.fixed if setup.poses == TF else setup.poses},
            "notes": [
                notes.get(setup.poses, f"poses of the topic {setup.poses}"),
                f"points of {', '.join(setup.formats)}",
                f"images of {', '.join(camera.topic for camera in setup.rig.cameras) or 'no topic'}",
                key_every_note(options.key_every),
                "no boxes and no labels",
            ],
        }

    def _extraction(self) -> dict[str, Any]:
        return {
            "root": str(self._root),
            "formats": self._setup.formats,
            "stamps": self._options.stamps,
            "stamp_offset": sorted(self._options.stamp_offset),
        }
