"""The direction in which a vehicle travels against the x axis of its poses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pc3d.data.records import Float64, Sweep
from pc3d.findings import Finding

_STEP = 1.0  # metres: shorter ones are noise of a pose
_FEW = 5
_ALONG = float(np.cos(np.pi / 4))


class Heading:
    """Looks at the poses of one scene after the other. A vehicle that reverses for a while is none of it:
    most of all that was driven counts."""

    def __init__(self) -> None:
        self._steps = self._astray = self._backwards = 0
        self._first = ""

    def look(self, sweeps: Sequence[Sweep]) -> None:
        along = cosines(np.array([sweep.world_SE3_ego for sweep in sweeps]))
        astray = int((along < _ALONG).sum())
        self._steps += len(along)
        self._astray += astray
        self._backwards += int((along < -_ALONG).sum())
        if 2 * astray > len(along) and not self._first:
            self._first = f", first: {astray} of {len(along)} steps of scene {sweeps[0].scene}"

    def findings(self) -> list[Finding]:
        if self._steps < _FEW or 2 * self._astray <= self._steps:
            return []
        how = "backwards" if 2 * self._backwards > self._astray else "sideways"
        text = (
            f"the vehicle drives {how}: {self._astray} of {self._steps} steps of {_STEP:g} m go more than 45 "
            f"degrees off the ego's x axis{self._first}"
        )
        remedy = "poses are world_SE3_ego with x forward; quaternions are w x y z"
        return [Finding("heading", "problem", text, remedy)]


def cosines(poses: Float64) -> Float64:
    """(M,) cosines between M steps of more than `_STEP` along N poses (N, 4, 4) and the x axis, taken at
    both ends of a step, so that a turn does no harm."""
    at, found = 0, []
    for n in range(1, len(poses)):
        step = poses[n, :3, 3] - poses[at, :3, 3]
        length = np.sqrt(step @ step)
        if length > _STEP:
            axis = poses[at, :3, 0] + poses[n, :3, 0]
            found.append(step @ axis / (length * max(np.sqrt(axis @ axis), 1e-9)))
            at = n
    return np.array(found)
