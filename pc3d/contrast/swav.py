"""Swapped assignment of views to prototypes (SwAV, Caron et al., NeurIPS 2020, arXiv 2006.09882)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pc3d.contrast.nce import _float, check_pair, zero_with_graph
from pc3d.contrast.policy import Part
from pc3d.contrast.queue import FeatureQueue
from pc3d.contrast.sinkhorn import sinkhorn


def swapped_assignment(
    features: Tensor,
    others: Tensor,
    prototypes: Tensor,
    temperature: float = 0.1,
    epsilon: float = 0.03,
    rounds: int = 3,
    across_ranks: bool = False,
) -> Tensor:
    """Each view predicts the codes of the other, as ProposalContrast (ECCV 2022) separates clusters.

    -1/2 mean_i sum_k ( q'_ik log p_ik + q_ik log p'_ik ), with p_ik = softmax_k( f_i.c_k / tau ) and the
    codes q = sinkhorn(f.c), which carry no gradient; ' marks the other view.

    Args:
        features, others: (N, D) L2-normalised; row i of one belongs to row i of the other.
        prototypes: (K, D) L2-normalised. All are computed in float32 whatever their type.
        temperature: tau, 0.1 (SwAV). epsilon, rounds, across_ranks: see `sinkhorn`.

    Returns:
        float32 scalar, 0 with a graph where N is 0.
    """
    check_pair(features, others, temperature)
    if prototypes.ndim != 2 or prototypes.shape[1] != features.shape[1]:
        raise ValueError(f"prototypes must be (K, {features.shape[1]}), got {tuple(prototypes.shape)}")
    with torch.autocast(features.device.type, enabled=False):
        a, b = (_float(f) @ _float(prototypes).T for f in (features, others))
        q_a, q_b = (sinkhorn(scores, epsilon, rounds, across_ranks) for scores in (a, b))
        if len(features) == 0:
            return zero_with_graph(features, others, prototypes)
        p_a, p_b = (a / temperature).log_softmax(dim=1), (b / temperature).log_softmax(dim=1)
        return -((q_b * p_a).sum(dim=1) + (q_a * p_b).sum(dim=1)).mean() / 2


def view_assignment(
    views: Sequence[Tensor],
    prototypes: Tensor,
    rows: Sequence[Tensor] | None = None,
    assign: Sequence[int] = (0, 1),
    queues: Sequence[Tensor | None] | None = None,
    temperature: float = 0.1,
    epsilon: float = 0.05,
    rounds: int = 3,
    across_ranks: bool = False,
) -> Tensor:
    """Each of V views predicts the codes of those views that give codes, where both hold a row.

    mean_{a in assign} mean_{v != a} mean_i -sum_k q^a_ik log softmax_k( f^v_i.c_k / tau ), with the codes
    q^a = sinkhorn([queue_a C; f^a C]), of which the view's own rows are read, without gradient. i are rows
    that a and v share; a pair that shares none is left out of its mean (ours). Equation and values are the
    authors' public code's; of two views alone it is `swapped_assignment`, but for the last bits.

    Args:
        views: V of (N_v, D), L2-normalised. prototypes: (K, D) L2-normalised. All are computed in float32, or
            in float64 where they are.
        rows: V of (N_v,) int64, which row each feature is of, each at most once in a view; None where all
            views hold the same rows in the same order.
        assign: the views that give codes: whole ones (0 and 1).
        queues: for each of `assign` (L, D) features of past steps, the newest first, or None. With
            `across_ranks` they must be the same on all ranks.
        temperature: tau. epsilon, rounds, across_ranks: see `sinkhorn`.

    Returns:
        Scalar, 0 with a graph where no pair shares a row.
    """
    _check_views(views, prototypes, rows, assign, queues, temperature)
    own = [torch.arange(len(f), device=f.device) for f in views] if rows is None else rows
    places = [_places(r, own) for r in own]
    with torch.autocast(prototypes.device.type, enabled=False):
        scores = [_float(f) @ _float(prototypes).T for f in views]
        predicted = [(s / temperature).log_softmax(dim=1) for s in scores]
        means = []
        for number, a in enumerate(assign):
            past = None if queues is None else queues[number]
            codes = _codes(scores[a], past, prototypes, epsilon, rounds, across_ranks)
            terms = []
            for v in range(len(views)):
                place = places[a][own[v]]
                both = place >= 0
                if v != a and bool(both.any()):
                    terms.append(-(codes[place[both]] * predicted[v][both]).sum(dim=1).mean())
            means += [torch.stack(terms).mean()] if terms else []
        nothing = zero_with_graph(*views, prototypes)
        return torch.stack(means).mean() + nothing if means else nothing


def _places(rows: Tensor, of_all: Sequence[Tensor]) -> Tensor:
    """Position in a view by the number of a row, -1 where the view lacks it."""
    most = max(int(r.max()) + 1 if len(r) else 0 for r in of_all)
    place = torch.full((most,), -1, dtype=torch.long, device=rows.device)
    place[rows] = torch.arange(len(rows), device=rows.device)
    return place


@torch.no_grad()
def _codes(
    scores: Tensor, past: Tensor | None, prototypes: Tensor, epsilon: float, rounds: int, across_ranks: bool
) -> Tensor:
    """(N, K) codes of a view's rows, balanced together with those of past steps."""
    if past is None or not len(past):
        return sinkhorn(scores, epsilon, rounds, across_ranks)
    before = past.to(scores) @ prototypes.to(scores).T
    return sinkhorn(torch.cat([before, scores]), epsilon, rounds, across_ranks, len(past))[len(past) :]


def _check_views(
    views: Sequence[Tensor],
    prototypes: Tensor,
    rows: Sequence[Tensor] | None,
    assign: Sequence[int],
    queues: Sequence[Tensor | None] | None,
    temperature: float,
) -> None:
    if len(views) < 2:
        raise ValueError(f"{len(views)} views, expected at least 2")
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if prototypes.ndim != 2 or any(f.ndim != 2 or f.shape[1] != prototypes.shape[1] for f in views):
        shapes = [tuple(f.shape) for f in (*views, prototypes)]
        raise ValueError(f"views must be (N, D) and prototypes (K, D) of one D, got {shapes}")
    lengths = [len(f) for f in views]
    if rows is None and len(set(lengths)) > 1:
        raise ValueError(f"views have {lengths} rows: say with `rows` which they are")
    if rows is not None and [len(r) for r in rows] != lengths:
        raise ValueError(f"views have {lengths} rows, `rows` names {[len(r) for r in rows]}")
    if not assign or len(set(assign)) < len(assign) or not all(0 <= a < len(views) for a in assign):
        raise ValueError(f"assign is {tuple(assign)}, expected some of the {len(views)} views, each once")
    if queues is not None and len(queues) != len(assign):
        raise ValueError(f"{len(queues)} queues of {len(assign)} views that give codes")


class ViewQueues(Part):
    """Features of past steps of each view that gives codes, for the balance of the codes.

    The authors begin with them after 15 passes; here a queue is used once it is full (as there) and takes
    rows from the first step (ours). It holds the rows of all ranks.

    Args:
        length: L rows of each. dim: of a row. views: that give codes.
    """

    def __init__(self, length: int, dim: int, views: int = 2) -> None:
        super().__init__()
        self.queues = nn.ModuleList(FeatureQueue(length, dim) for _ in range(views))

    def _each(self) -> list[FeatureQueue]:
        return [queue for queue in self.queues if isinstance(queue, FeatureQueue)]

    def past(self) -> list[Tensor | None]:
        """For each view (L, D) rows, the newest first, or None while its queue is not full."""
        return [queue.rows().flip(0) if queue.full else None for queue in self._each()]

    def see(self, *views: Tensor) -> None:
        """Keep (N, D) rows of each view for the end of the step, while training."""
        if self.training:
            for queue, rows in zip(self._each(), views, strict=True):
                queue.push(rows)

    @torch.no_grad()
    def commit(self) -> None:
        if self.training:
            for queue in self._each():
                queue.commit()


class Prototypes(Part):
    """K learned prototypes, of unit length before each training step, as in the authors' public code.

    Args:
        count: K. dim: D. freeze: steps in which they have no gradient (the authors': 313).
    """

    def __init__(self, count: int, dim: int, freeze: int = 0) -> None:
        super().__init__()
        if count < 1 or freeze < 0:
            raise ValueError(f"{count} prototypes, freeze {freeze} steps: expected at least 1, and 0 or more")
        self.rows = nn.Parameter(F.normalize(torch.randn(count, dim), dim=1))
        self.freeze = freeze
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.steps: Tensor

    def forward(self) -> Tensor:
        """(K, D) unit rows. In training their length is set in place: once a step, before its loss."""
        if not self.training:
            return F.normalize(self.rows, dim=1)
        with torch.no_grad():
            self.rows.copy_(F.normalize(self.rows, dim=1))
        return self.rows.detach() if int(self.steps) < self.freeze else self.rows

    @torch.no_grad()
    def commit(self) -> None:
        if self.training:
            self.steps += 1
