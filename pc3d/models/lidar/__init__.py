"""LiDAR encoders: point features and a BEV map from a packed batch of clouds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pc3d.data.plugins import Registry
from pc3d.models.build import build
from pc3d.models.lidar.base import LidarEncoder, LidarFeatures
from pc3d.models.lidar.minkunet import MinkUNet
from pc3d.models.lidar.pointpillars import PointPillars
from pc3d.models.lidar.second import SECOND

LIDAR_ENCODERS: Registry[LidarEncoder] = Registry(
    LidarEncoder,
    {
        "MinkUNet": MinkUNet,
        "PointPillars": PointPillars,
        "SECOND": SECOND,
    },
)


def build_lidar_encoder(config: Mapping[str, Any]) -> LidarEncoder:
    """The encoder `{"type": ..., **arguments}`, randomly initialised; `grid` may be a dictionary.

    Raises:
        ValueError: unknown type or argument.
    """
    return build(config, LIDAR_ENCODERS, "LiDAR encoder")


__all__ = [
    "LIDAR_ENCODERS",
    "SECOND",
    "LidarEncoder",
    "LidarFeatures",
    "MinkUNet",
    "PointPillars",
    "build_lidar_encoder",
]
