"""The annotations of a nuScenes version, column by column, and the boxes of one sample."""

from __future__ import annotations

from array import array
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.readers.json_tables import stream_rows
from pc3d.data.records import Boxes, Float64
from pc3d.geometry.rigid import quaternion_to_matrix, yaw_of

MAX_TIME_DIFF = 1.5
"""Seconds between key frames over which the devkit's `box_velocity` still takes a difference."""


class AnnotationTable:
    """Columns of `sample_annotation`, with velocities; columns because there are 1.2 million rows.

    Attributes:
        translation: (A, 3) world. size: (A, 3) width, length, height, as stored.
        rotation: (A, 4) quaternions w x y z. velocity: (A, 3) world m/s, NaN where unknown.
    """

    def __init__(self) -> None:
        self.num_lidar_pts = array("q")
        self.names: list[str] = []
        self.tracks: list[str] = []
        self.attributes: list[str] = []
        self._rows_of_sample: dict[str, list[int]] = defaultdict(list)
        self.translation: Float64 = np.zeros((0, 3))
        self.size: Float64 = np.zeros((0, 3))
        self.rotation: Float64 = np.zeros((0, 4))
        self.velocity: Float64 = np.zeros((0, 3))

    @classmethod
    def read(cls, tables: Path) -> AnnotationTable:
        """Read `sample_annotation` and the tables that it points to.

        Raises:
            DataError: a table is missing or broken, or a token leads nowhere.
        """
        self = cls()
        categories = {row["token"]: row["name"] for row in stream_rows(tables / "category.json")}
        attributes = {row["token"]: row["name"] for row in stream_rows(tables / "attribute.json")}
        instances = {row["token"]: row["category_token"] for row in stream_rows(tables / "instance.json")}
        times = {row["token"]: row["timestamp"] for row in stream_rows(tables / "sample.json")}
        row_of: dict[str, int] = {}
        links: list[tuple[str, str]] = []
        numbers, seconds = array("d"), array("d")
        for number, row in enumerate(stream_rows(tables / "sample_annotation.json")):
            try:
                instance, sample = row["instance_token"], row["sample_token"]
                self.names.append(categories[instances[instance]])
                self.attributes.append(" ".join(attributes[token] for token in row["attribute_tokens"][:1]))
                seconds.append(1e-6 * times[sample])
            except KeyError as error:
                fail(
                    f"annotation row leads nowhere: {error}",
                    f"{tables / 'sample_annotation.json'} (row {row.get('token')})",
                    "extract the metadata archives of one version into one folder",
                )
            self.tracks.append(instance)
            self.num_lidar_pts.append(row["num_lidar_pts"])
            self._rows_of_sample[sample].append(number)
            numbers.extend(row["translation"] + row["size"] + row["rotation"])
            row_of[row["token"]] = number
            links.append((row["prev"], row["next"]))
        columns = np.frombuffer(numbers, dtype=np.float64).reshape(-1, 10)
        self.translation, self.size, self.rotation = columns[:, :3], columns[:, 3:6], columns[:, 6:]
        neighbours = _neighbours(links, row_of, tables)
        self.velocity = track_velocities(self.translation, np.array(seconds), neighbours)
        return self

    def boxes(self, sample: str, lidar_SE3_world: Float64) -> Boxes | None:
        """Boxes of a sample in the LiDAR frame; None where the version has no annotations at all."""
        if not self.names:
            return None
        rows = self._rows_of_sample.get(sample, [])
        rotation = lidar_SE3_world[:3, :3]
        return Boxes(
            centers=self.translation[rows] @ rotation.T + lidar_SE3_world[:3, 3],
            sizes=self.size[rows][:, [1, 0, 2]],
            yaws=yaw_of(rotation @ quaternion_to_matrix(self.rotation[rows])),
            velocities=(self.velocity[rows] @ rotation.T)[:, :2],
            names=tuple(self.names[row] for row in rows),
            tracks=tuple(self.tracks[row] for row in rows),
            num_lidar_pts=np.array([self.num_lidar_pts[row] for row in rows], dtype=np.int64),
            attributes=tuple(self.attributes[row] for row in rows),
        )


def _neighbours(links: list[tuple[str, str]], row_of: dict[str, int], tables: Path) -> Any:
    """(A, 2) int64 rows of the previous and the next annotation of the track, -1 where none."""
    rows = np.full((len(links), 2), -1, dtype=np.int64)
    for number, pair in enumerate(links):
        for side, token in enumerate(pair):
            if token:
                rows[number, side] = row_of.get(token, -2)
    if (rows == -2).any():
        number, side = np.argwhere(rows == -2)[0]
        fail(
            f"annotation {links[number][side]!r} is not in the table, but its neighbour points to it",
            tables / "sample_annotation.json",
            "extract the metadata archive again",
        )
    return rows


def track_velocities(translation: Float64, seconds: Float64, neighbours: Any) -> Float64:
    """Velocities by finite difference, as the devkit's `NuScenes.box_velocity`.

    The centred difference where both neighbours exist, else the one-sided; NaN without a neighbour
    and where the two are more than 1.5 s apart (3 s centred).

    Args:
        translation: (A, 3) world, metres. seconds: (A,).
        neighbours: (A, 2) int64 rows of the previous and the next annotation, -1 where none.

    Returns:
        (A, 3) m/s in the world frame.
    """
    own = np.arange(len(translation))
    has = neighbours >= 0
    first = np.where(has[:, 0], neighbours[:, 0], own)
    last = np.where(has[:, 1], neighbours[:, 1], own)
    elapsed = seconds[last] - seconds[first]
    limit = np.where(has.all(axis=1), 2 * MAX_TIME_DIFF, MAX_TIME_DIFF)
    known = has.any(axis=1) & (elapsed <= limit) & (elapsed != 0)
    velocity = np.full((len(translation), 3), np.nan)
    velocity[known] = (translation[last] - translation[first])[known] / elapsed[known, None]
    return velocity
