"""Temporal voting: predictions of neighbouring scans, moved by the ego poses, vote in voxels.

SuperFlow++ (arXiv 2503.19912) votes over time; how exactly is not public, so the details are our choice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pc3d.data.records import Float64
from pc3d.geometry.rigid import invert_SE3, transform_points
from pc3d.ops.segment import segment_counts, segment_mean, segment_sum

COMBINE = ("replace", "average")
_CELLS = 1 << 20  # voxels to either side of the origin that a key can tell apart


@dataclass(frozen=True)
class VotingConfig:
    """How scans vote.

    Attributes:
        neighbours: k, scans before and after the one that is voted on.
        voxel_size: edge of a voxel, metres.
        combine: "replace" a point's prediction by its voxel's vote, or "average" the two.
        half_life: seconds after which a scan's points weigh half, None: all scans weigh the same.
        moving_classes: labels of classes whose points keep their own prediction; None where an evaluation
            takes those of the class set that may move (`scored_classes.may_move`).
    """

    neighbours: int = 1
    voxel_size: float = 0.2
    combine: str = "replace"
    half_life: float | None = None
    moving_classes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.neighbours < 0 or self.voxel_size <= 0:
            raise ValueError("neighbours must be at least 0, voxel_size above 0 m")
        if self.combine not in COMBINE:
            raise ValueError(f"combine is {self.combine!r}, use one of {', '.join(COMBINE)}")
        if self.half_life is not None and self.half_life <= 0:
            raise ValueError(f"half_life is {self.half_life} s, expected above 0, or None")


@dataclass(frozen=True, eq=False)
class Scan:
    """What one scan predicts.

    Attributes:
        token, scene: of its sweep.
        seconds: when it was taken.
        xyz: (P, 3) float32, metres, LiDAR frame.
        world_SE3_lidar: (4, 4) float64.
        probabilities: (P, K) float32, rows sum to 1.
        moving: (P,) bool, True inside a segment that moves; None where that is not known.
        labels: (P,) int64 true class, -1 ignored; None where unknown.
    """

    token: str
    scene: str
    seconds: float
    xyz: Tensor
    world_SE3_lidar: Float64
    probabilities: Tensor
    moving: Tensor | None = None
    labels: Tensor | None = None

    def keeps_own(self, classes: Sequence[int]) -> Tensor:
        """(P,) bool: predicted as one of `classes`, or inside a moving segment."""
        listed = torch.isin(self.probabilities.argmax(dim=1), torch.tensor(list(classes), dtype=torch.long))
        return listed if self.moving is None else listed | self.moving


def windows(scans: Iterable[Scan], neighbours: int) -> Iterator[tuple[int, list[Scan]]]:
    """Each scan with those up to `neighbours` before and after it in its scene.

    Args:
        scans: the scenes one after the other, each ascending in time; read as they are needed.

    Yields:
        Position of the scan in its window, and the window: at most 2 `neighbours` + 1 scans in memory.
    """
    held: deque[Scan] = deque()
    now = 0
    for scan in scans:
        if held and scan.scene != held[0].scene:
            yield from _rest(held, now, neighbours)
            held.clear()
            now = 0
        held.append(scan)
        if len(held) > now + neighbours:
            yield now, list(held)
            now += 1
            if now > neighbours:
                held.popleft()
                now -= 1
    yield from _rest(held, now, neighbours)


def _rest(held: deque[Scan], now: int, neighbours: int) -> Iterator[tuple[int, list[Scan]]]:
    """The last windows of a scene, in which scans after `now` are missing."""
    scans = list(held)
    for position in range(now, len(scans)):
        first = max(0, position - neighbours)
        yield position - first, scans[first:]


def vote(window: Sequence[Scan], now: int, config: VotingConfig) -> Tensor:
    """Predictions of one scan after the vote.

    A voxel's vote is the weighted mean of the predictions of all points in it, of every scan of the
    window, this one included. Points predicted as a class that may move keep their own prediction, but
    vote: most stand still, and without them the simulated drive scored 0.1 to 0.5 points of mIoU less.
    Points inside a segment that moves keep their own and do not vote.

    Args:
        window: scans of one scene.
        now: position of the scan that is voted on.
        config: see `VotingConfig`.

    Returns:
        (P, K) float32 probabilities of its points.
    """
    scan = window[now]
    voxels = _voxels(window, now, config.voxel_size)
    total = scan.probabilities.new_zeros(voxels.count, scan.probabilities.shape[1])
    weight = scan.probabilities.new_zeros(voxels.count)
    for other, index in zip(window, voxels.index, strict=True):
        share = _weight(other.seconds - scan.seconds, config.half_life)
        if other.moving is not None:
            index = torch.where(other.moving, -1, index)
        total += share * segment_sum(other.probabilities, index, voxels.count)
        weight += share * segment_counts(index, voxels.count)
    voted = scan.probabilities.clone()
    rows = (~scan.keeps_own(config.moving_classes or ())).nonzero().squeeze(1)
    voxel = voxels.index[now][rows]
    voted[rows] = total[voxel] / weight[voxel].unsqueeze(1)
    if config.combine == "average":
        voted[rows] = (voted[rows] + scan.probabilities[rows]) / 2
    return voted


def agreeing_scans(window: Sequence[Scan], now: int, labels: Tensor, voxel_size: float) -> Tensor:
    """How many scans of a window say `labels` where the points of scan `now` are.

    A scan says of a voxel the class of the largest mean prediction of its points in it. Points that may
    move count too: a parked car agrees with itself, one that drives does not.

    Args:
        labels: (P,) int64 class of each point of scan `now`.
        voxel_size: metres.

    Returns:
        (P,) int64, 0 to the length of the window.
    """
    voxels = _voxels(window, now, voxel_size)
    count = torch.zeros_like(labels)
    for scan, index in zip(window, voxels.index, strict=True):
        mean, size = segment_mean(scan.probabilities, index, voxels.count)
        says = torch.where(size > 0, mean.argmax(dim=1), -1)
        count += (says[voxels.index[now]] == labels).long()
    return count


@dataclass(frozen=True, eq=False)
class _Voxels:
    """Voxels that scan `now` occupies: of each scan, the (P,) voxel of its points, -1 for others."""

    index: list[Tensor]
    count: int


def _voxels(window: Sequence[Scan], now: int, size: float) -> _Voxels:
    lidar_SE3_world = invert_SE3(window[now].world_SE3_lidar)
    keys = [_keys(scan, lidar_SE3_world @ scan.world_SE3_lidar, size) for scan in window]
    occupied = torch.unique(keys[now])
    index = []
    for key in keys:
        at = torch.searchsorted(occupied, key).clamp(max=len(occupied) - 1)
        index.append(torch.where(occupied[at] == key, at, -1) if len(occupied) else at)
    return _Voxels(index, len(occupied))


def _keys(scan: Scan, now_SE3_lidar: Float64, size: float) -> Tensor:
    """(P,) int64, one number for each voxel of the LiDAR frame of scan `now`."""
    xyz = transform_points(now_SE3_lidar, scan.xyz.cpu().numpy().astype(np.float64))
    cell = torch.from_numpy(np.floor(xyz / size)).long() + _CELLS
    return (cell[:, 0] * 2 * _CELLS + cell[:, 1]) * 2 * _CELLS + cell[:, 2]


def _weight(seconds: float, half_life: float | None) -> float:
    return 1.0 if half_life is None else 0.5 ** (abs(seconds) / half_life)
