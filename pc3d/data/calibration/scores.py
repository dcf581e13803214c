"""Scores of the calibration of each camera, from a few key frames spread over an index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pc3d.data.calibration.agreement import View, clearest, coverage, edge_sums
from pc3d.data.calibration.candidates import GIVEN, Candidate, candidates, mirrored, turns
from pc3d.data.calibration.edges import edge_map, scan_edges
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.points import load_sweep
from pc3d.data.records import Float64

Verdict = Literal["fits", "wrong", "cannot tell"]

# Where these come from is in docs/calibration.md: by chance, the best of all that is tried has a z of 4.
STAGES = (6, 12, 24)
"""Key frames looked at; a camera that is clear after a stage is done."""
FITS = 4.5
"""z of a calibration that fits: far above one turn by chance."""
DOUBT = 2.0
"""z of one of several calibrations below which it is looked at alone."""
SURE = 8.0
"""z of a calibration beside which only small turns are tried."""
ALONE, TOGETHER = 5.0, 4.2
"""z of another calibration, for the given one to be wrong; TOGETHER where another camera shows the same."""
MARGIN, RATIO = 2.5, 1.25
"""Of z, how much and how many times it must be better than the given one."""
MOVED = 1.0
"""Metres between frames whose images cannot be the same."""
EXPECTED = 6.0
"""z that other drives let expect of the frames of one, to look at it alone, and of what is right then."""
SECTORS = 2.2
"""Evidence by sectors, for either: one vehicle may look like another one."""
SMALLEST_YAW, SMALLEST_PITCH = 1.5, 2.5
"""Degrees; a smaller turn is no wider than the edges, and upright edges say less of heights."""


@dataclass(frozen=True)
class Fit:
    """A calibration and how clearly it fits.

    Attributes:
        kind, cause: see `Candidate`. z, sectors, edges, strength: see `Clearness`.
        yaw, pitch: degrees to the left and upwards, from what the cause makes right.
    """

    kind: str
    cause: str
    z: float
    sectors: float
    yaw: float
    pitch: float
    edges: float
    strength: float

    @property
    def root(self) -> float:
        """What z grows with."""
        return float(np.sqrt(max(self.edges, 1.0)))

    @property
    def clarity(self) -> float:
        """z for the number of edges."""
        return self.z / self.root

    @property
    def small(self) -> bool:
        """Whether it is the given calibration but for a turn that cannot be seen."""
        near = abs(self.yaw) < SMALLEST_YAW and abs(self.pitch) < SMALLEST_PITCH
        return near and self.kind in ("given", "turned")

    def alike(self, other: Fit) -> bool:
        """Whether both say the same of their cameras."""
        near = abs(self.yaw - other.yaw) <= 1 and abs(self.pitch - other.pitch) <= 1
        return self.kind == other.kind and near


@dataclass(frozen=True)
class CalibrationScore:
    """What the calibration of a camera was judged by.

    Attributes:
        frames: with a readable image, and of `part`, where only some are wrong. looked_at: all.
        part: which they are. repeated: frames with one and the same image, though the vehicle has moved.
        coverage, expected: share of the points that land in the image, and in that of a level camera.
        given, best: the calibration as it is, and the clearest of the others that were tried.
        alike: other cameras that show the same.
    """

    camera: str
    frames: int
    looked_at: int
    part: str
    repeated: int
    coverage: float
    expected: float
    given: Fit
    best: Fit
    alike: tuple[str, ...]
    verdict: Verdict


class _Evidence:
    """The views of a camera, and what each candidate makes of them."""

    def __init__(self, camera: str, rig: tuple[str, ...]) -> None:
        self.camera = camera
        self.views: list[View] = []
        self._rig = rig
        self._turns, self._faults = (*turns(), *mirrored()), (*candidates(camera, rig),)
        self._sums: dict[Candidate, Float64] = {}
        self._used: dict[Candidate, int] = {}

    def fit(self, candidate: Candidate) -> Fit:
        for view in self.views[self._used.get(candidate, 0) :]:
            sums = edge_sums(candidate.view(view))
            self._sums[candidate] = self._sums.get(candidate, 0) + sums
        self._used[candidate] = len(self.views)
        clear = clearest(self._sums[candidate], candidate.within)
        yaw = (clear.yaw + candidate.yaw + 180) % 360 - 180
        return Fit(
            candidate.kind,
            candidate.cause,
            clear.z,
            clear.sectors,
            yaw,
            candidate.pitch,
            clear.edges,
            clear.strength,
        )

    def _best(self, best: Fit, others: tuple[Candidate, ...]) -> Fit:
        for fit in map(self.fit, others):
            if fit.sectors >= SECTORS and fit.z > best.z and not fit.small:
                best = fit
        return best

    def score(self) -> CalibrationScore:
        """The verdict is whether it fits as it is; what others say is still open."""
        given = self.fit(GIVEN)
        best = self._best(given, self._turns)
        # What is named needs all others to be tried: another lens may look like a roll.
        if given.z < SURE or best.z >= _needed(given):
            best = self._best(best, self._faults)
        share, expected = np.mean([coverage(view) for view in self.views], axis=0).tolist()
        verdict: Verdict = "fits" if given.z >= FITS and given.sectors >= SECTORS else "cannot tell"
        frames = len(self.views)
        about = self.camera, frames, frames, "", _repeated(self.views)
        return CalibrationScore(*about, share, expected, given, best, (), verdict)

    def worst(self) -> CalibrationScore:
        """The score; that of a part of the frames where only that is wrong."""
        score = self.score()
        for group in self._parts(_calibration).values():
            if group.fit(GIVEN).z < DOUBT:
                found = _judged(group.score(), ())
                if found.verdict == "wrong":
                    return replace(found, looked_at=len(self.views), part="those with this calibration")
        return self._worst_scene(score)

    def _worst_scene(self, score: CalibrationScore) -> CalibrationScore:
        """The images of one drive may be others'; many drives, so that chance needs a larger margin."""
        groups = self._parts(lambda view: view.sweep.scene.encode())
        fits = {scene: group.fit(GIVEN) for scene, group in groups.items()}
        for scene, group in groups.items():
            usual = [fit.clarity for other, fit in fits.items() if other != scene]
            expected = np.median(usual) * fits[scene].root if usual else 0
            if expected >= max(EXPECTED, 2 * fits[scene].z):
                found = group.score()
                if found.best.z >= _needed(found.given, EXPECTED):
                    part = f"those of scene {scene.decode()}"
                    return replace(found, looked_at=len(self.views), part=part, verdict="wrong")
        return score

    def _parts(self, key: Callable[[View], bytes]) -> dict[bytes, _Evidence]:
        """The frames of each key, where there are several."""
        groups: dict[bytes, _Evidence] = {}
        for view in self.views:
            groups.setdefault(key(view), _Evidence(self.camera, self._rig)).views.append(view)
        return groups if len(groups) > 1 else {}


def _calibration(view: View) -> bytes:
    arrays = (view.camera.ego_SE3_cam, view.sweep.ego_SE3_lidar, view.camera.intrinsics)
    return b"".join((array.round(4) + 0.0).tobytes() for array in arrays)


def _repeated(views: Sequence[View]) -> int:
    """The most frames that have one image, more than `MOVED` apart; blank ones are none."""
    places: dict[bytes, list[Float64]] = {}
    for view in views:
        if view.image.any():
            places.setdefault(view.image.tobytes(), []).append(view.sweep.world_SE3_ego[:3, 3])
    moved = [len(at) for at in places.values() if np.ptp(at, axis=0).max() > MOVED]
    return max(moved, default=0)


def _needed(given: Fit, least: float = ALONE) -> float:
    """z of another calibration, for the given one to be wrong."""
    return max(least, given.z + MARGIN, given.z * RATIO)


def _judged(score: CalibrationScore, rig: Iterable[CalibrationScore]) -> CalibrationScore:
    """The verdict on a camera, with what the others show."""
    if score.verdict == "wrong":
        return score
    alike = tuple(
        other.camera
        for other in rig
        if other.camera != score.camera and other.best.z >= TOGETHER and other.best.alike(score.best)
    )
    needed = _needed(score.given, TOGETHER if alike else ALONE)
    return replace(score, alike=alike, verdict="wrong") if score.best.z >= needed else score


def _spread(rows: Sequence[int]) -> list[int]:
    """At most as many rows as the last stage takes, in an order whose beginnings are spread over all."""
    picked = np.unique(np.linspace(0, len(rows) - 1, min(STAGES[-1], len(rows))).astype(np.int64))
    order = np.argsort([int(f"{place:05b}"[::-1], 2) for place in range(len(picked))], kind="stable")
    return [int(rows[place]) for place in picked[order]]


def _views(index: SweepIndex, row: int, wanted: set[str], unreadable: dict[str, list[str]]) -> Iterator[View]:
    """The views of a key frame; why a picture cannot be read is kept by camera."""
    sweep = index[row]
    cameras = [camera for camera in sweep.cameras if camera.name in wanted]
    try:
        scan = scan_edges(load_sweep(sweep)) if cameras else None
    except DataError:
        return
    for camera in cameras:
        try:
            if scan is not None:
                yield View(sweep, camera, scan, edge_map(camera, sweep.token))
        except DataError as error:
            why = " ".join(str(error).partition("\n  remedy:")[0].split())
            unreadable.setdefault(camera.name, []).append(why)


def calibration_scores(
    index: SweepIndex, cameras: Sequence[str] | None = None, unreadable: dict[str, list[str]] | None = None
) -> list[CalibrationScore]:
    """Score the cameras of an index (`cameras`: only these), by name.

    Deterministic; reads at most 24 key frames, 6 where all cameras fit. Cameras without a readable image are
    left out, and with them an index without images; `unreadable` takes why, by camera.
    """
    unreadable = {} if unreadable is None else unreadable
    rows = index.key_rows()
    order = _spread(rows.tolist()) if len(rows) else []
    names = {camera.name for row in order for camera in index[row].cameras}
    unclear = names if cameras is None else names & set(cameras)
    evidence: dict[str, _Evidence] = {}
    scores: dict[str, CalibrationScore] = {}
    for number, row in enumerate(order, start=1):
        for view in _views(index, row, unclear, unreadable):
            name, rig = view.camera.name, tuple(camera.name for camera in view.sweep.cameras)
            evidence.setdefault(name, _Evidence(name, rig)).views.append(view)
        if number in STAGES or number == len(order):
            scores |= {name: evidence[name].worst() for name in sorted(unclear & set(evidence))}
            scores |= {name: _judged(score, scores.values()) for name, score in scores.items()}
            unclear = {
                name for name in unclear if name not in scores or scores[name].verdict == "cannot tell"
            }
            if not unclear:
                break
    return [scores[name] for name in sorted(scores)]
