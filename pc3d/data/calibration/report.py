"""What is said of the calibration of an index."""

from __future__ import annotations

from collections.abc import Sequence

from pc3d.data.calibration.scores import CalibrationScore, Fit, calibration_scores
from pc3d.data.index import SweepIndex
from pc3d.findings import Finding

_REMEDY = (
    "mend the calibration of the data set and build the index again; docs/calibration.md says what "
    'this can see; to go on all the same, `data.calibration="warn"`'
)


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


def _line(score: CalibrationScore) -> str:
    given, best = score.given.z, score.best.z
    numbers = (
        f"edges of the scans meet edges of the images at {given:.1f} sigma in {score.frames} frames; "
        f"{score.coverage:.1%} of the points land in them, {score.expected:.1%} are expected"
    )
    if score.verdict == "fits":
        return numbers
    if score.verdict == "cannot tell":
        return f"cannot tell: {numbers}; nothing else fits clearly (at most {best:.1f} sigma)"
    both = f"; {', '.join(score.alike)} say the same: look at the LiDAR's too" if score.alike else ""
    return f"{_better(score.best)} ({best:.1f} sigma); as it is, {numbers}{both}"


def calibration_findings(index: SweepIndex, cameras: Sequence[str] | None = None) -> list[Finding]:
    """A finding for each camera of an index (`cameras`: only these): `problem` if its calibration is wrong.

    Where nothing can be told (dark images, nothing upright, few points) it is `ok` and says so.
    Deterministic; reads at most 24 key frames.
    """
    return [
        Finding(f"calibration {score.camera}", "problem", _line(score), _REMEDY)
        if score.verdict == "wrong"
        else Finding(f"calibration {score.camera}", "ok", _line(score))
        for score in calibration_scores(index, cameras)
    ]
