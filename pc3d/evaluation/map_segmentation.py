"""Map segmentation scored as BEVFusion (Liu et al., ICRA 2023) does: IoU of each class over thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from pc3d.data.map_targets import MAP_CLASSES

THRESHOLDS: tuple[float, ...] = (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65)
"""Of the probability, as in BEVFusion: each class is scored at the one that suits it best."""

FIXED_THRESHOLD = 0.5


class MapScore:
    """Counts true and false cells of each class at each threshold, batch after batch.

    Cells of all samples are counted together, so a class weighs by its area over the whole set and not
    by sample. A cell counts as the class where the probability is the threshold or more.

    Args:
        class_names: names of the K masks.
        thresholds: T of them; 0.5 must be one.

    Raises:
        ValueError: no class, or 0.5 is no threshold.
    """

    def __init__(
        self, class_names: Sequence[str] = MAP_CLASSES, thresholds: Sequence[float] = THRESHOLDS
    ) -> None:
        if not class_names or FIXED_THRESHOLD not in thresholds:
            raise ValueError(f"expected class names and {FIXED_THRESHOLD} among the thresholds {thresholds}")
        self.class_names = tuple(class_names)
        self.thresholds = tuple(thresholds)
        shape = (len(self.class_names), len(self.thresholds))
        self.hits = torch.zeros(shape, dtype=torch.int64)
        self.predicted = torch.zeros(shape, dtype=torch.int64)
        self.true = torch.zeros(shape[0], dtype=torch.int64)

    def add(self, probabilities: Tensor, targets: Tensor) -> None:
        """Count a batch.

        Args:
            probabilities: (B, K, rows, cols) in 0..1. targets: of the same shape, bool or 0 and 1.

        Raises:
            ValueError: shapes differ or have other classes, or a value is no probability.
        """
        if probabilities.shape != targets.shape or probabilities.ndim != 4:
            raise ValueError(
                f"probabilities {tuple(probabilities.shape)} and targets {tuple(targets.shape)}, expected "
                "both (B, K, rows, cols)"
            )
        if probabilities.shape[1] != len(self.class_names):
            raise ValueError(f"{probabilities.shape[1]} masks for classes {', '.join(self.class_names)}")
        # Negated, so that NaN is refused, too.
        if not bool(((probabilities >= 0) & (probabilities <= 1)).all()):
            raise ValueError("a map's probability is not in 0..1: apply the sigmoid to logits")
        truth = targets.to(probabilities.device).bool()
        self.true += truth.sum(dim=(0, 2, 3)).cpu()
        for t, threshold in enumerate(self.thresholds):
            positive = probabilities >= threshold
            self.predicted[:, t] += positive.sum(dim=(0, 2, 3)).cpu()
            self.hits[:, t] += (positive & truth).sum(dim=(0, 2, 3)).cpu()

    def iou(self) -> Tensor:
        """(K, T) float64 IoU, NaN where a class neither occurs nor is predicted at a threshold."""
        union = self.predicted + self.true[:, None] - self.hits
        return self.hits.double() / union.double()

    def summary(self) -> dict[str, Any]:
        """The scores as plain numbers.

        A class that does not occur in the truth is NaN and left out of the means (BEVFusion would count
        it as 0; on nuScenes all of them occur).

        Returns:
            `miou` (mean over classes of the IoU at the best threshold of each, BEVFusion's number),
            `miou_fixed` (all at 0.5), and by class name `iou`, `iou_fixed`, `threshold` (the best one)
            and `share` (part of the true cells among all classes' true cells).

        Raises:
            ValueError: nothing was counted.
        """
        if not int(self.true.sum()):
            raise ValueError("no map has been counted that has a cell of any class")
        iou = self.iou()
        iou[self.true == 0] = torch.nan
        best, at = iou.nan_to_num(-1.0).max(dim=1)
        best = torch.where(self.true > 0, best, torch.nan)
        fixed = iou[:, self.thresholds.index(FIXED_THRESHOLD)]
        return {
            "miou": float(best.nanmean()),
            "miou_fixed": float(fixed.nanmean()),
            "iou": self._by_class(best),
            "iou_fixed": self._by_class(fixed),
            "threshold": {
                name: self.thresholds[k] for name, k in zip(self.class_names, at.tolist(), strict=True)
            },
            "share": self._by_class(self.true.double() / self.true.sum()),
        }

    def _by_class(self, values: Tensor) -> dict[str, float]:
        return dict(zip(self.class_names, values.tolist(), strict=True))


def evaluate_map(
    predictions: Iterable[tuple[Tensor, Tensor]],
    class_names: Sequence[str] = MAP_CLASSES,
    thresholds: Sequence[float] = THRESHOLDS,
) -> dict[str, Any]:
    """Score batches of masks, one after the other, in the memory of one.

    Args:
        predictions: (probabilities, targets) of each batch, see `MapScore.add`.
        class_names, thresholds: see `MapScore`.

    Returns:
        See `MapScore.summary`.

    Raises:
        ValueError: a batch is malformed, or there is none.
    """
    score = MapScore(class_names, thresholds)
    for probabilities, targets in predictions:
        score.add(probabilities, targets)
    return score.summary()
