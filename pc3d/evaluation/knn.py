"""kNN probe by cosine: how well do the nearest labelled features name a point? No training at all.

It is DINO's protocol, for comparison with papers. Tables with references are made with `protocol.probes`,
whose features are standardised: cosine has no meaning for columns of different units.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.evaluation.features import PointFeatures
from pc3d.evaluation.metrics import confusion_matrix, summary


@torch.no_grad()
def knn_predict(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    num_classes: int,
    k: int = 20,
    tau: float = 0.07,
    chunk: int = 1024,
) -> Tensor:
    """Vote of the k nearest neighbours by cosine, each weighing exp(cosine / tau).

    Args:
        bank: (N, C) labelled features. bank_labels: (N,) int64 in 0..num_classes-1.
        queries: (M, C).
        num_classes: K.
        k: neighbours, all N where there are fewer.
        tau: temperature of the vote.
        chunk: queries per matrix product; memory is chunk * N floats.

    Returns:
        (M,) int64 class of each query.

    Raises:
        ValueError: the bank is empty.

    Source: Wu et al., "Unsupervised feature learning via non-parametric instance discrimination",
    CVPR 2018, section 3.4; the protocol of DINO (k = 20, tau = 0.07).
    """
    if not len(bank):
        raise ValueError("kNN probe: no labelled feature to compare with")
    bank = F.normalize(bank.float(), dim=1)
    predictions = []
    for query in queries.split(chunk):
        similarity = F.normalize(query.float(), dim=1) @ bank.T
        nearest, index = similarity.topk(min(k, len(bank)), dim=1)
        # A common factor changes no vote: subtracting the largest cosine keeps exp finite.
        weight = ((nearest - nearest[:, :1]) / tau).exp()
        votes = weight.new_zeros(len(query), num_classes).scatter_add_(1, bank_labels[index], weight)
        predictions.append(votes.argmax(dim=1))
    return torch.cat(predictions) if predictions else bank_labels[:0]


def knn_probe(
    train: PointFeatures,
    val: PointFeatures,
    num_classes: int,
    k: int = 20,
    tau: float = 0.07,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """kNN probe of frozen features: `train` is the bank, `val` is scored.

    Points outside the encoder's range are no neighbours, but count in the score.

    Returns:
        As `metrics.summary` on the sampled points: `miou`, `miou_truth`, `accuracy`, `iou`, ...
        Comparable between encoders on the same sample only, not with a whole-sweep mIoU.
    """
    bank = train.within_range()
    predictions = knn_predict(
        bank.features.to(device), bank.labels.to(device), val.features.to(device), num_classes, k, tau
    )
    return summary(confusion_matrix(val.labels, predictions.cpu(), num_classes))
