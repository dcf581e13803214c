"""Multinomial logistic regression to convergence: Newton steps by preconditioned conjugate gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = 1e-6
"""Largest entry of the gradient of the mean loss at which the fit has converged."""
_MOST_STEPS = 100
_MOST_CONJUGATE = 250
_PRECONDITIONER_COST = 5e9
"""Products that the preconditioner may cost a step, rows * columns^2 * classes: of wide features it is
estimated on some of the rows."""


@dataclass(frozen=True, eq=False)
class Logistic:
    """A fitted model.

    Attributes:
        weight: (C + 1, K) float64, the last row is the bias.
        classes: (K,) int64 label of each column, ascending: those of the training part.
        gradient: largest entry of the gradient of the objective (a mean over points) where the fit ended.
        steps: Newton steps.
    """

    weight: Tensor
    classes: Tensor
    gradient: float
    steps: int

    @property
    def converged(self) -> bool:
        return self.gradient <= TOLERANCE

    def probabilities(self, features: Tensor) -> Tensor:
        """(M, K) float64 of (M, C) features, in the order of `classes`."""
        return torch.softmax(_logits(features.double(), self.weight), dim=1)

    def predict(self, features: Tensor) -> Tensor:
        """(M,) int64 label of (M, C) features."""
        return self.classes[_logits(features.double(), self.weight).argmax(dim=1)]


def fit_logistic(features: Tensor, labels: Tensor, c: float = 1.0) -> Logistic:
    """Minimise mean cross-entropy + |W|^2 / (2 c N); the bias is not penalised.

    It is the objective of scikit-learn's `LogisticRegression(C=c)`, which is convex: where the gradient is
    zero there is nothing better. Classes without a point are none of the model.

    Args:
        features: (N, C), standardised. labels: (N,) int64.
        c: inverse of the penalty.

    Raises:
        ValueError: fewer than two classes occur, or c is not positive.

    Source: truncated Newton with a block-diagonal preconditioner (Nocedal and Wright, Numerical Optimization,
    2nd edition, algorithm 7.1 and section 5.1).
    """
    if not c > 0:
        raise ValueError(f"c is {c}, expected more than 0")
    classes, index = labels.unique(return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"logistic probe: {len(classes)} classes are labelled, at least 2 are needed")
    problem = _Problem(features.double(), index, len(classes), 1 / (c * len(labels)))
    weight = features.new_zeros(features.shape[1] + 1, len(classes), dtype=torch.float64)
    steps = 0
    loss, probabilities, gradient = problem.evaluate(weight)
    while float(gradient.abs().max()) > TOLERANCE and steps < _MOST_STEPS:
        direction = problem.newton_direction(probabilities, gradient)
        slope, length = float((gradient * direction).sum()), 1.0
        while length > 1e-8:
            found = problem.evaluate(weight + length * direction)
            enough = found[0] <= loss + 1e-4 * length * slope
            # Near the minimum the decrease is below what float64 tells of the loss: the gradient says it.
            if enough or (found[0] <= loss + 1e-12 and found[2].norm() < 0.9 * gradient.norm()):
                break
            length /= 2
        else:
            break
        weight = weight + length * direction
        loss, probabilities, gradient = found
        steps += 1
    return Logistic(weight, classes, float(gradient.abs().max()), steps)


class _Problem:
    """Loss, gradient and products with the Hessian of one fit; weights are (C + 1, K)."""

    def __init__(self, features: Tensor, index: Tensor, classes: int, penalty: float) -> None:
        self.x = torch.cat([features, features.new_ones(len(features), 1)], dim=1)
        self.index = index.unsqueeze(1)
        self.classes = classes
        self.penalty = features.new_full((self.x.shape[1], 1), penalty)
        self.penalty[-1] = 0.0

    def evaluate(self, weight: Tensor) -> tuple[float, Tensor, Tensor]:
        """Loss, (N, K) probabilities and the gradient."""
        logarithms = torch.log_softmax(self.x @ weight, dim=1)
        loss = -logarithms.gather(1, self.index).mean() + 0.5 * (self.penalty * weight**2).sum()
        probabilities = logarithms.exp()
        residual = probabilities.scatter_add(1, self.index, probabilities.new_full(self.index.shape, -1.0))
        return float(loss), probabilities, self.x.T @ residual / len(self.x) + self.penalty * weight

    def newton_direction(self, probabilities: Tensor, gradient: Tensor) -> Tensor:
        """Minus the inverse Hessian times the gradient, as exactly as the step deserves."""
        apply = self._preconditioner(probabilities)
        goal = min(0.1, float(gradient.norm()) ** 0.5) * float(gradient.norm())
        direction, residual = torch.zeros_like(gradient), -gradient
        scaled = apply(residual)
        search, product = scaled, float((residual * scaled).sum())
        for _ in range(_MOST_CONJUGATE):
            image = self._hessian(probabilities, search)
            length = product / max(float((search * image).sum()), 1e-300)
            direction, residual = direction + length * search, residual - length * image
            if float(residual.norm()) <= goal:
                break
            scaled = apply(residual)
            before, product = product, float((residual * scaled).sum())
            search = scaled + product / before * search
        return direction

    def _hessian(self, probabilities: Tensor, vector: Tensor) -> Tensor:
        moved = probabilities * (self.x @ vector)
        moved -= probabilities * moved.sum(dim=1, keepdim=True)
        return self.x.T @ moved / len(self.x) + self.penalty * vector

    def _preconditioner(self, probabilities: Tensor):  # type: ignore[no-untyped-def]
        """The inverse of the Hessian's block of each class, estimated on some of the rows."""
        columns = self.x.shape[1]
        rows = max(4 * columns, int(_PRECONDITIONER_COST / (columns**2 * self.classes)))
        some = slice(None, None, -(-len(self.x) // rows))
        x, p = self.x[some], probabilities[some]
        spread = p * (1 - p)
        ridge = torch.diag(self.penalty.squeeze(1) + 1e-9)
        blocks = torch.stack([(x * spread[:, k : k + 1]).T @ x / len(x) + ridge for k in range(self.classes)])
        factors = torch.linalg.cholesky(blocks)
        return lambda vector: torch.cholesky_solve(vector.T.unsqueeze(2), factors).squeeze(2).T


def _logits(features: Tensor, weight: Tensor) -> Tensor:
    return features @ weight[:-1] + weight[-1]
