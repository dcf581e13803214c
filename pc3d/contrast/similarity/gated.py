"""Any two classes as a pair, compared in the dimensions that a gate opens (Wu et al., 2024, "SimLAP")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pc3d.contrast.comparison import Comparison, Facts
from pc3d.contrast.nce import _float, check_extra
from pc3d.contrast.policy import draw, row_keys
from pc3d.contrast.similarity.cosine import Similarity

FLOOR = 1e-24
"""Least square of a norm."""


class OpenGate(Similarity):
    """Gates of 1: a plain contrast of rows with those of another label, the limit of `Gated`.

    Each anchor i of label y_i gets another label y'_i, by a random permutation of the candidates' labels.
    Positives are the candidates of label y'_i, negatives those of neither label; the row itself and its
    partner are no positives where y'_i = y_i (they are in the authors' code; our choice). Pairs that the
    objective ignores are neither. A row without a label (-1) is neither, and no anchor (our choice).
    The mean is over pairs of an anchor and a positive, each with its own denominator: InfoNCE's form `each`.

    Args:
        temperature: tau, 0.1 in another public code.
    """

    wants = ("labels",)
    neutral: ClassVar[Mapping[str, Any] | None] = None
    form = "each"

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def tau(self) -> float:
        return self.temperature

    def gates(self, labels: Tensor, others: Tensor, width: int) -> Tensor:
        """(N, width) gates of pairs of labels, of 0 or more; what the pair of a -1 gets is not used."""
        return torch.ones(len(labels), width, device=labels.device)

    def second_labels(self, labels: Tensor, keys: Tensor, generator: torch.Generator) -> Tensor:
        """(J,) y' of the candidates: their labels permuted, by the key of each row; -1 where it has none."""
        places = (labels >= 0).nonzero()[:, 0]
        numbers = draw(generator, keys[places], 2)
        second = torch.full_like(labels, -1)
        second[places[numbers[:, 0].argsort()]] = labels[places[numbers[:, 1].argsort()]]
        return second

    def compare(
        self,
        anchors: Tensor,
        candidates: Tensor,
        own: Tensor,
        negative: Tensor,
        facts: Facts,
        candidate_facts: Facts,
        positive: Tensor | None,
        generator: torch.Generator,
    ) -> Comparison:
        check_extra(anchors, candidates)
        first, theirs = facts["labels"], candidate_facts["labels"]
        keys = row_keys(candidate_facts, len(candidates), candidates.device)
        drawn = self.second_labels(theirs, keys, generator)
        second = torch.where((own >= 0) & (first >= 0), drawn[own.clamp(min=0)], -1)
        eligible = negative if positive is None else negative | positive
        columns = torch.arange(len(candidates), device=own.device)
        present = eligible & (theirs == second[:, None]) & (theirs >= 0) & (columns != own[:, None])
        negative = negative & (theirs != first[:, None]) & (theirs != second[:, None]) & (theirs >= 0)
        logits = self.logits(anchors, candidates, first, second)
        own_logit = logits.gather(1, own.clamp(min=0)[:, None])
        return Comparison(
            _float(anchors),
            _float(candidates),
            torch.cat([own_logit, logits], dim=1),
            torch.cat([torch.zeros_like(own, dtype=torch.bool)[:, None], present], dim=1),
            logits,
            torch.zeros_like(logits).masked_fill(~negative, -torch.inf),
            self.temperature,
            rows=present.sum(dim=1),
            partner=own,
            facts=facts,
            candidate_facts=candidate_facts,
        )

    def logits(self, anchors: Tensor, candidates: Tensor, labels: Tensor, others: Tensor) -> Tensor:
        """(N, J) cos(g_i a_i, g_i b_j) / tau by two matrix products.

        g_i a_i . g_i b_j = (g_i^2 a_i) . b_j, and |g_i b_j|^2 = g_i^2 . b_j^2.
        """
        anchors, candidates = _float(anchors), _float(candidates)
        squares = self.gates(labels, others, anchors.shape[1]).to(anchors.dtype).square()
        ours = (squares * anchors.square()).sum(dim=1, keepdim=True).clamp(min=FLOOR).sqrt()
        theirs = (squares @ candidates.square().T).clamp(min=FLOOR).sqrt()
        return (squares * anchors) @ candidates.T / (ours * theirs) / self.temperature


class Gated(OpenGate):
    """Pairs of any two labels, compared in the dimensions that a gate opens for the pair.

    logit_ij = cos(g_i a_i, g_i b_j) / tau,   g_i = sigmoid( MLP( (e_y + e_y') / 2 ) ),   y = y_i, y' = y'_i
    with a learned e of each label; what the pairs are see `OpenGate`. Read in another public code, which
    holds no release of the authors; there the MLP has batch normalisation, here none (our choice).

    Args:
        classes: number of labels, 0 to classes - 1.
        width: of e and of the hidden layer.
        temperature: tau.
        dim: of the compared features.
    """

    def __init__(self, classes: int, width: int = 256, temperature: float = 0.1, dim: int = 64) -> None:
        super().__init__(temperature)
        if classes < 1 or width < 1 or dim < 1:
            raise ValueError(f"classes {classes}, width {width}, dim {dim}: expected at least 1 of each")
        self.classes = classes
        self.embedding = nn.Embedding(classes, width)
        self.gate = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, dim))

    def gates(self, labels: Tensor, others: Tensor, width: int) -> Tensor:
        for side in (labels, others):
            if len(side) and int(side.max()) >= self.classes:
                raise ValueError(f"label {int(side.max())} is not below Gated's {self.classes} classes")
        pair = self.embedding(labels.clamp(min=0)) + self.embedding(others.clamp(min=0))
        return self.gate(pair / 2).sigmoid()
