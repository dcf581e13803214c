"""Angles of poses in a table: whether they are degrees or radians, which numbers below 6.28 do not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.records import Float64

UNITS = {"deg": "degrees", "degrees": "degrees", "rad": "radians", "radians": "radians"}
"""Ends of a column's name."""
_NAMES = ("roll", "pitch", "yaw")
_STEP = 1.0  # metres
_FEW = 5
_SAME = np.deg2rad(1.0)
"""Angles that are below it in either unit do no harm in the wrong one."""
_TURNED = np.deg2rad(10.0)
"""How much more one unit has to differ from the direction of travel than the other."""


def in_radians(
    columns: Mapping[str, Float64], named: Sequence[str], stated: str | None, path: Path
) -> Float64:
    """(N, 3) roll, pitch and yaw, radians; those that are not there are 0.

    Args:
        columns: with (N,) x, y, z, yaw. named: the unit that the name of each angle says, "" for none.
        stated: by the calibration.

    Raises:
        DataError: nothing says the unit, and the way that the vehicle takes does not either.
    """
    zero = np.zeros_like(columns["yaw"])
    angles = np.stack([columns.get(name, zero) for name in _NAMES], axis=1)
    said = set(named) if any(named) else set()
    if stated:
        said = (said - {""}) | {stated}
    if len(said) > 1:
        units = " and ".join(sorted(unit or "no unit" for unit in said))
        fail(f"angles are named with {units}", path, "name all columns alike, or correct poses.angles")
    unit = said.pop() if said else _unit(angles, columns, path)
    return np.deg2rad(angles) if unit == "degrees" else angles


def _unit(angles: Float64, columns: Mapping[str, Float64], path: Path) -> str:
    if np.abs(angles).max() < _SAME:
        return "radians"
    remedy = "name the columns roll_deg, pitch_deg, yaw_deg, or say poses: {file: ..., angles: degrees}"
    if np.abs(angles).max() > 2 * np.pi + 0.1:
        fail("roll, pitch and yaw are in degrees", path, remedy)
    xy = np.stack([columns["x"], columns["y"]], axis=1)
    radians, degrees = (_off_course(xy, yaw) for yaw in (angles[:, 2], np.deg2rad(angles[:, 2])))
    if radians is None or degrees is None or abs(radians - degrees) < _TURNED:
        fail(
            "yaw may be in degrees or in radians, and the positions do not tell",
            path,
            remedy.replace("degrees}", "radians}") + " (or degrees)",
        )
    if degrees < radians:
        fail("yaw is in degrees, as the positions tell", path, remedy)
    return "radians"


def _off_course(xy: Float64, yaw: Float64) -> float | None:
    """How far yaw strays from the direction of travel, radians, around its mean; None: no travel."""
    at, off = 0, []
    for n in range(1, len(xy)):
        step = xy[n] - xy[at]
        if step @ step > _STEP**2:
            middle = np.exp(1j * yaw[at]) + np.exp(1j * yaw[n])
            off.append((step[0] + 1j * step[1]) * np.conj(middle))
            at = n
    turned = np.angle(np.array(off) * np.conj(np.sum(off))) if len(off) >= _FEW else None
    return None if turned is None else float(np.quantile(np.abs(turned), 0.9))
