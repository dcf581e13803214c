"""Masks of cells. A cell is masked with all its points: those that stay would tell where the others were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pc3d.ops.cells import cell_keys, cells_of


@dataclass(frozen=True)
class CellMask:
    """A hierarchical mask (NOMAE): of the coarsest cells a share is masked, of the next finer ones the same
    share of what is left, and so on.

    Attributes:
        cell: side of the finest cells, metres of the view.
        scales: levels, each of twice the side of the one before.
        ratio: expected share of the finest occupied cells that is masked (NOMAE on nuScenes: 0.7).
    """

    cell: float = 0.2
    scales: int = 3
    ratio: float = 0.7

    def __post_init__(self) -> None:
        if not (self.cell > 0 and self.scales >= 1 and 0 < self.ratio < 1):
            raise ValueError(
                f"cell {self.cell}, scales {self.scales}, ratio {self.ratio}: expected a side above 0 m, "
                "at least 1 scale, and a share between 0 and 1"
            )

    @property
    def sizes(self) -> tuple[float, ...]:
        """Side of the cells of each scale in metres, the finest first."""
        return tuple(self.cell * 2**level for level in range(self.scales))

    @property
    def share(self) -> float:
        """r of each scale: 1 - (1 - r)^scales is the ratio."""
        return 1 - (1 - self.ratio) ** (1 / self.scales)

    def masked(self, xyz: NDArray, rng: np.random.Generator) -> NDArray[np.bool_]:
        """(P,) bool: which points lie in a masked cell, whatever their order.

        Args:
            xyz: (P, 3) metres, the frame of the view.
            rng: one number of each occupied cell of each scale is drawn, the coarsest first.
        """
        finest = cells_of(xyz, self.cell)
        masked = np.zeros(len(xyz), dtype=np.bool_)
        for level in reversed(range(self.scales)):
            cells, index = np.unique(cell_keys(finest >> level), return_inverse=True)
            masked |= (rng.random(len(cells)) < self.share)[index]
        return masked
