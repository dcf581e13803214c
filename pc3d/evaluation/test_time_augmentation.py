"""Test-time augmentation: a segmenter sees turned, mirrored and scaled copies of a sweep; the copies vote.

The mean of class probabilities over copies, as in MMDetection3D's `Seg3DTTAModel`. Publications differ in
which copies they take; ours are our choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from pc3d.data.batch import PointView
from pc3d.data.records import Float64
from pc3d.geometry.rigid import yaw_matrix
from pc3d.models.heads.segmentation import PointSegmenter

_FLIPS = ("", "y", "x", "xy")


@dataclass(frozen=True)
class AugmentedCopies:
    """Which copies are made: the first `count` of all scales x angles x flips, the flips changing first.

    As set here, 1 copy is the sweep itself, 4 are its mirrorings, 8 all symmetries of a square grid, 24 the
    same again 5 % smaller and larger.

    Attributes:
        count: number of copies.
        flips: coordinates that change their sign, each "", "x", "y" or "xy".
        degrees: angles of rotation about +z.
        scales: factors.
    """

    count: int = 4
    flips: tuple[str, ...] = _FLIPS
    degrees: tuple[float, ...] = (0.0, 90.0)
    scales: tuple[float, ...] = (1.0, 0.95, 1.05)

    def __post_init__(self) -> None:
        unknown = set(self.flips) - set(_FLIPS)
        if unknown:
            raise ValueError(f"flips are {self.flips}, use '', 'x', 'y' and 'xy'")
        if not all(math.isfinite(angle) for angle in self.degrees):
            raise ValueError(f"degrees are {self.degrees}, expected finite angles")
        if not all(0 < scale < math.inf for scale in self.scales):
            raise ValueError(f"scales are {self.scales}, expected finite factors above 0")
        most = len(self.flips) * len(self.degrees) * len(self.scales)
        if not 1 <= self.count <= most:
            raise ValueError(f"{self.count} copies for test-time augmentation, expected 1 to {most}")

    def maps(self) -> list[Float64]:
        """`copy_T_view` of each copy, (4, 4): mirror, then rotate, then scale."""
        every = product(self.scales, self.degrees, self.flips)
        return [_map(*drawn) for drawn, _ in zip(every, range(self.count), strict=False)]


def _map(scale: float, degrees: float, flip: str) -> Float64:
    # Rounded, so that right angles are exact: the 6e-17 of cos(90 degrees) moves points across voxels.
    rotation = yaw_matrix(math.radians(degrees)).round(15)
    signs = [-1.0 if axis in flip else 1.0 for axis in ("x", "y", "z")]
    copy_T_view = np.eye(4)
    copy_T_view[:3, :3] = scale * rotation @ np.diag(signs)
    return copy_T_view


def moved_view(view: PointView, copy_T_view: Float64) -> PointView:
    """The view with its points moved by an affine map (4, 4); lengths that they carry are scaled with it."""
    affine = torch.from_numpy(copy_T_view).to(view.points.device)
    xyz = view.points[:, :3].double() @ affine[:3, :3].T + affine[:3, 3]
    points = torch.cat([xyz.to(view.points.dtype), view.points[:, 3:]], dim=1)
    if view.lengths:
        points[:, list(view.lengths)] *= torch.linalg.det(affine[:3, :3]).abs().pow(1 / 3).to(points.dtype)
    lidar_SE3 = (affine @ view.lidar_SE3.double()).to(view.lidar_SE3.dtype)
    return PointView(points, view.batch, view.row, lidar_SE3, view.size, view.lengths)


@torch.no_grad()
def copies_probabilities(segmenter: PointSegmenter, view: PointView, maps: Sequence[Float64]) -> Tensor:
    """Mean over the copies of a view of what a segmenter says of each point.

    A copy takes no part for a point that it moves out of the encoder's range; a point that is outside in
    every copy gets the head's answer to zero features, as without copies.

    Args:
        segmenter: used as it is, in its mode; one pass for each copy, one after the other.
        view: on the segmenter's device.
        maps: `copy_T_view` of each copy, (4, 4); `AugmentedCopies.maps`.

    Returns:
        (P, K) float32 class probabilities, rows sum to 1.

    Raises:
        ValueError: there is no copy.
    """
    if not maps:
        raise ValueError("test-time augmentation needs at least one copy")
    inside = outside = torch.zeros((), device=view.points.device)
    seen = torch.zeros(len(view.points), 1, device=view.points.device)
    for copy_T_view in maps:
        features = segmenter.encoder(moved_view(view, copy_T_view), want_bev=False)
        probabilities = segmenter.head(features.points).float().softmax(dim=1)
        valid = features.valid[:, None]
        inside = inside + torch.where(valid, probabilities, 0.0)
        outside = outside + probabilities
        seen += valid
    return torch.where(seen > 0, inside / seen.clamp(min=1), outside / len(maps))
