"""Configs of encoders small enough for a test."""

from __future__ import annotations

from typing import Any

MINK: dict[str, Any] = {
    "type": "MinkUNet",
    "depth": 18,
    "widths": [4, 4, 8, 8, 8, 8, 8, 8],
    "stem": 4,
    "voxel_size": [0.5, 0.5, 0.5],
    "bev_channels": 8,
}
PILLARS: dict[str, Any] = {
    "type": "PointPillars",
    "pillar_channels": 4,
    "bev_widths": [4, 4],
    "bev_layers": [1, 1],
    "bev_channels": 8,
    "grid": {"x_min": -24.0, "x_max": 24.0, "y_min": -24.0, "y_max": 24.0, "cell": 1.0},
}
