"""The motion of the vehicle at each sweep, from the poses of its scene: what points are compensated with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any

from pc3d.data.errors import fail
from pc3d.data.points.load import available
from pc3d.data.points.motion import twist_between
from pc3d.data.records import Float64, Sweep
from pc3d.geometry.rigid import invert_SE3

MOST_STEP = 1_000_000
"""Microseconds between two sweeps above which their poses say nothing of the motion at either."""


def with_motion(sweeps: Iterable[Sweep], metadata: Mapping[str, Any] | None = None) -> Iterator[Sweep]:
    """The sweeps with `motion` set: their points are moved to the time of the sweep when they are loaded.

    The velocity at a sweep is that between its neighbours in its scene, at the ends to the one neighbour.

    Args:
        sweeps: the scenes one after the other, each ascending in time.
        metadata: of the reader; its "compensated" says that the files are moved already.

    Raises:
        DataError: a sweep's points have no times, or are compensated already.
    """
    if metadata and metadata.get("compensated"):
        fail(
            "the data set has compensated its points for motion already",
            metadata.get("root", ""),
            "index without --compensate-motion",
        )
    for _, scene in groupby(sweeps, key=lambda sweep: sweep.scene):
        whole = list(scene)
        for at, sweep in enumerate(whole):
            if "time" not in available(sweep):
                fail(
                    "the points have no times, so they cannot be compensated for motion",
                    f"{sweep.path} (sweep {sweep.token}), {sweep.lidar_format}",
                    "name the column of times, or index without --compensate-motion",
                )
            yield replace(sweep, motion=_motion(whole, at))


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
    first_SE3_last = invert_SE3(first.world_SE3_ego) @ last.world_SE3_ego
    return twist_between(first_SE3_last, (last.timestamp - first.timestamp) / 1e6)
