"""Bird's-eye-view grids: which cell a metre falls into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class BevGrid:
    """A rectangular grid over x, y (m) of the LiDAR frame; a BEV map on it is (B, C, rows, cols).

    Column j covers x in [x_min + j * cell, x_min + (j + 1) * cell), row i likewise in y.
    """

    x_min: float = -54.0
    x_max: float = 54.0
    y_min: float = -54.0
    y_max: float = 54.0
    cell: float = 0.6

    def __post_init__(self) -> None:
        if self.cell <= 0 or self.x_max <= self.x_min or self.y_max <= self.y_min:
            raise ValueError(f"empty grid: {self}")

    @property
    def cols(self) -> int:
        return round((self.x_max - self.x_min) / self.cell)

    @property
    def rows(self) -> int:
        return round((self.y_max - self.y_min) / self.cell)

    def check_map(self, shape: Sequence[int]) -> None:
        """
        Raises:
            ValueError: it is not the shape (B, C, rows, cols) of a map on this grid.
        """
        if len(shape) != 4 or tuple(shape[2:]) != (self.rows, self.cols):
            raise ValueError(
                f"map of shape {tuple(shape)}, expected (B, C, {self.rows}, {self.cols}): "
                "has the network above the head another grid?"
            )
