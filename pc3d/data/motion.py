"""The motion of the vehicle at each sweep, from the poses of its scene: what points are compensated with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.points.load import available
from pc3d.data.points.motion import twist_between
from pc3d.data.records import Float64, Sweep
from pc3d.data.survey.poses import NO_POSES
from pc3d.findings import Finding, State
from pc3d.geometry.rigid import invert_SE3

MOST_STEP = 1_000_000
"""Microseconds between two sweeps above which their poses say nothing of the motion at either."""
WITHOUT = "index without --compensate-motion"

Twist = Callable[[Sweep], "Float64 | None"]
"""(6,) velocity of the ego vehicle at a sweep, in its frame, from all poses that a reader knows."""


def with_motion(
    sweeps: Iterable[Sweep],
    metadata: Mapping[str, Any] | None = None,
    twist: Twist | None = None,
    findings: list[Finding] | None = None,
) -> Iterator[Sweep]:
    """The sweeps with `motion` set: their points are moved to the time of the sweep when they are loaded.

    The velocity at a sweep is what `twist` says, else that between its neighbours in its scene, at the ends
    to the one neighbour.

    Args:
        sweeps: the scenes one after the other, each ascending in time.
        metadata: of the reader; its "compensated" says that the files are moved already.
        twist: of a reader that knows more poses than those of its sweeps.
        findings: gets, at the end, how many sweeps could not be compensated.

    Raises:
        DataError: a sweep's points have no times, or are compensated already; there are no poses.
    """
    _check_data_set(metadata or {})
    total, left = 0, []
    for _, scene in groupby(sweeps, key=lambda sweep: sweep.scene):
        whole = list(scene)
        for at, sweep in enumerate(whole):
            _check(sweep)
            motion = None if twist is None else twist(sweep)
            moved = replace(sweep, motion=_motion(whole, at) if motion is None else motion)
            total += 1
            left += [sweep.token] if moved.motion is None else []
            yield moved
    if findings is not None and left:
        text = (
            f"{len(left)} of {total} sweeps are not compensated, as no other pose is near in time "
            f"(first: {left[0]})"
        )
        state: State = "problem" if len(left) == total else "warning"
        findings.append(Finding("motion", state, text, f"give poses every 0.1 s, or {WITHOUT}"))


def _check_data_set(metadata: Mapping[str, Any]) -> None:
    if metadata.get("compensated"):
        fail(
            "the data set has compensated its points for motion already",
            metadata.get("root", ""),
            WITHOUT,
        )
    if any(str(note).startswith(NO_POSES) for note in metadata.get("notes", ())):
        fail(
            "there are no poses, so points cannot be compensated for motion",
            metadata.get("root", ""),
            f"add them, take --poses kiss-icp where the format has it, or {WITHOUT}",
        )


def _check(sweep: Sweep) -> None:
    """Refuse a sweep whose points cannot be moved."""
    if "time" not in available(sweep):
        fail(
            "the points have no times, so they cannot be compensated for motion",
            f"{sweep.path} (sweep {sweep.token}), {sweep.lidar_format}",
            f"name the column of times, or {WITHOUT}",
        )
    lidar_SE3_world = invert_SE3(sweep.world_SE3_ego @ sweep.ego_SE3_lidar)
    of_files = [sweep.lidar_SE3_points, *(lidar.lidar_SE3_sensor for lidar in sweep.lidars)]
    still = np.allclose(sweep.world_SE3_ego, np.eye(4))  # the ego frame is the world's here
    if not still and any(p is not None and np.allclose(p, lidar_SE3_world, 0, 1e-6) for p in of_files):
        fail(
            "the points are in the world's coordinates, where each was put from its own time: they are "
            "compensated for motion already",
            f"{sweep.path} (sweep {sweep.token})",
            WITHOUT,
        )


def _motion(sweeps: list[Sweep], at: int) -> Float64 | None:
    """(6,) twist of the ego vehicle at a sweep, None where no neighbour is near enough in time."""
    near = [
        other
        for other in (at - 1, at + 1)
        if 0 <= other < len(sweeps) and 0 < abs(sweeps[other].timestamp - sweeps[at].timestamp) <= MOST_STEP
    ]
    if not near:
        return None
    first, last = (sweeps[min(at, near[0])], sweeps[max(at, near[-1])])
    if all((sweep.world_SE3_ego == np.eye(4)).all() for sweep in (first, last)):
        return None  # a scene without poses, among others that have some
    first_SE3_last = invert_SE3(first.world_SE3_ego) @ last.world_SE3_ego
    return twist_between(first_SE3_last, (last.timestamp - first.timestamp) / 1e6)
