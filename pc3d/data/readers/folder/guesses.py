"""What a calibration file leaves out, proposed from the data: units, scales, columns, times, the mount.

A proposal is printed and taken only when the user says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import DataError, fail
from pc3d.data.point_files import decode, decoder_of
from pc3d.data.point_files.names import Guess, guess_intensity, guess_metres, guess_time, standard_names
from pc3d.data.readers.folder.description import SECONDS, UNITS, LidarEntry
from pc3d.data.readers.folder.lidar_format import lidar_format_of
from pc3d.data.readers.folder.stated import check_stated
from pc3d.data.readers.folder.transforms import AXES
from pc3d.findings import Finding
from pc3d.geometry.rigid import make_SE3

_FEWEST, _MOST = 3, 16
_SMOOTH = 0.3
"""Median step from point to point over the spread of all: points are stored in the order of the rays."""
_FAR = 2_000.0
_HEIGHTS = (-5.0, 0.5)
_NEAR = 20.0
_EXTRA = ("intensity", "ring")


@dataclass(frozen=True)
class Proposal:
    """A line for the calibration file, and why."""

    key: str
    value: str
    reason: str

    @property
    def line(self) -> str:
        return f"{self.key}: {self.value}    # {self.reason}"


@dataclass(frozen=True, eq=False)
class CompleteLidar:
    """A LiDAR with nothing left open: its entry, and the LiDAR format of its files."""

    entry: LidarEntry
    lidar_format: str


@np.errstate(invalid="ignore", over="ignore")  # bytes that are read as other numbers than they are
def complete_lidar(
    entry: LidarEntry, sample: Path, main: bool
) -> tuple[CompleteLidar, list[Proposal], list[Finding]]:
    """Fill what an entry leaves open by a look at one of its files.

    Args:
        sample: a file of points of the LiDAR. main: the first LiDAR, whose mount may be proposed.

    Returns:
        The LiDAR, what is proposed, and what the entry says that does not fit the file.

    Raises:
        DataError: the file cannot be read; columns are missing; the mount of a further LiDAR is not given.
    """
    where = f"lidars.{entry.name}"
    proposals: list[Proposal] = []
    raw, sources = _columns(entry, sample, where, proposals)
    odd = check_stated(entry, raw, sources, where, sample)
    entry = _with_units(entry, raw, sources, where, proposals)
    decoder = "bin" if sample.suffix.lower() == ".bin" else decoder_of(sample)
    kept = dict(sources)
    if "intensity" in kept and entry.intensity is None:
        entry = _with_intensity(entry, raw, kept, where, proposals)
    if "time" in kept and entry.time is None:
        entry = _with_time(entry, raw, kept, where, proposals)
    text = lidar_format_of(entry, decoder, raw, kept)
    if entry.ego_SE3_lidar is None:
        if not main and entry.frame == "sensor":
            fail(f"{where} has no mount", sample.parent, f"add ego_SE3_lidar to {where} in the calibration")
        entry = _with_mount(entry, raw, kept, where, proposals)
    return CompleteLidar(entry, text), proposals, odd


Sources = dict[str, str]


def _columns(
    entry: LidarEntry, sample: Path, where: str, proposals: list[Proposal]
) -> tuple[Mapping[str, NDArray], Sources]:
    """The raw columns of a file, and the name of each standard column in it."""
    if sample.suffix.lower() == ".bin":
        return _bare(entry, sample, where, proposals)
    raw = decode(sample)
    if isinstance(entry.columns, Mapping):
        sources = dict(entry.columns)
    elif entry.columns is not None:
        names = [name for name in raw if name.isdigit()]
        if len(names) == len(raw) == len(entry.columns):
            sources = {c: n for c, n in zip(entry.columns, raw, strict=True) if c != "_"}
        else:
            sources = {name: name for name in entry.columns if name != "_"}
    elif raw and all(name.isdigit() for name in raw):
        sources = _by_position(list(raw), raw)
        _propose(proposals, f"{where}.columns", _listed(sources, list(raw)), "the file has no names")
    else:
        sources = standard_names(raw)
    missing = [source for source in sources.values() if source not in raw]
    if missing or not {"x", "y", "z"} <= set(sources):
        fail(
            f"{where}: the file has the columns {', '.join(raw)}"
            + (f", not {missing[0]!r}" if missing else ": none is x, y or z"),
            sample,
            f"name them in the calibration: {where}.columns: {{x: ..., y: ..., z: ..., intensity: ...}}",
        )
    return raw, sources


def _bare(
    entry: LidarEntry, sample: Path, where: str, proposals: list[Proposal]
) -> tuple[Mapping[str, NDArray], Sources]:
    values = _values(sample, entry.dtype)
    if entry.columns is not None:
        order = list(entry.columns)
        if len(values) % len(order):
            fail(
                f"{where}: the file has {len(values)} numbers, no whole number of {len(order)}-column points",
                sample,
                f"correct {where}.columns or {where}.dtype in the calibration",
            )
        table = values.reshape(-1, len(order))
        named = {name: table[:, n] for n, name in enumerate(order) if name != "_"}
        return named, {name: name for name in named}
    width, _ = _width(values)
    if width is None:
        fail(
            f"{where}: no number of columns of {entry.dtype} makes points of this file",
            sample,
            f"say what it holds in the calibration: {where}.columns: [x, y, z, intensity], {where}.dtype",
        )
    table = values.reshape(-1, width)
    raw = {str(n): table[:, n] for n in range(width)}
    sources = _by_position(list(raw), raw)
    reason = f"{width} columns of {np.dtype(entry.dtype).name}: points then follow each other closely"
    _propose(proposals, f"{where}.columns", _listed(sources, list(raw)), reason)
    return raw, sources


def _values(path: Path, dtype: str) -> NDArray:
    try:
        values = np.fromfile(path, dtype=dtype)
    except OSError as error:
        raise DataError(
            f"point file cannot be read: {error}\n  where: {path}\n  remedy: copy it again"
        ) from error
    if not len(values):
        fail("point file is empty", path, "copy it again")
    return values


def _width(values: NDArray) -> tuple[int | None, float]:
    """The number of columns with which points follow each other closely, and how closely."""
    best: tuple[int | None, float] = (None, _SMOOTH)
    for width in range(_FEWEST, _MOST + 1):
        if len(values) % width or len(values) < 16 * width:
            continue
        xyz = values.reshape(-1, width)[:, :3].astype(np.float64)
        xyz = xyz[np.isfinite(xyz).all(axis=1)]
        if len(xyz) < 16 or np.abs(xyz).max() > 1e7:
            continue
        spread = xyz.std(axis=0)
        if (spread[:2] == 0).any():
            continue
        score = float((np.median(np.abs(np.diff(xyz, axis=0)), axis=0)[:2] / spread[:2]).max())
        if score < best[1]:
            best = width, score
    return best


def _by_position(names: list[str], raw: Mapping[str, NDArray]) -> Sources:
    """x y z, then intensity where it is not negative, then ring where it is whole and small."""
    sources = dict(zip("xyz", names[:3], strict=False))
    rest = iter(names[3:])
    intensity = next(rest, None)
    if intensity is not None and np.nanmin(raw[intensity]) >= 0:
        sources["intensity"] = intensity
    ring = next(rest, None)
    if ring is not None:
        values = raw[ring][np.isfinite(raw[ring])]
        if (
            len(values)
            and values.min() >= 0
            and 0 < values.max() <= 255
            and (values == np.rint(values)).all()
        ):
            sources["ring"] = ring
    return sources


def _listed(sources: Sources, names: list[str]) -> str:
    back = {source: name for name, source in sources.items()}
    return "[" + ", ".join(back.get(name, "_") for name in names) + "]"


def _propose(proposals: list[Proposal], key: str, value: str, reason: str) -> None:
    proposals.append(Proposal(key, value, reason))


def _with_units(
    entry: LidarEntry, raw: Mapping[str, NDArray], sources: Sources, where: str, proposals: list[Proposal]
) -> LidarEntry:
    if entry.units is not None:
        return entry
    guess = guess_metres(raw, sources)
    units = next(name for name, ticks in UNITS.items() if ticks == guess.divisor)
    _propose(proposals, f"{where}.units", units, guess.reason)
    middle = np.median([np.abs(np.nanmedian(raw[sources[name]])) for name in "xy"])
    if entry.frame == "sensor" and middle / (guess.divisor or 1.0) > _FAR:
        fail(
            f"{where}: the points lie around x, y = {middle:.0f}: they are in map coordinates",
            where,
            f"say {where}.frame: world in the calibration, and give poses in the same coordinates",
        )
    return replace(entry, units=units)


def _with_intensity(
    entry: LidarEntry, raw: Mapping[str, NDArray], sources: Sources, where: str, proposals: list[Proposal]
) -> LidarEntry:
    guess = guess_intensity(sources["intensity"], raw[sources["intensity"]])
    if guess.divisor is None:
        del sources["intensity"]
        _propose(proposals, f"{where}.columns", "without intensity", guess.reason)
        return entry
    _propose(proposals, f"{where}.intensity", f"{guess.divisor:g}", guess.reason)
    return replace(entry, intensity=guess.divisor)


def _with_time(
    entry: LidarEntry, raw: Mapping[str, NDArray], sources: Sources, where: str, proposals: list[Proposal]
) -> LidarEntry:
    guess: Guess = guess_time(sources["time"], raw[sources["time"]])
    if not guess.sure:
        del sources["time"]
        _propose(proposals, f"{where}.columns", "without time", guess.reason)
        return entry
    unit = next(name for name, ticks in SECONDS.items() if ticks == guess.divisor)
    start = guess.start if guess.start != "unknown" else "sweep"
    _propose(proposals, f"{where}.time", f"{{unit: {unit}, start: {start!r}}}", guess.reason)
    return replace(entry, time=(unit, start))


def _with_mount(
    entry: LidarEntry, raw: Mapping[str, NDArray], sources: Sources, where: str, proposals: list[Proposal]
) -> LidarEntry:
    if entry.frame == "ego":
        return replace(entry, ego_SE3_lidar=np.eye(4))
    xyz = (
        np.stack([raw[sources[name]].astype(np.float64) for name in "xyz"], axis=1)
        / UNITS[entry.units or "m"]
    )
    near = np.hypot(xyz[:, 0], xyz[:, 1]) < _NEAR
    z = xyz[near & (xyz[:, 2] > _HEIGHTS[0]) & (xyz[:, 2] < _HEIGHTS[1]), 2]
    if entry.frame == "world" or len(z) < 16:
        fail(f"{where} has no mount", where, f"add ego_SE3_lidar to {where} in the calibration")
    counts, edges = np.histogram(z, bins=np.arange(_HEIGHTS[0], _HEIGHTS[1] + 0.05, 0.1))
    road = edges[counts.argmax()]
    height = round(-float(np.median(z[(z > road - 0.1) & (z < road + 0.2)])), 2)
    reason = "most points lie that far below the sensor, taken as the road; no file tells where x looks"
    _propose(proposals, f"{where}.axes", "x-forward", "x forward, y left, z up")
    _propose(proposals, f"{where}.height", f"{height:g}", reason)
    return replace(entry, ego_SE3_lidar=make_SE3(np.array(AXES["x-forward"]), [0.0, 0.0, height]))
