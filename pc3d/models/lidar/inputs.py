"""From the points of a view to voxels and their input features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pc3d.data.batch import PointView
from pc3d.data.errors import fail
from pc3d.geometry.grid import BevGrid
from pc3d.ops.device import constant
from pc3d.ops.segment import segment_mean
from pc3d.ops.voxelize import VoxelGrid, Voxels, in_range, voxelize

VOXEL_FEATURES = ("mean", "first")
DEFAULT_SIZES = {"cubic": (0.1, 0.1, 0.1), "cylinder": (0.1, 1.0, 0.1)}

FEWEST, MOST = 4, 2**56
"""Voxels along x and along y, and in all: a voxel's number and its sample's fit into 64 bits together."""


def range_of(grid: BevGrid, z_range: Sequence[float]) -> tuple[float, ...]:
    """Point range that covers the whole cells of a BEV grid: x, y, z lowest, then highest."""
    x_max = grid.x_min + grid.cols * grid.cell
    y_max = grid.y_min + grid.rows * grid.cell
    return (grid.x_min, grid.y_min, z_range[0], x_max, y_max, z_range[1])


class PointInputs(nn.Module):
    """Voxelise the points of a view; a voxel's feature comes from its points' columns.

    Args:
        in_channels: number of point columns that enter.
        columns: which columns, by default the first `in_channels`.
        voxel, voxel_size, point_range: see `VoxelGrid`; `voxel_size` None means 0.1 m, for the cylinder
            0.1 m, 1 degree, 0.1 m.
        voxel_feature: `mean` of the voxel's points, or its `first` point in the order of the view, as the
            public codes of SLidR and SuperFlow take it.
        column_scales: a factor for each column that enters, None for 1: the readers' intensity is 0..1, and
            255 gives nuScenes' own.
    """

    column_scales: Tensor | None

    def __init__(
        self,
        in_channels: int,
        columns: Sequence[int] | None,
        voxel: str,
        voxel_size: Sequence[float] | None,
        point_range: Sequence[float] | None,
        voxel_feature: str = "mean",
        column_scales: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if voxel_feature not in VOXEL_FEATURES:
            raise ValueError(f"unknown voxel_feature {voxel_feature!r}; known: {', '.join(VOXEL_FEATURES)}")
        self.voxel_feature = voxel_feature
        self.columns = list(range(in_channels)) if columns is None else list(columns)
        if len(self.columns) != in_channels:
            raise ValueError(f"in_channels is {in_channels}, but columns names {len(self.columns)}")
        if column_scales is not None and len(column_scales) != in_channels:
            raise ValueError(
                f"in_channels is {in_channels}, but column_scales has {len(column_scales)} factors"
            )
        # Not persistent: a setting, and no part of the exported weights.
        scales = None if column_scales is None else torch.tensor(list(column_scales), dtype=torch.float32)
        self.register_buffer("column_scales", scales, persistent=False)
        size = DEFAULT_SIZES.get(voxel, (1.0, 1.0, 1.0)) if voxel_size is None else voxel_size
        limits = None if point_range is None else tuple(point_range)
        self.grid = VoxelGrid(tuple(size), limits, voxel)  # type: ignore[arg-type]
        _check_cells(self.grid)

    def settings(self) -> dict[str, object]:
        """What no weight's shape tells, by its name in the configuration."""
        scales = [1.0] * len(self.columns) if self.column_scales is None else self.column_scales.tolist()
        return {
            "columns": self.columns,
            "column_scales": scales,
            "voxel": self.grid.kind,
            "voxel_size": self.grid.size,
            "point_range": self.grid.point_range,
            "voxel_feature": self.voxel_feature,
        }

    def reach(self, view: PointView) -> Tensor:
        """(P,) bool: which points of a view lie within the range."""
        return in_range(view.points[:, :3], self.grid.limits)

    def voxels(self, view: PointView) -> Voxels:
        """The voxels of the view's points.

        Raises:
            ValueError: too few columns.
            DataError: no voxel; or a single one in training, too few for batch norm.
        """
        if view.points.shape[1] <= max(self.columns):
            raise ValueError(
                f"the points have {view.points.shape[1]} columns, the encoder reads columns {self.columns}"
            )
        voxels = voxelize(view.points[:, :3], view.batch, view.size, self.grid)
        if not len(voxels) or (self.training and len(voxels) == 1):
            one = "a single voxel of the whole batch is within the encoder's range, too few for batch norm"
            fail(
                one
                if len(voxels)
                else "no active voxel in the whole batch: none is within the encoder's range",
                f"{_extent(view.points)}; the range of `lidar` is {_box(self.grid.limits)}",
                "widen `data.points`, and `lidar.point_range` or `lidar.grid` and `lidar.z_range`; else look "
                "at the frame of the points",
            )
        return voxels

    def forward(self, view: PointView) -> tuple[Voxels, Tensor]:
        """Voxels, and their (N, in_channels) float32 features."""
        voxels = self.voxels(view)
        points = view.points.index_select(1, constant(self.columns, view.batch))
        if self.column_scales is not None:
            points = points * self.column_scales
        if self.voxel_feature == "first":
            return voxels, points[_first_rows(voxels)]
        features, _ = segment_mean(points, voxels.index, len(voxels))
        return voxels, features


def _check_cells(grid: VoxelGrid) -> None:
    """Refuse a grid without a place to tell points apart in, or with more voxels than can be numbered."""
    z, y, x = replace(grid, point_range=grid.limits).shape
    if min(x, y) < FEWEST or x * y * z > MOST:
        raise ValueError(
            f"voxel_size {grid.size} makes a grid of {x:.9g} x {y:.9g} x {z:.9g} voxels (x, y, z; cylinder: "
            f"rho, phi, z), expected at least {FEWEST} along the first two, and at most {MOST:.1e} in all"
        )


def _extent(points: Tensor) -> str:
    """Where points lie."""
    if not len(points):
        return "`data.points` leaves none"
    low, high = points[:, :3].amin(0).tolist(), points[:, :3].amax(0).tolist()
    return f"{len(points):,} points lie at {_box([*low, *high])}"


def _box(limits: Sequence[float]) -> str:
    sides = zip("xyz", limits[:3], limits[3:], strict=True)
    return ", ".join(f"{axis} {low:.4g} to {high:.4g} m" for axis, low, high in sides)


def _first_rows(voxels: Voxels) -> Tensor:
    """(N,) int64 lowest row of a point of each voxel."""
    count, device = len(voxels), voxels.index.device
    rows = torch.arange(len(voxels.index), device=device)
    first = torch.full((count + 1,), len(rows), device=device)  # the last is of the points without a voxel
    index = torch.where(voxels.valid, voxels.index, count)
    return first.scatter_reduce(0, index, rows, "amin")[:-1]
