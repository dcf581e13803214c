"""Rows of the nuScenes tables: tokens, chains, the tables that are the same in every data set, JSON files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]
Tables = dict[str, list[Row]]

TABLES = (
    "category", "attribute", "visibility", "instance", "sensor", "calibrated_sensor", "ego_pose",
    "log", "scene", "sample", "sample_data", "sample_annotation", "map", "lidarseg",
)  # fmt: skip

LIDAR = "LIDAR_TOP"

_ATTRIBUTES = {
    "vehicle.moving": "Vehicle is moving.",
    "vehicle.stopped": "Vehicle, with a driver in it, is stationary but has an intent to move.",
    "vehicle.parked": "Vehicle is stationary, usually for a longer time, with no intent to move.",
    "cycle.with_rider": "There is a rider on the bicycle or motorcycle.",
    "cycle.without_rider": "There is no rider on the bicycle or motorcycle.",
    "pedestrian.sitting_lying_down": "The human is sitting or lying down.",
    "pedestrian.standing": "The human is standing.",
    "pedestrian.moving": "The human is moving.",
}
_VISIBILITIES = ((0, 40), (40, 60), (60, 80), (80, 100))


def token(*names: object) -> str:
    """32 hexadecimal digits, always the same for the same names."""
    return hashlib.md5("/".join(map(str, names)).encode(), usedforsecurity=False).hexdigest()


def link(rows: Sequence[Row]) -> None:
    """Chains rows that follow each other in time by their fields `prev` and `next`."""
    for i, row in enumerate(rows):
        row["prev"] = rows[i - 1]["token"] if i else ""
        row["next"] = rows[i + 1]["token"] if i + 1 < len(rows) else ""


def visibility_token(share: float) -> str:
    """Token of the visibility level that a visible share (0 to 1) falls into: "1" up to 40 % to "4"."""
    return str(1 + int(np.searchsorted([0.4, 0.6, 0.8], share, side="left")))


def category_token(name: str) -> str:
    return token("category", name)


def attribute_token(name: str) -> str:
    return token("attribute", name)


def sensor_token(channel: str) -> str:
    return token("sensor", channel)


def fixed_tables(categories: Sequence[str], channels: Iterable[str]) -> Tables:
    """The tables category, attribute, visibility and sensor.

    Args:
        categories: names of the lidarseg categories in the order of their indices.
        channels: names of the sensors.
    """
    return {
        "category": [
            {
                "token": category_token(name),
                "name": name,
                "description": f"Simulated {name.rsplit('.', 1)[-1].replace('_', ' ')}.",
                "index": index,
            }
            for index, name in enumerate(categories)
        ],
        "attribute": [
            {"token": attribute_token(name), "name": name, "description": text}
            for name, text in _ATTRIBUTES.items()
        ],
        "visibility": [
            {
                "token": str(i + 1),
                "level": f"v{low}-{high}",
                "description": f"visibility of whole object is between {low} and {high}%",
            }
            for i, (low, high) in enumerate(_VISIBILITIES)
        ],
        "sensor": [
            {
                "token": sensor_token(channel),
                "channel": channel,
                "modality": "lidar" if channel == LIDAR else "camera",
            }
            for channel in channels
        ],
    }


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=0, allow_nan=False), encoding="utf-8")
