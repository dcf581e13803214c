"""Where the vehicle was: from a topic of poses, from tf, or nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.readers.bag.options import KISS_ICP, NONE, TF
from pc3d.data.readers.bag.scan import Scan
from pc3d.data.readers.bag.topics import ODOMETRY, Topic, check_known
from pc3d.data.readers.bag.trajectory import Trajectory
from pc3d.data.readers.bag.transforms import TransformTree
from pc3d.data.records import Float64

FIXED_FRAMES = ("odom", "map", "world")
"""Frames of the world by convention; `odom` first, because `map` may jump."""
BASE_FRAMES = ("base_link", "base_footprint", "ego_vehicle", "vehicle")


class PoseSource(Protocol):
    """Poses of the vehicle in the world."""

    def at(self, time: int) -> Float64:
        """(4, 4) `world_SE3_ego` at a time (ns)."""

    def off(self, time: int) -> float:
        """Seconds to the nearest pose that was recorded, 0 where none is needed."""


@dataclass(frozen=True)
class Still:
    """The identity, always."""

    def at(self, time: int) -> Float64:
        return np.eye(4)

    def off(self, time: int) -> float:
        return 0.0


@dataclass(frozen=True, eq=False)
class FromTopic:
    """Poses of a topic, of a frame that is fixed on the vehicle."""

    trajectory: Trajectory
    child_SE3_base: Float64

    def at(self, time: int) -> Float64:
        return self.trajectory.at(time) @ self.child_SE3_base

    def off(self, time: int) -> float:
        return self.trajectory.off(time)


@dataclass(frozen=True, eq=False)
class FromTree:
    """The base frame in the fixed one."""

    tree: TransformTree
    fixed: str
    base: str

    def at(self, time: int) -> Float64:
        return self.tree.at(self.fixed, self.base, time, "poses from tf")

    def off(self, time: int) -> float:
        return self.tree.off(self.fixed, self.base, time)


def choose_poses(topics: Sequence[Topic], wanted: str | None, tree: TransformTree, root: Path) -> str:
    """The source of the poses: the name of a topic, `tf`, `kiss-icp` or `none`.

    Args:
        tree: transforms of the start of a bag.

    Raises:
        DataError: several topics of odometry and none named; a topic that has no poses.
    """
    known = list(dict.fromkeys(topic.name for topic in topics if topic.use == "poses" and topic.count))
    if wanted in (NONE, TF, KISS_ICP):
        return str(wanted)
    if wanted is not None:
        check_known([wanted], known, "poses", root, f"--poses {NONE}, {TF}, {KISS_ICP} or one of")
        return wanted
    odometry = [topic.name for topic in topics if topic.kind == ODOMETRY and topic.name in known]
    odometry = list(dict.fromkeys(odometry))
    if len(odometry) > 1:
        fail(
            f"there are {len(odometry)} topics of odometry: {', '.join(odometry)}",
            root,
            f"name one: --poses TOPIC, or {TF}, {KISS_ICP}, {NONE}",
        )
    if odometry:
        return odometry[0]
    return TF if fixed_frame(tree) and base_frame(tree) else NONE


def fixed_frame(tree: TransformTree) -> str:
    """The frame of the world by its name, "" if there is none."""
    return next((frame for frame in FIXED_FRAMES if frame in tree.frames), "")


def base_frame(tree: TransformTree) -> str:
    """The frame of the vehicle by its name, "" if there is none."""
    return next((frame for frame in BASE_FRAMES if frame in tree.frames), "")


def pose_source(source: str, found: Scan, fixed: str, base: str, where: Path) -> PoseSource:
    """The poses of one bag.

    Args:
        source: of `choose_poses`. found: the scan of the bag.

    Raises:
        DataError: the bag has no pose, or frames are not joined.
    """
    if source in (NONE, KISS_ICP):
        return Still()
    if source == TF:
        found.tree.at(fixed, base, 0, f"poses from tf in {where}")
        return FromTree(found.tree, fixed, base)
    if found.poses is None:
        fail(f"the bag has no message of {source}", where, f"leave the bag out, or --poses {NONE}")
    child = found.child or base
    child_SE3_base = found.tree.at(child, base, 0, f"poses of {source} in {where}, which are of {child!r}")
    return FromTopic(found.poses, child_SE3_base)
