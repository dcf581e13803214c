"""Scores of the calibration of each camera, from a few key frames spread over an index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pc3d.data.calibration.agreement import Clearness, View, coverage, curve, turned
from pc3d.data.calibration.candidates import Candidate, candidates
from pc3d.data.calibration.edges import edge_map, scan_edges
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.points import load_points

Verdict = Literal["fits", "wrong", "cannot tell"]

# Where these come from: docs/calibration.md. By chance, the clearest of all that is tried has a z of 4.
STAGES = (6, 12, 24)
"""Key frames looked at; a camera that is clear after a stage is done."""
FITS = 4.5
"""z of a calibration that fits: far above one turn by chance."""
ALONE, TOGETHER = 5.0, 4.2
"""z of another calibration, for the given one to be wrong; TOGETHER where another camera shows the same."""
MARGIN = 2.5
"""z by which it must be better than the given one."""
SECTORS = 2.2
"""Evidence by sectors, for either: one vehicle may look like another one."""
SMALLEST = 1.5
"""Degrees; a smaller turn is no wider than the edges."""
_PITCHES = np.arange(-4.0, 4.5, 0.5)
_TURNS, _AROUND, _NEAR = 15.0, 20.0, 1.0
"""Degrees searched about the given calibration, about each turn by 40 degrees, and about each candidate."""


@dataclass(frozen=True)
class Fit:
    """A calibration and how clearly it fits.

    Attributes:
        kind, cause: as in `Candidate`; "given" for the calibration as it is, "turned" for turns of it.
        clear: see `Clearness`; its yaw is from what the cause makes right.
        pitch: degrees upwards.
    """

    kind: str
    cause: str
    clear: Clearness
    pitch: float = 0.0

    @property
    def turned(self) -> float:
        """Degrees, the larger of both."""
        return max(abs(self.clear.yaw), abs(self.pitch))

    def alike(self, other: Fit) -> bool:
        """Whether both say the same of their cameras."""
        near = abs(self.clear.yaw - other.clear.yaw) <= 1 and abs(self.pitch - other.pitch) <= 1
        return self.kind == other.kind and near


@dataclass(frozen=True)
class CalibrationScore:
    """What the calibration of a camera was judged by.

    Attributes:
        frames: with a readable image.
        coverage, expected: share of the points that land in the image, and in that of a level camera.
        given, best: the calibration as it is, and the clearest of the others that were tried.
        alike: other cameras that show the same.
    """

    camera: str
    frames: int
    coverage: float
    expected: float
    given: Fit
    best: Fit
    alike: tuple[str, ...]
    verdict: Verdict


def _given(views: Sequence[View]) -> Fit:
    return Fit("given", "it fits as it is", curve(views).clearest(0.5))


def _mended(view: View, candidate: Candidate) -> View:
    sweep, camera = candidate.mend(view.sweep, view.camera)
    return replace(view, sweep=sweep, camera=camera)


def _others(views: Sequence[View]) -> Iterator[Fit]:
    """The given calibration turned, and mended by each candidate."""
    for pitch in _PITCHES.tolist():
        yield Fit("turned", "it is turned", curve(views, pitch).clearest(_TURNS), pitch)
    for yaw in range(40, 360, 40):
        clear = curve([turned(view, yaw) for view in views]).clearest(_AROUND)
        yield Fit("turned", "it is turned", replace(clear, yaw=(clear.yaw + yaw + 180) % 360 - 180))
    for candidate in candidates(views[0].camera.name, tuple(c.name for c in views[0].sweep.cameras)):
        clear = curve([_mended(view, candidate) for view in views]).clearest(_NEAR)
        yield Fit(candidate.kind, candidate.cause, clear)


def _fits(fit: Fit) -> bool:
    return fit.clear.z >= FITS and fit.clear.sectors >= SECTORS


def _score(views: Sequence[View]) -> CalibrationScore:
    """The score of one camera, the verdict still open where it does not fit."""
    given = _given(views)
    best = given
    if not _fits(given):
        others = [fit for fit in _others(views) if fit.clear.sectors >= SECTORS]
        best = max(others, key=lambda fit: fit.clear.z, default=given)
    share, expected = np.mean([coverage(view) for view in views], axis=0).tolist()
    verdict: Verdict = "fits" if best is given and _fits(given) else "cannot tell"
    return CalibrationScore(views[0].camera.name, len(views), share, expected, given, best, (), verdict)


def _judged(score: CalibrationScore, rig: Sequence[CalibrationScore]) -> CalibrationScore:
    """The verdict on a camera that does not fit as it is, with what the others show."""
    best, needed = score.best.clear.z, ALONE
    alike = tuple(
        other.camera
        for other in rig
        if other.camera != score.camera and other.best.clear.z >= TOGETHER and other.best.alike(score.best)
    )
    if score.verdict == "fits":
        return score
    if alike:
        needed = TOGETHER
    if best < max(needed, score.given.clear.z + MARGIN):
        return score
    small = score.best.kind == "turned" and score.best.turned < SMALLEST
    return replace(score, alike=alike, verdict="fits" if small else "wrong")


def _spread(rows: Sequence[int]) -> list[int]:
    """At most as many rows as the last stage takes, in an order whose beginnings are spread over all."""
    picked = np.unique(np.linspace(0, len(rows) - 1, min(STAGES[-1], len(rows))).astype(np.int64))
    order = np.argsort([int(f"{place:05b}"[::-1], 2) for place in range(len(picked))], kind="stable")
    return [int(rows[place]) for place in picked[order]]


def _views(index: SweepIndex, row: int, wanted: set[str]) -> Iterator[View]:
    """The views of a key frame; files that cannot be read are for others to name."""
    sweep = index[row]
    cameras = [camera for camera in sweep.cameras if camera.name in wanted]
    try:
        scan = scan_edges(load_points(sweep.path, sweep.lidar_format, sweep.token)) if cameras else None
    except DataError:
        return
    for camera in cameras:
        try:
            if scan is not None:
                yield View(sweep, camera, scan, edge_map(camera, sweep.token))
        except DataError:
            continue


def calibration_scores(index: SweepIndex, cameras: Sequence[str] | None = None) -> list[CalibrationScore]:
    """Score the cameras of an index (`cameras`: only these), by name.

    Deterministic; reads at most 24 key frames, 6 where all cameras fit. Cameras without a readable image are
    left out, and with them an index without images.
    """
    rows = index.key_rows()
    order = _spread(rows.tolist()) if len(rows) else []
    unclear = {camera.name for row in order for camera in index[row].cameras}
    unclear &= unclear if cameras is None else set(cameras)
    views: dict[str, list[View]] = {}
    scores: dict[str, CalibrationScore] = {}
    for number, row in enumerate(order, start=1):
        for view in _views(index, row, unclear):
            views.setdefault(view.camera.name, []).append(view)
        if number in STAGES or number == len(order):
            scores |= {name: _score(views[name]) for name in sorted(unclear & set(views))}
            judged = {name: _judged(score, list(scores.values())) for name, score in scores.items()}
            unclear = {
                name for name in unclear if name not in judged or judged[name].verdict == "cannot tell"
            }
            if not unclear or number == len(order):
                return [judged[name] for name in sorted(judged)]
    return []
