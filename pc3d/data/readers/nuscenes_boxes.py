"""The annotations of a nuScenes version, column by column, and the boxes of one sample."""

from __future__ import annotations

from array import array
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.readers.nuscenes_tables import NuScenesTables
from pc3d.data.records import Boxes, Float64
from pc3d.geometry.rigid import quaternion_to_matrix, yaw_of

Neighbours = NDArray[np.int64]

MAX_TIME_DIFF = 1.5
"""Seconds between key frames over which the devkit's `box_velocity` still takes a difference."""


class AnnotationTable:
    """Columns of `sample_annotation`, with velocities; columns because there are 1.2 million rows.

    Attributes:
        translation: (A, 3) world. size: (A, 3) width, length, height, as stored.
        rotation: (A, 4) quaternions w x y z. velocity: (A, 3) world m/s, NaN where unknown.
        beyond: neighbours of a track that are not in the table.
    """

    def __init__(self) -> None:
        self.beyond = 0
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
    def read(cls, tables: NuScenesTables, part: bool = False) -> AnnotationTable:
        """Read `sample_annotation` and the tables that it points to.

        Args:
            part: the tables are of a part of the data set: a neighbour that is not there is none.

        Raises:
            DataError: a table is missing or broken, or a token leads nowhere.
        """
        self = cls()
        categories = tables.column("category", "name")
        instances = tables.column("instance", "category_token")
        named = tables.follow(categories, "category", instances.values(), "instance", instances)
        names = dict(zip(instances, named, strict=True))
        attributes = {"": "", **tables.column("attribute", "name")}
        times = tables.column("sample", "timestamp")
        seconds, boxes = array("d"), [np.zeros((0, 10))]
        row_of: dict[str, int] = {}
        links: list[tuple[str, str]] = []
        for _, columns in tables.read("sample_annotation"):
            tokens, samples = columns["token"], columns["sample_token"]
            first = [listed[0] if listed else "" for listed in columns["attribute_tokens"]]
            of = ("sample_annotation", tokens)
            row_of.update(zip(tokens, range(len(self.names), len(self.names) + len(tokens)), strict=True))
            for number, sample in enumerate(samples, len(self.names)):
                self._rows_of_sample[sample].append(number)
            self.names += tables.follow(names, "instance", columns["instance_token"], *of)
            self.attributes += tables.follow(attributes, "attribute", first, *of)
            self.tracks += columns["instance_token"]
            self.num_lidar_pts.extend(columns["num_lidar_pts"].tolist())
            seconds.extend([1e-6 * time for time in tables.follow(times, "sample", samples, *of)])
            links += zip(columns["prev"], columns["next"], strict=True)
            boxes.append(np.hstack([columns["translation"], columns["size"], columns["rotation"]]))
        if part:
            links, self.beyond = _within(links, row_of)
        numbers = np.vstack(boxes)
        self.translation, self.size, self.rotation = numbers[:, :3], numbers[:, 3:6], numbers[:, 6:]
        self.velocity = self._velocities(row_of, links, np.array(seconds), tables.path("sample_annotation"))
        return self

    def _velocities(
        self, row_of: dict[str, int], links: list[tuple[str, str]], seconds: Float64, path: Path
    ) -> Float64:
        neighbours = _neighbours(links, row_of, path)
        _check_tracks(neighbours, self.tracks, seconds, path)
        return track_velocities(self.translation, seconds, neighbours)

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


def _within(links: list[tuple[str, str]], row_of: dict[str, int]) -> tuple[list[tuple[str, str]], int]:
    """Links without those that lead out of the table, and how many these are."""
    known = {"", *row_of}
    kept = [(one if one in known else "", other if other in known else "") for one, other in links]
    return kept, sum(token not in known for pair in links for token in pair)


def _neighbours(links: list[tuple[str, str]], row_of: dict[str, int], path: Path) -> Neighbours:
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
            f"{path}, row {number}",
            "extract the metadata archive again",
        )
    return rows


def _check_tracks(neighbours: Neighbours, tracks: list[str], seconds: Float64, path: Path) -> None:
    """Refuse a neighbour that is of another instance, or not earlier or later: velocities would be false."""
    numbers: dict[str, int] = {}
    instance = np.array([numbers.setdefault(track, len(numbers)) for track in tracks])
    for side, (column, when, sign) in enumerate((("prev", "earlier", -1), ("next", "later", 1))):
        linked = np.flatnonzero(neighbours[:, side] >= 0)
        there = neighbours[linked, side]
        wrong = (instance[there] != instance[linked]) | (sign * (seconds[there] - seconds[linked]) <= 0)
        if wrong.any():
            row, other = linked[np.argmax(wrong)], there[np.argmax(wrong)]
            fail(
                f"column {column!r} leads to row {other}, which is of another instance or not {when}",
                f"{path}, row {row}",
                "extract the metadata archive again",
            )


def track_velocities(translation: Float64, seconds: Float64, neighbours: Neighbours) -> Float64:
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
