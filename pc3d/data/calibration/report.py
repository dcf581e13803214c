"""What is said of the calibration of an index."""

from __future__ import annotations

from collections.abc import Sequence

from pc3d.data.calibration.edges import NEAR
from pc3d.data.calibration.rig import Rig, beside, doubtful, lost, none_fits
from pc3d.data.calibration.scores import CalibrationScore, Fit, calibration_scores
from pc3d.data.index import SweepIndex
from pc3d.findings import Finding

_REMEDY = (
    "mend the calibration of the data set and build the index again; docs/calibration.md says what "
    "this can see; to go on all the same, `data.calibration=warn`"
)


_REPEATED = 3
"""Frames with the same image that are no chance."""
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


def _finding(score: CalibrationScore, rig: Rig) -> Finding:
    name = f"calibration {score.camera}"
    frames = f"{score.frames} frames"
    if score.frames < score.looked_at:
        frames = f"{score.frames} of {score.looked_at} frames, {score.part}"
    numbers = (
        f"edges of scans meet edges of images at {score.given.z:.1f} sigma in {frames}; "
        f"{score.coverage:.1%} of the points are in the images ({score.expected:.1%} expected)"
    )
    if score.verdict == "wrong":
        both = f"; {', '.join(score.alike)} say the same" if score.alike else ""
        other = f" (the cause may be another: {rig.name} reaches {rig.z:.1f})" if doubtful(score, rig) else ""
        text = f"{_better(score.best)} ({score.best.z:.1f} sigma){other}; as it is, {numbers}{both}"
        return Finding(name, "problem", text, _REMEDY)
    if score.repeated >= _REPEATED:
        text = f"{score.repeated} frames have one and the same image, though the vehicle moved: {numbers}"
        return Finding(name, "warning", text, "give each frame the picture of its time")
    if score.verdict == "fits":
        return Finding(name, "ok", numbers)
    if score.coverage < _PAST * score.expected:
        return Finding(name, "warning", f"it looks past what the LiDAR sees: {numbers}", _REMEDY)
    if lost(score, rig):
        text = f"nothing that was tried fits: {numbers}, though those of {rig.name} do at {rig.z:.1f} sigma"
        return Finding(name, "warning", text, f"look at its pictures: are they of these times?; {_REMEDY}")
    return Finding(name, "ok", f"cannot tell: {numbers}")


def _unreadable(name: str, why: Sequence[str]) -> Finding:
    text = f"{len(why)} of {len(why)} pictures that were looked at cannot be read, first: {why[0]}"
    return Finding(f"calibration {name}", "warning", text, "mend or replace the pictures")


def calibration_findings(index: SweepIndex, cameras: Sequence[str] | None = None) -> list[Finding]:
    """A finding for each camera of an index (`cameras`: only these): `problem` if its calibration is wrong.

    Where nothing can be told (dark images, nothing upright, few points) it is `ok` and says so.
    Deterministic; reads at most 24 key frames.
    """
    unreadable: dict[str, list[str]] = {}
    scores = calibration_scores(index, cameras, unreadable)
    found = [_finding(score, beside(score, scores)) for score in scores]
    dark = unreadable.keys() - {score.camera for score in scores}
    found += [_unreadable(name, unreadable[name]) for name in sorted(dark)]
    whole = ""
    if scores and not any(score.expected for score in scores):
        whole = f"no point lies farther than {NEAR:g} m away, so that nothing can be compared"
    elif none_fits(scores):
        whole = "no camera fits, and no one cause explains it"
    if whole:
        remedy = f"look at the LiDAR's points, their unit, and its mount; {_REMEDY}"
        found.append(Finding("calibration", "warning", whole, remedy))
    return found
