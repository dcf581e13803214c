"""Scores of the calibration of each camera, of a few key frames spread over an index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pc3d.data.calibration.agreement import Curve, View, curve, turned
from pc3d.data.calibration.candidates import Candidate, candidates
from pc3d.data.calibration.edges import depth_edges, edge_map
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.points import load_points

Verdict = Literal["fits", "wrong", "cannot tell"]

FRAMES = 24
"""Key frames that are looked at, at most."""
ENOUGH = (6, 12, FRAMES)
"""After so many frames a camera that fits is done."""
FITS = 5.0
"""Clearness of a calibration that fits; see docs/calibration.md for the measured distributions."""
WRONG = 5.5
"""Clearness that another calibration must have, ..."""
MARGIN = 2.5
"""... so much more than the given one, ..."""
BLOCKS = 2.2
"""... from several things in the scenes, not from one: sum over blocks in units of their spread."""
TURN = 1.5
"""Degrees of the smallest turn that is called wrong; a smaller one cannot be told from edges of a degree."""
TURNED = "turned"
PITCHES = tuple(np.arange(-4.0, 4.5, 0.5).tolist())


@dataclass(frozen=True)
class Fit:
    """How clearly a calibration fits.

    Attributes:
        cause: what would be wrong with the given one, "" for the given one itself.
        clear: the agreement of depth edges with image edges, in standard deviations of that by chance.
        blocks: the same evidence counted by things in the scene.
        yaw, pitch: degrees that the camera is turned from the cause: to the left, upwards.
    """

    cause: str
    clear: float
    blocks: float
    yaw: float = 0.0
    pitch: float = 0.0


@dataclass(frozen=True)
class CalibrationScore:
    """What the calibration of one camera was judged by.

    Attributes:
        frames: looked at.
        coverage: share of the points that land in the image; expected: by how much of the LiDAR's own view the
            image takes.
        given, best: agreement of depth edges at the calibration as it is, and at the best of all others.
    """

    camera: str
    frames: int
    coverage: float
    expected: float
    given: Fit
    best: Fit
    verdict: Verdict


def _fit(curve: Curve, cause: str, within: float, pitch: float = 0.0) -> Fit:
    clear, blocks, yaw = curve.clear(0.0, within)
    return Fit(cause, clear, blocks, yaw, pitch)


def given_fit(views: Sequence[View]) -> Fit:
    return _fit(curve(views), "", 0.5)


def other_fits(views: Sequence[View]) -> Iterable[Fit]:
    """How the given calibration fits turned, and mended by each known fault."""
    for pitch in PITCHES:
        yield _fit(curve(views, pitch), TURNED, 15.0, pitch)
    for yaw in range(40, 360, 40):
        fit = _fit(curve([turned(view, yaw) for view in views]), TURNED, 20.0)
        yield replace(fit, yaw=(fit.yaw + yaw + 180) % 360 - 180)
    rig = tuple(camera.name for camera in views[0].sweep.cameras)
    for candidate in candidates(views[0].camera.name, rig):
        yield _fit(curve([_mended(view, candidate) for view in views]), candidate.cause, 1.0)


def _mended(view: View, candidate: Candidate) -> View:
    sweep, camera = candidate.mend(view.sweep, view.camera)
    return replace(view, sweep=sweep, camera=camera)


def judge(views: Sequence[View]) -> tuple[Fit, Fit, Verdict]:
    """The given calibration, the best other one, and the verdict."""
    given = given_fit(views)
    if given.clear >= FITS and given.blocks >= BLOCKS:
        return given, given, "fits"
    others = [fit for fit in other_fits(views) if fit.blocks >= BLOCKS]
    best = max(others, key=lambda fit: fit.clear, default=given)
    if best.clear < WRONG or best.clear < given.clear + MARGIN:
        return given, best, "cannot tell"
    if best.cause == TURNED and max(abs(best.yaw), abs(best.pitch)) < TURN:
        return given, best, "fits"
    return given, best, "wrong"


def _spread(rows: Sequence[int], count: int) -> list[int]:
    """At most `count` of the rows, evenly, in an order whose every beginning is spread over all of them."""
    picked = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64))
    order = np.argsort([int(f"{place:05b}"[::-1], 2) for place in range(len(picked))], kind="stable")
    return [int(rows[place]) for place in picked[order]]


def _views(index: SweepIndex, row: int, wanted: set[str]) -> list[View]:
    """The views of a key frame; what cannot be read is for other checks to say."""
    sweep = index[row]
    cameras = [camera for camera in sweep.cameras if camera.name in wanted]
    views: list[View] = []
    try:
        edges = depth_edges(load_points(sweep.path, sweep.lidar_format, sweep.token)) if cameras else None
    except DataError:
        return views
    for camera in cameras:
        try:
            views.append(View(sweep, camera, edges, edge_map(camera, sweep.token)))
        except DataError:
            continue
    return views


def calibration_scores(index: SweepIndex, cameras: Sequence[str] | None = None) -> list[CalibrationScore]:
    """Score the cameras of an index (`cameras`: only these), by name.

    Reads at most `FRAMES` key frames, fewer where a calibration fits clearly. Cameras without a readable
    image are left out; so is an index without images.
    """
    rows = index.key_rows()
    order = _spread(rows, FRAMES) if len(rows) else []
    names = {camera.name for row in order for camera in index[row].cameras}
    open_names = names if cameras is None else names & set(cameras)
    views: dict[str, list[View]] = {}
    scores: dict[str, CalibrationScore] = {}
    for number, row in enumerate(order, start=1):
        for view in _views(index, row, open_names):
            views.setdefault(view.camera.name, []).append(view)
        if number not in ENOUGH and number != len(order):
            continue
        for name in sorted(open_names & set(views)):
            fit = given_fit(views[name])
            if fit.clear >= FITS and fit.blocks >= BLOCKS or number == len(order):
                given, best, verdict = judge(views[name])
                scores[name] = CalibrationScore(name, len(views[name]), 0.0, 0.0, given, best, verdict)
        open_names = open_names - set(scores)
        if not open_names:
            break
    return [scores[name] for name in sorted(scores)]
