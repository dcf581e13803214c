"""What is said of the calibration of an index."""

from __future__ import annotations

from collections.abc import Sequence

from pc3d.data.calibration.scores import CalibrationScore, Fit, calibration_scores
from pc3d.data.index import SweepIndex
from pc3d.findings import Finding

_REMEDY = (
    "mend the calibration of the data set and build the index again; docs/calibration.md says what "
    "this can see; to go on all the same, `data.calibration=warn`"
)


_PAST = 0.1
"""Of the expected share of points: a camera that gets less looks past what the LiDAR sees."""


def _better(fit: Fit) -> str:
    if fit.kind != "turned":
        return fit.cause
    ways = []
    if fit.yaw:
        side = "left" if fit.yaw > 0 else "right"
        ways.append(f"by {abs(fit.yaw):g} degrees to the {side} about the vertical axis")
    if fit.pitch:
        ways.append(f"by {abs(fit.pitch):g} degrees {'upwards' if fit.pitch > 0 else 'downwards'}")
    return f"it fits better turned {' and '.join(ways)}"


def _finding(score: CalibrationScore) -> Finding:
    name = f"calibration {score.camera}"
    frames = f"{score.frames} frames"
    if score.frames < score.looked_at:
        frames = f"{score.frames} of {score.looked_at} frames, those with this calibration"
    numbers = (
        f"edges of scans meet edges of images at {score.given.z:.1f} sigma in {frames}; "
        f"{score.coverage:.1%} of the points are in the images ({score.expected:.1%} expected)"
    )
    if score.verdict == "wrong":
        both = f"; {', '.join(score.alike)} say the same" if score.alike else ""
        text = f"{_better(score.best)} ({score.best.z:.1f} sigma); as it is, {numbers}{both}"
        return Finding(name, "problem", text, _REMEDY)
    if score.verdict == "fits":
        return Finding(name, "ok", numbers)
    if score.coverage < _PAST * score.expected:
        return Finding(name, "warning", f"it looks past what the LiDAR sees: {numbers}", _REMEDY)
    return Finding(name, "ok", f"cannot tell: {numbers}")


def calibration_findings(index: SweepIndex, cameras: Sequence[str] | None = None) -> list[Finding]:
    """A finding for each camera of an index (`cameras`: only these): `problem` if its calibration is wrong.

    Where nothing can be told (dark images, nothing upright, few points) it is `ok` and says so.
    Deterministic; reads at most 24 key frames.
    """
    return [_finding(score) for score in calibration_scores(index, cameras)]
