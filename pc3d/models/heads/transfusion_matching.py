"""One-to-one matching of predicted boxes with true ones, as TransFusion trains (Bai et al., CVPR 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from pc3d.geometry.grid import BevGrid
from pc3d.models.heads.focal_loss import sigmoid_focal_loss
from pc3d.ops.nms import box_iou

_WORST = 1e6
"""Instead of a cost that is not a number: a diverged network must reach the check of its loss."""


@dataclass(frozen=True)
class MatchingCost:
    """C = class_weight * C_class + centre_weight * C_centre - iou_weight * IoU (section 3.4).

    C_class is what the focal loss of the true class's logit would fall by if it became a target. C_centre is
    the L1 distance of the centres from above, each coordinate in 0..1 over the grid. The IoU is that of the
    boxes in space. The paper leaves the weights open and names binary cross entropy for C_class; the weights
    and the focal form are those of the authors' nuScenes configuration.
    """

    class_weight: float = 0.15
    centre_weight: float = 0.25
    iou_weight: float = 0.25
    gamma: float = 2.0
    alpha: float = 0.25

    def costs(self, logits: Tensor, boxes: Tensor, truth: Tensor, labels: Tensor, grid: BevGrid) -> Tensor:
        """(Q, N) float64 costs of each pair, on the CPU.

        Args:
            logits: (Q, K) of the predictions. boxes: (Q, 9) predicted, `x y z l w h yaw vx vy`.
            truth: (N, 9). labels: (N,) int64 in 0..K-1.
            grid: which the coordinates are normalised by.
        """
        of_truth = logits.detach().double().cpu()[:, labels.cpu()]
        ones = torch.ones_like(of_truth)
        gain = [sigmoid_focal_loss(of_truth, target, self.gamma, self.alpha) for target in (ones, 0 * ones)]
        found, true = boxes.detach().double().cpu(), truth.double().cpu()
        extent = found.new_tensor([grid.x_max - grid.x_min, grid.y_max - grid.y_min])
        apart = ((found[:, None, :2] - true[None, :, :2]).abs() / extent).sum(dim=2)
        usable = found[:, :7].isfinite().all(dim=1)
        overlap = torch.zeros_like(apart)
        overlap[usable] = box_iou(found[usable, :7], true[:, :7])
        costs = (
            self.class_weight * (gain[0] - gain[1]) + self.centre_weight * apart - self.iou_weight * overlap
        )
        return costs.nan_to_num(_WORST, _WORST, -_WORST)


def match(costs: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the pairs of the cheapest one-to-one matching (the Hungarian algorithm).

    Args:
        costs: (Q, N), finite.

    Returns:
        Two (min(Q, N),) int64 tensors on the CPU.
    """
    rows, columns = linear_sum_assignment(costs.cpu().numpy())
    return torch.from_numpy(rows), torch.from_numpy(columns)
