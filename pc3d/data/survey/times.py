"""Intervals between the sweeps of a scene, and between a sweep and its images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pc3d.data.records import Float64, Sweep
from pc3d.data.survey.tally import Tally
from pc3d.findings import Finding

SHORTEST, LONGEST = 1e-3, 10.0
"""Seconds between sweeps. Times in milliseconds or nanoseconds, read as microseconds, lie outside at the
rates of LiDARs and of key frames (0.5 to 50 Hz)."""

_GAP, _GAP_FACTOR, _CAMERA = 1.0, 5.0, 0.5


def sweep_steps(sweeps: Sequence[Sweep]) -> Float64:
    """(N-1,) seconds between the N sweeps of a scene."""
    return 1e-6 * np.diff(np.array([sweep.timestamp for sweep in sweeps], dtype=np.float64))


def median_step(steps: Float64) -> float | None:
    """Median interval between sweeps at different times, seconds; None where there is none."""
    moving = steps[steps > 0]
    return float(np.median(moving)) if len(moving) else None


class Times:
    """Looks at the times of one scene after the other."""

    def __init__(self) -> None:
        self._unit, self._gaps, self._equal, self._cameras = Tally(), Tally(), Tally(), Tally()

    def look(self, sweeps: Sequence[Sweep]) -> None:
        steps, scene = sweep_steps(sweeps), sweeps[0].scene
        for sweep in sweeps:
            for camera in sweep.cameras:
                apart = 1e-6 * abs(camera.timestamp - sweep.timestamp)
                self._cameras.look(apart > _CAMERA, f"{camera.name} of sweep {sweep.token}, {apart:.3g} s")
        for number in np.flatnonzero(steps == 0):
            self._equal.see(f"sweeps {sweeps[number].token} and {sweeps[number + 1].token} of scene {scene}")
        median = median_step(steps)
        if median is None:
            return
        self._unit.look(not SHORTEST <= median <= LONGEST, f"{median:.3g} s in scene {scene}")
        for number in np.flatnonzero(steps > max(_GAP, _GAP_FACTOR * median)):
            self._gaps.see(f"{steps[number]:.3g} s after sweep {sweeps[number].token} of scene {scene}")

    def findings(self) -> list[Finding]:
        return [
            *self._unit.finding(
                "unit of time",
                "problem",
                f"scenes have a median step between sweeps outside {SHORTEST * 1e3:g} ms to {LONGEST:g} s",
                "write timestamps in microseconds",
            ),
            *self._equal.finding(
                "equal times", "warning", "pairs of sweeps have the same time", "correct the timestamps"
            ),
            *self._gaps.finding(
                "gaps in time",
                "warning",
                f"intervals are longer than {_GAP:g} s and {_GAP_FACTOR:g} times the median of their scene",
                "look for sweeps that are missing, or make two scenes of it",
            ),
            *self._cameras.finding(
                "times of images",
                "warning",
                f"images were taken more than {_CAMERA:g} s from their sweep",
                "compare the clocks of camera and LiDAR, and how images were assigned to sweeps",
            ),
        ]
