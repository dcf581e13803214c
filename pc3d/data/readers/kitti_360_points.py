"""Scans of a spinning LiDAR without point times: the direction of a point says when it was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.points.decoders import read_bin
from pc3d.data.points.formats import PointFormat, point_format

_BIN = point_format("kitti")


def decode(path: Path, key: str, layout: PointFormat) -> dict[str, NDArray]:
    """Points of KITTI (x, y, z, intensity) with the column `turn`.

    `turn` is the part of a turn, -0.5 to 0.5, since the LiDAR faced forward: times the period it is the time
    of a point. The Velodyne turns clockwise seen from above: so the development kit of KITTI-360 has it, and
    KISS-ICP and CT-ICP for KITTI, though the paper of KITTI says counter-clockwise.
    """
    table = read_bin(path, _BIN, str(path))
    raw: dict[str, NDArray] = {name: table[:, at] for at, name in enumerate(_BIN.columns)}
    x, y = table[:, 0].astype(np.float64), table[:, 1].astype(np.float64)
    return {**raw, "turn": -np.arctan2(y, x) / (2 * np.pi)}
