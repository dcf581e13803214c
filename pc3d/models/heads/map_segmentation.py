"""Map segmentation: a convolutional head that gives each class of the map a mask on a BEV grid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pc3d.geometry.grid import BevGrid
from pc3d.models.heads.focal_loss import sigmoid_focal_loss
from pc3d.models.lidar.bev_backbone import conv_norm_relu
from pc3d.ops.precision import full_precision


class MapHead(nn.Module):
    """The head of BEVFusion (Liu et al., ICRA 2023, section III): resample, two 3x3 convolutions, 1x1.

    Classes overlap (a crossing lies on the drivable area), so each is a binary decision of its own.

    Args:
        in_channels: of the BEV map.
        bev_grid: of the BEV map. map_grid: of the masks; BEVFusion: +-50 m at 0.5 m. Where it reaches
            beyond `bev_grid` the features are zero.
        num_classes: number of masks.
        hidden: channels of the two convolutions (BEVFusion: `in_channels`).
        gamma: of the focal loss. There is no weight alpha: BEVFusion's setting is -1, which turns it off.

    Raises:
        ValueError: the two grids do not overlap.
    """

    sampling: Tensor

    def __init__(
        self,
        in_channels: int,
        bev_grid: BevGrid,
        map_grid: BevGrid,
        num_classes: int = 6,
        hidden: int = 64,
        gamma: float = 2.0,
    ) -> None:
        super().__init__()
        self.bev_grid, self.map_grid = bev_grid, map_grid
        self.num_classes = num_classes
        self.gamma = gamma
        self.register_buffer("sampling", _sampling(bev_grid, map_grid), persistent=False)
        self.layers = nn.Sequential(
            *conv_norm_relu(in_channels, hidden),
            *conv_norm_relu(hidden, hidden),
            nn.Conv2d(hidden, num_classes, 1),
        )

    @full_precision
    def resample(self, bev: Tensor) -> Tensor:
        """(B, C, rows, cols) of `map_grid`: the BEV map, bilinear between the middles of its cells.

        Raises:
            ValueError: `bev` is not on `bev_grid`.
        """
        self.bev_grid.check_map(bev.shape)
        if self.bev_grid == self.map_grid:
            return bev
        grid = self.sampling.to(bev.dtype).expand(len(bev), -1, -1, -1)
        return F.grid_sample(bev, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def forward(self, bev: Tensor) -> Tensor:
        """(B, num_classes, rows, cols) logits on `map_grid` of a (B, in_channels, rows, cols) BEV map."""
        return self.layers(self.resample(bev))

    def loss(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Sigmoid focal loss, averaged over cells and samples and summed over classes, as BEVFusion's is.

        Args:
            logits: as `forward` gives them. targets: of the same shape, bool or 0 and 1.

        Returns:
            `loss_map`.

        Raises:
            ValueError: shapes differ.
        """
        if logits.shape != targets.shape:
            raise ValueError(
                f"map targets {tuple(targets.shape)} for logits {tuple(logits.shape)}: load them on the "
                "head's map_grid (`map_grid` of FrameConfig)"
            )
        # Half precision has no room for the tails of the logarithm.
        cells = sigmoid_focal_loss(logits.float(), targets.float(), self.gamma)
        return {"loss_map": cells.mean(dim=(0, 2, 3)).sum()}

    def predict(self, bev: Tensor) -> Tensor:
        """(B, num_classes, rows, cols) float32 probabilities in 0..1 of a BEV map."""
        return self(bev).float().sigmoid()


def _sampling(bev: BevGrid, target: BevGrid) -> Tensor:
    """(1, rows, cols, 2) x and y of the middles of `target`'s cells, in -1..1 from edge to edge of `bev`."""
    apart = target.x_min >= bev.x_max or target.x_max <= bev.x_min
    if apart or target.y_min >= bev.y_max or target.y_max <= bev.y_min:
        raise ValueError(f"the map's grid {target} does not overlap the BEV map's {bev}")
    x = target.x_min + (torch.arange(target.cols, dtype=torch.float64) + 0.5) * target.cell
    y = target.y_min + (torch.arange(target.rows, dtype=torch.float64) + 0.5) * target.cell
    # The cells, not the stated edges, say how far the map reaches.
    u = (x - bev.x_min) / (bev.cols * bev.cell) * 2 - 1
    v = (y - bev.y_min) / (bev.rows * bev.cell) * 2 - 1
    v, u = torch.meshgrid(v, u, indexing="ij")
    return torch.stack([u, v], dim=-1)[None].float()
