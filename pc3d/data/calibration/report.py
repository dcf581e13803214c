"""What is said of the calibration of an index."""

from __future__ import annotations

from collections.abc import Sequence

from pc3d.data.calibration.scores import TURNED, CalibrationScore, Fit, calibration_scores
from pc3d.data.index import SweepIndex
from pc3d.findings import Finding

REMEDY = (
    "look at it (`data_prep/calibration.py INDEX`), mend the extrinsics or intrinsics of the data set and index "
    'it again; to go on all the same, `data.calibration="warn"`'
)


def _cause(fit: Fit) -> str:
    if fit.cause != TURNED:
        return f"the images fit if {fit.cause}"
    parts = []
    if fit.yaw:
        parts.append(f"by {abs(fit.yaw):g} degrees to the {'left' if fit.yaw > 0 else 'right'}")
    if fit.pitch:
        parts.append(f"by {abs(fit.pitch):g} degrees {'upwards' if fit.pitch > 0 else 'downwards'}")
    return f"the images fit with the camera turned {' and '.join(parts)}"


def _finding(score: CalibrationScore) -> Finding:
    name = f"calibration {score.camera}"
    given = f"edges agree by {score.given.clear:.1f} of {score.frames} frames"
    if score.verdict == "wrong":
        text = f"{_cause(score.best)} (edges agree by {score.best.clear:.1f}; as it is by {score.given.clear:.1f})"
        return Finding(name, "problem", text, REMEDY)
    if score.verdict == "fits":
        return Finding(name, "ok", given)
    return Finding(name, "ok", f"cannot tell: {given}, and no other calibration fits clearly")


def calibration_findings(index: SweepIndex, cameras: Sequence[str] | None = None) -> list[Finding]:
    """A finding for each camera of an index (`cameras`: only these): `problem` where its calibration is wrong.

    Reads at most 24 key frames. Where nothing can be told (dark images, nothing upright) it is `ok` and says so.
    """
    return [_finding(score) for score in calibration_scores(index, cameras)]
