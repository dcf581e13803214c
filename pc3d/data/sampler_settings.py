"""The samplers that `data.sampler` names, built for the data of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.block_samplers import ClusterSampler, NeighbourSampler
from pc3d.data.dataset import FrameDataset
from pc3d.data.places import near_frames
from pc3d.data.sampler_table import SamplerTable, positions_of
from pc3d.data.samplers import StreamSampler


@dataclass(frozen=True)
class Neighbours:
    """Batches by place, or by a table of likeness; see `NeighbourSampler`.

    Attributes:
        near: (low, high) metres between frames, see `near_frames` (ours; the authors take the 128 nearest).
            It is not read beside a table.
        select: neighbours of a frame that are tried, None for a batch of all processes less one.
        reach: so many neighbours of a frame are looked at, 128.
        table: file of `pc3d neighbours`, None to go by place.
    """

    near: tuple[float, float] = (10.0, 100.0)
    select: int | None = None
    reach: int = 128
    table: Path | None = None

    def __post_init__(self) -> None:
        if len(self.near) != 2 or not 0 <= self.near[0] < self.near[1]:
            raise ValueError(f"near is {self.near}, expected (low, high) metres, 0 or more")
        if self.reach < 1 or (self.select is not None and self.select < 1):
            raise ValueError(f"select {self.select} and reach {self.reach}: expected at least 1")

    def build(
        self, parts: Sequence[FrameDataset], batch_size: int, seed: int, rank: int, world: int
    ) -> StreamSampler:
        if self.table is None:
            frames, lists = near_frames(parts, self.near, self.reach)
        else:
            table = SamplerTable.open(self.table)
            frames, lists = table.frames_of(parts, self.table), list(table.neighbours)
        near = positions_of(frames, lists, self.reach)
        return NeighbourSampler(near, batch_size, self.select, seed, rank, world)


@dataclass(frozen=True)
class Clusters:
    """Batches of one label of a table; see `ClusterSampler`.

    Attributes:
        table: file of `pc3d neighbours`.
    """

    table: Path

    def build(
        self, parts: Sequence[FrameDataset], batch_size: int, seed: int, rank: int, world: int
    ) -> StreamSampler:
        table = SamplerTable.open(self.table)
        labels = table.labels[table.frames_of(parts, self.table)].astype(np.int64)
        return ClusterSampler(labels, batch_size, seed, rank, world)


SAMPLERS: dict[str, Callable[..., Neighbours | Clusters]] = {"Clusters": Clusters, "Neighbours": Neighbours}


def build_sampler(
    config: Mapping[str, Any] | None,
    parts: Sequence[FrameDataset],
    batch_size: int,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
) -> StreamSampler:
    """The sampler of a `data.sampler` section over data sets that are read one after the other.

    Args:
        config: `type` and its settings; None for `StreamSampler`. The others: see there.

    Raises:
        ValueError: an unknown type or setting, or fewer frames than a batch of all processes.
        DataError: a table is missing or broken, or lacks a frame; no pose is known.
    """
    if config is None:
        return StreamSampler(sum(map(len, parts)), seed, rank, world)
    settings = dict(config)
    kind = SAMPLERS.get(str(settings.pop("type", None)))
    if kind is None:
        known = ", ".join(SAMPLERS)
        raise ValueError(f"data.sampler.type is {config.get('type')!r}, expected one of {known}")
    try:
        made = kind(**settings)
    except TypeError as error:
        raise ValueError(f"data.sampler: {error}") from error
    return made.build(parts, batch_size, seed, rank, world)


def frames_of_pass(
    config: Mapping[str, Any] | None, parts: Sequence[FrameDataset], batch_size: int, world: int
) -> int:
    """How many frames all processes together read in a pass; batches of one label leave some out.

    Args and errors: see `build_sampler`.
    """
    if config is None or config.get("type") != "Clusters":  # others leave out less than a batch
        return sum(map(len, parts))
    return build_sampler(config, parts, batch_size, world=world).length
