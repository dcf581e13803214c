"""What the cameras of an index say of one another: how clearly each should fit, and whether none does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pc3d.data.calibration.scores import CalibrationScore

# Of clean simulated and real drives, 3 and 4 frames: with a reach of 12 and more, all cameras fit, with at
# least 0.30 of it. docs/calibration.md
REACH = 12.0
"""z that the others let expect, from which a camera that shows nothing is odd."""
_LOST = 0.25
"""Of that, or less."""
_LESS = 0.6
"""Of that: what fits better, but less than this, may not be the cause."""
_FRAMES = 3
_STRENGTH = 0.75
"""Of the strength of the others' images; darker or smoother ones are weak evidence."""
_USUAL = 0.3
"""z by the root of the number of edges; of right cameras: 0.15 to 0.7."""
_LEAST_STRENGTH, _NOISE = 0.42, 0.8
"""Strength of images with something to see in them; more is noise."""


@dataclass(frozen=True)
class Rig:
    """The z that others let expect of a camera, the camera that fits best, and its z."""

    reach: float = 0.0
    strength: float = 0.0
    name: str = ""
    z: float = 0.0


def beside(score: CalibrationScore, scores: Sequence[CalibrationScore]) -> Rig:
    """What the cameras that fit say of this one; nothing where none does."""
    others = [one for one in scores if one.camera != score.camera and one.verdict == "fits"]
    if not others:
        return Rig()
    clarity = np.median([one.given.clarity for one in others])
    strength = np.median([one.given.strength for one in others])
    best = max(others, key=lambda one: one.given.z)
    return Rig(float(clarity * score.given.root), float(strength), best.camera, best.given.z)


def lost(score: CalibrationScore, rig: Rig) -> bool:
    """Whether a camera shows nothing, where the others do with no more edges and no clearer images."""
    enough = score.frames >= _FRAMES and rig.reach >= REACH
    clear = score.given.strength >= _STRENGTH * rig.strength
    return score.verdict == "cannot tell" and enough and clear and score.given.z <= _LOST * rig.reach


def doubtful(score: CalibrationScore, rig: Rig) -> bool:
    """Whether what fits better may not be the cause: others fit more clearly, or deny it."""
    return rig.z > 0 and (score.best.z < _LESS * rig.reach or "LiDAR" in score.best.cause)


def none_fits(scores: Sequence[CalibrationScore]) -> bool:
    """Whether no camera fits, without one clear cause, though there is enough to see."""
    if len(scores) < 2 or any(score.verdict == "fits" for score in scores):
        return False
    clear = [
        score
        for score in scores
        if score.frames >= _FRAMES and _LEAST_STRENGTH <= score.given.strength <= _NOISE
    ]
    reach = _USUAL * np.sqrt(sum(score.given.edges for score in clear))
    named = [score for score in scores if score.verdict == "wrong" and score.best.z >= REACH / 2]
    return bool(reach >= REACH and 2 * len(clear) > len(scores) and 2 * len(named) < len(scores))
