"""Every feature set of a transfer: untrained references, networks, and both side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pc3d.data.records import Float32
from pc3d.evaluation.protocol.data import ProbeData
from pc3d.evaluation.protocol.features import (
    Statistics,
    beside,
    hand_made,
    of_encoder,
    raw,
    without_intensity,
)
from pc3d.evaluation.protocol.networks import Backbone
from pc3d.evaluation.protocol.references import HAND_MADE, RAW, WITHOUT_INTENSITY

STATISTICS: dict[Statistics, str] = {"fixed": "", "estimated": ", re-estimated"}
"""Batch-norm statistics, and what the name of a feature set says of them."""
COORDINATES = "x, y, z"
Networks = Sequence[tuple[str, Backbone]]
"""Networks by the line of the tables that they stand in; random ones of several seeds share one."""


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """(N, C) features of the points of a `Draws`, and the line of the tables that they stand in.

    `seen` is the share of the points that have one: the others are out of the network's range.
    """

    name: str
    features: Float32
    seen: float = 1.0


@dataclass(frozen=True, eq=False)
class Draws:
    """Several draws of the points of the same frames, encoded together.

    Attributes:
        title: of the data set.
        data: all points that some draw has, each once.
        positions: of each draw, its points as positions in `data`.
    """

    title: str
    data: ProbeData
    positions: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, title: str, draws: Sequence[ProbeData]) -> Draws:
        """Draws of the same index, tokens and classes as one.

        Raises:
            ValueError: there is none, or they differ in their frames.
        """
        if not draws or any(draw.tokens != draws[0].tokens for draw in draws):
            raise ValueError("the draws of one data set are of the same frames, and at least one")
        rows, labels, offset = [], [], 0
        positions: list[list[NDArray[np.int64]]] = [[] for _ in draws]
        for of_draws in zip(*map(_by_sweep, draws), strict=True):
            every, first = np.unique(np.concatenate([drawn for drawn, _ in of_draws]), return_index=True)
            rows.append(every)
            labels.append(np.concatenate([known for _, known in of_draws])[first])
            for place, (drawn, _) in zip(positions, of_draws, strict=True):
                place.append(np.searchsorted(every, drawn) + offset)
            offset += len(every)
        one = draws[0]
        data = ProbeData(one.index, one.tokens, tuple(rows), np.concatenate(labels), one.classes)
        return cls(title, data, tuple(np.concatenate(parts) for parts in positions))

    def labels(self, draw: int) -> NDArray[np.int64]:
        """(M,) labels of a draw."""
        return self.data.labels[self.positions[draw]]


def _by_sweep(data: ProbeData) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows and labels of each sweep."""
    ends = np.cumsum([len(rows) for rows in data.rows])[:-1]
    return list(zip(data.rows, np.split(data.labels, ends), strict=True))


def coordinates(data: ProbeData) -> Float32:
    """(N, 3) x y z of the points in the LiDAR frame: by them a scene is known by heart."""
    return np.concatenate([points[rows, :3] for points, rows in data.clouds()])


def feature_sets(data: ProbeData, networks: Networks) -> Iterator[FeatureSet]:
    """All feature sets of some points; the networks' twice, by their batch-norm statistics.

    Statistics that are re-estimated are those of the frames of `data` alone, which needs no label.
    """
    reference = hand_made(data)
    yield FeatureSet(COORDINATES, coordinates(data))
    yield FeatureSet(RAW, raw(data).values)
    yield FeatureSet(HAND_MADE, reference.values)
    yield FeatureSet(WITHOUT_INTENSITY, without_intensity(reference).values)
    for name, network in networks:
        for statistics, text in STATISTICS.items():
            found = of_encoder(data, network.encoder, statistics, network.frames)
            both, seen = beside(reference, found).values, float(found.seen.mean())
            yield FeatureSet(name + text, found.values, seen)
            yield FeatureSet(f"{HAND_MADE} beside {name}{text}", both, seen)
