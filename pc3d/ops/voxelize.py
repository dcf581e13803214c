"""Voxels of packed points: cubes, or cells of a cylinder around the sensor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.ops.device import constant

Range = tuple[float, float, float, float, float, float]
KINDS = ("cubic", "cylinder")
REACH = (409.6, 409.6, 51.2)
"""Metres along x, y, z, either way, to which a grid without a range goes: beyond a LiDAR's points, and not
stretched by a stray one."""
COARSEST = 16
"""Voxels along a side of the coarsest voxel of the public U-Nets, which count voxels from the sensor."""


@dataclass(frozen=True)
class VoxelGrid:
    """How space is cut.

    Attributes:
        size: extent of a voxel; cubic: x, y, z in metres; cylinder: rho in metres, phi in degrees, z in
            metres (SuperFlow: 0.1, 1, 0.1).
        point_range: x_min, y_min, z_min, x_max, y_max, z_max in metres; points outside have no voxel. None
            for all points within `REACH`: voxels then begin at multiples of their size, and the voxels of
            the coarser levels at multiples of theirs, as in SLidR's code (SuperFlow's rounds to the
            nearest and counts from the lowest voxel of each sweep).
        kind: `cubic` or `cylinder`.
    """

    size: tuple[float, float, float]
    point_range: Range | None
    kind: str = "cubic"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of voxel {self.kind!r}; known: {', '.join(KINDS)}")
        if len(self.size) != 3 or len(self.limits) != 6:
            raise ValueError(
                f"size needs 3 numbers and point_range 6, got {self.size} and {self.point_range}"
            )
        low, high = self.limits[:3], self.limits[3:]
        if min(self.size) <= 0 or any(a >= b for a, b in zip(low, high, strict=True)):
            raise ValueError(f"empty voxel grid: size {self.size}, point_range {self.point_range}")

    @property
    def limits(self) -> Range:
        """`point_range`, or the reach where there is none."""
        x, y, z = REACH
        return self.point_range or (-x, -y, -z, x, y, z)

    @property
    def bounds(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Lowest and highest coordinate along the three axes of the grid."""
        x0, y0, z0, x1, y1, z1 = self.limits
        low: tuple[float, ...] = (x0, y0, z0)
        high: tuple[float, ...] = (x1, y1, z1)
        if self.kind == "cylinder":
            farthest = math.hypot(max(abs(x0), abs(x1)), max(abs(y0), abs(y1)))
            low, high = (0.0, -180.0, z0), (farthest, 180.0, z1)
        if self.point_range is None:
            steps = [COARSEST * size for size in self.size]
            low = tuple(step * math.floor(a / step + 1e-6) for a, step in zip(low, steps, strict=True))
        return low, high

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along z, y, x (cylinder: z, phi, rho)."""
        low, high = self.bounds
        sides = ((b - a) / s for a, b, s in zip(low, high, self.size, strict=True))
        # The small slack keeps 108 / 0.1 at 1080 whatever the rounding.
        x, y, z = (max(1, math.ceil(min(side, 2**62) - 1e-6)) for side in sides)
        return z, y, x

    def coordinates(self, xyz: Tensor) -> Tensor:
        """(P, 3) points along the axes of the grid: x, y, z or rho, phi (degrees), z."""
        if self.kind == "cubic":
            return xyz
        x, y, z = xyz.unbind(1)
        return torch.stack((torch.hypot(x, y), torch.rad2deg(torch.atan2(y, x)), z), dim=1)

    def cells(self, xyz: Tensor) -> Tensor:
        """(P, 3) int64 voxel along each axis of the grid of points within the limits."""
        along, (low, _) = self.coordinates(xyz), self.bounds
        if self.point_range is None:  # no shift rounds a point into the next voxel
            first = [round(a / size) for a, size in zip(low, self.size, strict=True)]
            cell = (along / constant(self.size, along)).floor().long()
            cell = cell - constant(first, cell)
        else:
            cell = ((along - constant(low, along)) / constant(self.size, along)).floor().long()
        # Rounding may put a point just below an upper bound into the cell behind it.
        z_cells, y_cells, x_cells = self.shape
        limit = constant((x_cells - 1, y_cells - 1, z_cells - 1), cell)
        return torch.minimum(cell.clamp(min=0), limit)

    def centers(self, coords: Tensor) -> Tensor:
        """(N, 3) x, y, z in metres of the centres of voxels (N, 4) given as (sample, z, y, x)."""
        low, _ = self.bounds
        cells = coords[:, 1:].flip(1).to(torch.float32) + 0.5
        centers = cells * constant(self.size, cells) + constant(low, cells)
        if self.kind == "cubic":
            return centers
        rho, phi, z = centers.unbind(1)
        phi = torch.deg2rad(phi)
        return torch.stack((rho * phi.cos(), rho * phi.sin(), z), dim=1)


@dataclass
class Voxels:
    """Occupied voxels of a packed batch.

    Attributes:
        coords: (N, 4) int64 (sample, z, y, x), each once, ascending.
        index: (P,) int64 voxel of each point, -1 for points out of range.
        shape: number of voxels along z, y, x.
        batch_size: number of samples.
    """

    coords: Tensor
    index: Tensor
    shape: tuple[int, int, int]
    batch_size: int

    @property
    def valid(self) -> Tensor:
        """(P,) bool, True for points within the range."""
        return self.index >= 0

    def __len__(self) -> int:
        return len(self.coords)


def in_range(xyz: Tensor, point_range: Range) -> Tensor:
    """(P,) bool: lower bounds are inside, upper bounds outside; NaN is outside."""
    bounds = constant(point_range, xyz)
    return ((xyz >= bounds[:3]) & (xyz < bounds[3:])).all(dim=1)


def voxelize(xyz: Tensor, batch: Tensor, batch_size: int, grid: VoxelGrid) -> Voxels:
    """Find the occupied voxels.

    Args:
        xyz: (P, 3) metres.
        batch: (P,) int64 sample of each point, 0..batch_size-1.
        batch_size: number of samples.
        grid: how space is cut.

    Returns:
        The voxels; their order depends on where they are only, not on the order of the points.
    """
    if xyz.ndim != 2 or xyz.shape[1] != 3 or batch.shape != xyz.shape[:1]:
        raise ValueError(f"xyz {tuple(xyz.shape)} and batch {tuple(batch.shape)}: expected (P, 3) and (P,)")
    z_cells, y_cells, x_cells = grid.shape
    x, y, z = grid.cells(xyz).unbind(1)
    key = ((batch * z_cells + z) * y_cells + y) * x_cells + x
    # One voxel more, the last, for the points that have none, and a point more that makes sure of it: a
    # GPU's host waits once, for the number of voxels.
    none = batch_size * z_cells * y_cells * x_cells
    key = F.pad(torch.where(in_range(xyz, grid.limits), key, none), (0, 1), value=none)
    key, index = torch.unique(key, return_inverse=True)
    index = torch.where(index[:-1] == len(key) - 1, -1, index[:-1])
    return Voxels(_unravel(key[:-1], grid.shape), index, grid.shape, batch_size)


def _unravel(key: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """(N, 4) (sample, z, y, x) of flat keys."""
    z_cells, y_cells, x_cells = shape
    column = torch.div(key, x_cells, rounding_mode="floor")
    layer = torch.div(column, y_cells, rounding_mode="floor")
    sample = torch.div(layer, z_cells, rounding_mode="floor")
    return torch.stack((sample, layer % z_cells, column % y_cells, key % x_cells), dim=1)
