"""Augmentations of point clouds, as affine maps that a view remembers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pc3d.data.records import Float32, Float64
from pc3d.geometry.rigid import transform_points, yaw_matrix


@dataclass(frozen=True)
class PointAugmentation:
    """What is drawn for each view.

    Attributes:
        rotation: (low, high) radians about +z.
        scale: (low, high) factor.
        flip: probability of mirroring x, and of mirroring y.
        crop: share of the points that a random crop keeps (those nearest in x, y to a random point),
            1 for none.
        cuboid: a box around a random point is left out, with sides of up to this share of the view's extent
            along each axis (SLidR: 0.2), 0 for none.
        cuboid_min_pairs: nothing is left out where an image would keep fewer pairs than this (SLidR: 1024).
    """

    rotation: tuple[float, float] = (-np.pi / 2, np.pi / 2)
    scale: tuple[float, float] = (0.9, 1.1)
    flip: float = 0.5
    crop: float = 1.0
    cuboid: float = 0.0
    cuboid_min_pairs: int = 1024

    def __post_init__(self) -> None:
        if not 0 <= self.cuboid <= 1 or self.cuboid_min_pairs < 0:
            raise ValueError(f"cuboid must be in [0, 1] and cuboid_min_pairs at least 0: {self}")
        if not (0 <= self.flip <= 1 and 0 < self.crop <= 1 and 0 < self.scale[0] <= self.scale[1]):
            raise ValueError(f"flip must be in [0, 1], crop in (0, 1], scale positive: {self}")

    def draw(self, rng: np.random.Generator) -> Float64:
        """(4, 4) affine map: mirror, then rotate, then scale."""
        signs = np.where(rng.random(2) < self.flip, -1.0, 1.0)
        matrix = yaw_matrix(rng.uniform(*self.rotation)) @ np.diag([*signs, 1.0])
        view_T_lidar = np.eye(4)
        view_T_lidar[:3, :3] = rng.uniform(*self.scale) * matrix
        return view_T_lidar


NO_AUGMENTATION = PointAugmentation(rotation=(0.0, 0.0), scale=(1.0, 1.0), flip=0.0)
CALICO_AUGMENTATION = PointAugmentation()
"""Rotation +-90 degrees, scale 0.9 to 1.1, flips (CALICO; its flips are our choice)."""


@dataclass(frozen=True)
class PointFilter:
    """Which points of the loaded sweep a view takes.

    Attributes:
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max) metres, LiDAR frame before
            augmentation; None for all.
        max_points: a random subset of this size where there are more; None for all.
    """

    point_range: tuple[float, float, float, float, float, float] | None = None
    max_points: int | None = None

    def within(self, points: Float32) -> NDArray[np.int64]:
        """Ascending rows of the points in the range."""
        rows = np.arange(len(points))
        if self.point_range is not None:
            low, high = np.array(self.point_range[:3]), np.array(self.point_range[3:])
            rows = rows[((points[:, :3] >= low) & (points[:, :3] < high)).all(axis=1)]
        return rows

    def thinned(self, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """At most `max_points` of ascending rows, ascending."""
        if self.max_points is not None and len(rows) > self.max_points:
            rows = np.sort(rng.choice(rows, self.max_points, replace=False))
        return rows

    def rows(self, points: Float32, crop: float, rng: np.random.Generator) -> NDArray[np.int64]:
        """Ascending rows of the points that stay."""
        rows = self.within(points)
        if crop < 1 and len(rows):
            centre = points[rng.choice(rows), :2]
            distance = ((points[rows, :2] - centre) ** 2).sum(axis=1)
            count = max(1, round(crop * len(rows)))
            rows = np.sort(rows[np.argpartition(distance, count - 1)[:count]])
        return self.thinned(rows, rng)


@dataclass(frozen=True)
class ViewCrop:
    """Which part of a sweep the views "c", "d", ... show (the sizes and shapes are ours).

    Attributes:
        share: (low, high) of the points of the sweep.
        shape: `sector` of azimuth about the sensor, or `box` (upright, square) around a random point.
    """

    share: tuple[float, float] = (0.25, 0.5)
    shape: Literal["sector", "box"] = "sector"

    def __post_init__(self) -> None:
        if not 0 < self.share[0] <= self.share[1] <= 1:
            raise ValueError(f"share is {self.share}, expected (low, high) above 0, to 1")
        if self.shape not in ("sector", "box"):
            raise ValueError(f"shape {self.shape!r} is unknown, expected 'sector' or 'box'")

    def rows(self, points: Float32, rng: np.random.Generator) -> NDArray[np.int64]:
        """Ascending rows of the points that one crop shows; one point at least where there is any."""
        share, first = rng.uniform(*self.share), rng.random()
        if not len(points):
            return np.arange(0)
        count, start = max(1, round(share * len(points))), int(first * len(points))
        x, y = points[:, 0].astype(np.float64), points[:, 1].astype(np.float64)
        if self.shape == "box":
            apart = np.maximum(np.abs(x - x[start]), np.abs(y - y[start]))
            return np.sort(np.argsort(apart, kind="stable")[:count])
        around = np.argsort(np.arctan2(y, x), kind="stable")
        return np.sort(np.roll(around, -start)[:count])


@dataclass(frozen=True, eq=False)
class ViewSample:
    """One view of one sample: points (P, C) float32, their rows (P,) and the affine map (4, 4).

    `lengths` are the columns after x y z that are metres of the view.
    """

    points: Float32
    row: NDArray[np.int64]
    view_T_lidar: Float64
    lengths: tuple[int, ...] = ()


def make_view(
    points: Float32, augmentation: PointAugmentation, point_filter: PointFilter, rng: np.random.Generator
) -> ViewSample:
    """Choose and move the points of a view; the same generator state gives the same view."""
    view_T_lidar = augmentation.draw(rng)
    rows = point_filter.rows(points, augmentation.crop, rng)
    return ViewSample(transform_points(view_T_lidar, points[rows]), rows, view_T_lidar)


def make_crop(
    points: Float32,
    augmentation: PointAugmentation,
    point_filter: PointFilter,
    crop: ViewCrop,
    rng: np.random.Generator,
) -> ViewSample:
    """A view of a part of the sweep, moved as others are; the part is in place of `crop` and `cuboid`."""
    view_T_lidar = augmentation.draw(rng)
    rows = point_filter.within(points)
    rows = point_filter.thinned(rows[crop.rows(points[rows], rng)], rng)
    return ViewSample(transform_points(view_T_lidar, points[rows]), rows, view_T_lidar)


def without_cuboid(
    view: ViewSample,
    augmentation: PointAugmentation,
    paired: Sequence[NDArray[np.int64]],
    rng: np.random.Generator,
) -> ViewSample:
    """The view without the points in a random box along its axes; as it is where nothing is to be left out.

    Args:
        paired: rows of the points that each image shows.
    """
    if augmentation.cuboid == 0 or not len(view.row):
        return view
    xyz = view.points[:, :3]
    half = np.ptp(xyz, axis=0) * (rng.uniform(0, augmentation.cuboid) / 2)
    kept = (np.abs(xyz - xyz[rng.integers(len(xyz))]) >= half).any(axis=1)
    row = view.row[kept]
    if any(np.isin(rows, row).sum() < augmentation.cuboid_min_pairs for rows in paired):
        return view
    return ViewSample(view.points[kept], row, view.view_T_lidar)
