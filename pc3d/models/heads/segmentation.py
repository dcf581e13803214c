"""Semantic segmentation of points: a head on the point features of a LiDAR encoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pc3d.data.batch import Batch, PointView
from pc3d.data.plugins import Registry
from pc3d.models.heads.lovasz import lovasz_softmax
from pc3d.models.lidar.base import LidarEncoder

IGNORED = -1


def _mlp(channels: int, num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(channels, channels),
        nn.BatchNorm1d(channels),
        nn.ReLU(inplace=True),
        nn.Linear(channels, num_classes),
    )


POINT_HEADS: Registry[nn.Module] = Registry(nn.Module, {"linear": nn.Linear, "mlp": _mlp})
"""From (P, channels) features to (P, num_classes) scores, built from these two numbers."""


def _make_head(name: str, channels: int, num_classes: int) -> nn.Module:
    if name not in POINT_HEADS:
        raise ValueError(f"head {name!r} is unknown: choose 'linear', 'mlp' or module:Class")
    return POINT_HEADS[name](channels, num_classes)


class PointSegmenter(nn.Module):
    """A LiDAR encoder with a per-point classifier: fine-tuning, or a linear probe as in papers if frozen.

    Cross-entropy plus `lovasz_weight` times Lovasz-softmax (SuperFlow's downstream loss).

    Args:
        encoder: gives the point features.
        num_classes: classes 0..num_classes-1; label -1 is ignored.
        head: "linear", "mlp" (one hidden layer as wide as the features), or `module:Class`.
        freeze: the encoder takes no gradient (`requires_grad` of its parameters is turned off)
            and runs without a graph.
        frozen_statistics: with `freeze`, the encoder also stays in evaluation mode whatever
            `train()` says, so that the features of a point do not change during the probe. False
            lets batch-norm statistics follow the probe's data, as SuperFlow's code does and SLidR's
            does not: the two protocols are not comparable.
        lovasz_weight: weight of the Lovasz term.
    """

    learns_from = "labelled point"

    def __init__(
        self,
        encoder: LidarEncoder,
        num_classes: int,
        head: str = "linear",
        freeze: bool = False,
        frozen_statistics: bool = True,
        lovasz_weight: float = 2.0,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes is {num_classes}, expected at least 2")
        self.encoder = encoder
        self.num_classes = num_classes
        self.freeze = freeze
        self.frozen_statistics = frozen_statistics
        self.lovasz_weight = lovasz_weight
        self.head = _make_head(head, encoder.point_channels, num_classes)
        if freeze:
            encoder.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> PointSegmenter:
        super().train(mode)
        if self.freeze and self.frozen_statistics:
            self.encoder.eval()
        return self

    def logits(self, view: PointView) -> Tensor:
        """(P, K) class scores of the points of a view; a point outside the encoder's range gets
        the head's answer to zero features."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            features = self.encoder(view, want_bev=False).points
        return self.head(features)

    forward = logits

    @torch.no_grad()
    def predict(self, view: PointView) -> Tensor:
        """(P,) int64 most likely class of each point of a view."""
        return self.logits(view).argmax(dim=1)

    def loss(self, batch: Batch, view: str = "a") -> dict[str, Tensor]:
        """Terms of the loss on one view of the key frames; their sum is the loss.

        Returns:
            `loss_ce` and, unless its weight is 0, `loss_lovasz` (weighted already). Without a
            labelled point both are 0 with a graph.

        Raises:
            ValueError: the batch has no labels, or a label is out of range.
        """
        if batch.now.labels is None:
            raise ValueError("the batch has no labels: ask the loader for them (Needs(labels=True))")
        points, host = batch.now.views[view], batch.host.now
        assert host.labels is not None
        self._check(host.labels[host.views[view].row])
        return self._loss(self.logits(points), batch.now.labels[points.row])

    def examples(self, batch: Batch, view: str = "a") -> Tensor:
        """Labelled points of a view."""
        assert batch.now.labels is not None
        return (batch.now.labels[batch.now.views[view].row] != IGNORED).sum().float()

    def loss_of_logits(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The terms of `loss` for (P, K) scores and (P,) labels."""
        self._check(labels)
        return self._loss(logits, labels)

    def _check(self, labels: Tensor) -> None:
        if len(labels) and not -1 <= int(labels.min()) <= int(labels.max()) < self.num_classes:
            raise ValueError(
                f"labels span {int(labels.min())}..{int(labels.max())}, expected -1 (ignored) to "
                f"{self.num_classes - 1}: does the label map belong to this head?"
            )

    def _loss(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = logits.float()
        # A sum over ignored points only is 0 with a graph, where the mean would be NaN.
        count = (labels != IGNORED).sum().clamp(min=1)
        losses = {"loss_ce": F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum") / count}
        if self.lovasz_weight:
            losses["loss_lovasz"] = self.lovasz_weight * lovasz_softmax(
                logits.softmax(dim=1), labels, IGNORED
            )
        return losses
