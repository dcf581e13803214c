"""Segmentation metrics from a confusion matrix.

Three means over classes are in use, and differ on small validation sets:
- "truth": the classes that occur in the ground truth;
- "official": also the classes that were only ever predicted, which count as 0. This is what the
  nuScenes-lidarseg evaluator does; a class that neither occurs nor is predicted is left out;
- "all": every class, the others as 0, as SemanticKITTI's evaluator does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

Classes = Literal["truth", "official", "all"]


def confusion_matrix(labels: Any, predictions: Any, num_classes: int, ignore_index: int = -1) -> Tensor:
    """Count pairs of true and predicted class; add the matrices of many sweeps for a data set.

    Args:
        labels: (P,) integer tensor or array, 0..num_classes-1 or `ignore_index`.
        predictions: (P,) likewise, read where the label is not ignored.
        num_classes: K.
        ignore_index: label of the points that are left out.

    Returns:
        (K, K) int64, rows are the truth, columns the prediction.

    Raises:
        ValueError: shapes differ or a class is out of range.
    """
    labels, predictions = torch.as_tensor(labels).long(), torch.as_tensor(predictions).long()
    if labels.ndim != 1 or labels.shape != predictions.shape:
        raise ValueError(
            f"labels {tuple(labels.shape)} and predictions {tuple(predictions.shape)}, expected both (P,)"
        )
    counted = labels != ignore_index
    labels, predictions = labels[counted], predictions[counted].to(labels.device)
    for name, classes in (("labels", labels), ("predictions", predictions)):
        if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) < num_classes:
            raise ValueError(
                f"{name} span {int(classes.min())}..{int(classes.max())}, expected 0..{num_classes - 1}"
            )
    counts = torch.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def iou_per_class(confusion: Tensor) -> Tensor:
    """(K,) float64 TP / (TP + FP + FN), NaN for a class that neither occurs nor is predicted."""
    confusion = confusion.double()
    hits = confusion.diagonal()
    return hits / (confusion.sum(0) + confusion.sum(1) - hits)


def mean_iou(confusion: Tensor, classes: Classes = "truth") -> float:
    """Mean IoU over the classes that occur in the truth, or as an official evaluator has it.

    NaN for an empty matrix. See the module's docstring for the means.
    """
    if classes not in ("truth", "official", "all"):
        raise ValueError(f"classes is {classes!r}, expected 'truth', 'official' or 'all'")
    iou = iou_per_class(confusion)
    if classes == "all":
        return float(iou.nan_to_num().mean()) if confusion.sum() else float("nan")
    if classes == "truth":
        iou = iou[confusion.sum(1) > 0]
    return float(iou.nanmean())


def frequency_weighted_iou(confusion: Tensor) -> float:
    """IoU averaged with the true share of each class as its weight."""
    share = confusion.double().sum(1) / confusion.sum()
    return float((share * iou_per_class(confusion)).nansum()) if confusion.sum() else float("nan")


def accuracy(confusion: Tensor) -> float:
    """Share of points whose class is right, NaN for an empty matrix."""
    return float(confusion.double().diagonal().sum() / confusion.sum())


def summary(confusion: Tensor, class_names: Sequence[str] | None = None) -> dict[str, Any]:
    """All of the above as plain numbers.

    Returns:
        `miou` (official), `miou_truth`, `miou_all`, `fwiou`, `accuracy`, and `iou`: class name (or its index
        as text) to IoU.
    """
    names = class_names if class_names is not None else [str(index) for index in range(len(confusion))]
    if len(names) != len(confusion):
        raise ValueError(f"{len(names)} class names for {len(confusion)} classes")
    return {
        "miou": mean_iou(confusion, "official"),
        "miou_truth": mean_iou(confusion, "truth"),
        "miou_all": mean_iou(confusion, "all"),
        "fwiou": frequency_weighted_iou(confusion),
        "accuracy": accuracy(confusion),
        "iou": dict(zip(names, iou_per_class(confusion).tolist(), strict=True)),
    }
