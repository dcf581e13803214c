"""Quick linear probe for monitoring: logistic regression on sampled frozen features.

For comparison with papers there is the frozen `PointSegmenter` (whole sweeps, stochastic gradients), for
tables with references `protocol.probes` (to convergence, the same points for all). Their numbers and these
never stand in one column.
"""

from __future__ import annotations

from typing import Any

import torch

from pc3d.evaluation.features import PointFeatures
from pc3d.evaluation.metrics import confusion_matrix, summary


def linear_probe(
    train: PointFeatures, val: PointFeatures, num_classes: int, c: float = 1.0, iterations: int = 200
) -> dict[str, Any]:
    """Fit multinomial logistic regression on standardised `train` features and score `val`.

    Args:
        c: inverse of the L2 penalty.
        iterations: of L-BFGS.

    Returns:
        As `metrics.summary` on the sampled points.

    Raises:
        ValueError: fewer than two classes are labelled.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted = train.within_range()
    classes = fitted.labels.unique()
    if len(classes) < 2:
        raise ValueError(f"linear probe: {len(classes)} classes are labelled, at least 2 are needed")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=iterations))
    model.fit(fitted.features.double().numpy(), fitted.labels.numpy())
    predictions = torch.from_numpy(model.predict(val.features.double().numpy()))
    return summary(confusion_matrix(val.labels, predictions, num_classes))
