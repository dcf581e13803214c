"""Collapse monitors: is a compared feature still spread over its sphere?"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.ops.sampling import even_places

MAX_ROWS = 512


def _rows(features: Tensor) -> Tensor:
    """At most MAX_ROWS rows, evenly spaced, so that matched features keep their matches."""
    if len(features) <= MAX_ROWS:
        return features
    return features[even_places(len(features), MAX_ROWS, features.device)]


def effective_rank(features: Tensor) -> Tensor:
    """exp of the entropy of the singular values, scaled to sum 1: 1 (collapsed) to min(N, D).

    NaN for no rows and for features that are not finite.

    Source: Roy & Vetterli, "The effective rank", EUSIPCO 2007, definition 1.
    """
    if not len(features) or not features.isfinite().all():
        return features.new_full((), float("nan"))
    rows = features.double()
    gram = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    share = singular / singular.sum().clamp(min=torch.finfo(singular.dtype).tiny)
    return torch.special.entr(share).sum().exp().to(features.dtype)


def uniformity(features: Tensor) -> Tensor:
    """log of the mean of exp(-2 ||x - y||^2) over pairs of different rows: 0 (collapsed) to
    about -4 (spread). NaN for fewer than two rows.

    Args:
        features: (N, D), of unit length where they are compared by direction.

    Source: Wang & Isola, "Understanding contrastive representation learning through alignment and
    uniformity", ICML 2020, section 4.1.2 with t = 2.
    """
    count = len(features)
    if count < 2:
        return features.new_full((), float("nan"))
    rows = features.double()
    gram, square = rows @ rows.T, rows.square().sum(dim=1)
    distance = (square[:, None] + square - 2 * gram).clamp(min=0).fill_diagonal_(torch.inf)
    return (distance.mul(-2).exp().sum() / (count * (count - 1))).log().to(features.dtype)


@torch.no_grad()
def collapse_metrics(features_a: Tensor, features_b: Tensor | None = None) -> dict[str, Tensor]:
    """Collapse monitors of one compared feature, on at most 512 evenly spaced rows.

    All are taken of the L2-normalised rows, in float32 and without a gradient.

    Args:
        features_a: (N, D).
        features_b: (N, D), row i matched with row i of `features_a`.

    Returns:
        Scalars. `deviation`: standard deviation of a dimension, mean over dimensions, times
        sqrt(D): about 1 where the features fill the sphere, 0 where all are the same.
        `deviation_min`: the same for the flattest dimension. `effective_rank`, `uniformity`: see
        there. `alignment`, with `features_b`: mean squared distance of the matched rows
        (Wang & Isola 2020, alpha = 2), 0 for equal ones, 2 for unrelated ones. `centroid_distance`, with
        `features_b`: |mean a - mean b|, the gap between the two sides (Fahim et al., 2024), 0 to 2. All NaN
        for N = 0.

    Raises:
        ValueError: not (N, D), or the two do not match.
    """
    if features_a.ndim != 2 or (features_b is not None and features_b.shape != features_a.shape):
        other = "none" if features_b is None else tuple(features_b.shape)
        raise ValueError(f"features are {tuple(features_a.shape)} and {other}, expected (N, D) both")
    with torch.autocast(features_a.device.type, enabled=False):
        a = F.normalize(_rows(features_a).float(), dim=1)
        deviation = (a - a.mean(dim=0)).square().mean(dim=0).sqrt() * a.shape[1] ** 0.5
        metrics = {
            "deviation": deviation.mean(),
            "deviation_min": deviation.min(),
            "effective_rank": effective_rank(a),
            "uniformity": uniformity(a),
        }
        if features_b is not None:
            b = F.normalize(_rows(features_b).float(), dim=1)
            metrics["alignment"] = (a - b).square().sum(dim=1).mean()
            metrics["centroid_distance"] = (a.mean(dim=0) - b.mean(dim=0)).norm()
    return metrics
