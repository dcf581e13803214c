"""Slots: cells grouped by shared prototypes, and their two losses (SlotCon, Wen et al., NeurIPS 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.nce import _float, zero_with_graph
from pc3d.ops.precision import full_precision

SMALL = 1e-6


@full_precision
def scores(features: Tensor, prototypes: Tensor) -> Tensor:
    """(M, K) cosines of (M, D) cells and (K, D) prototypes."""
    return F.normalize(_float(features), dim=1) @ F.normalize(_float(prototypes), dim=1).T


@full_precision
def slots_of(features: Tensor, dots: Tensor, sample: Tensor, size: int, temperature: float = 0.07) -> Tensor:
    """(B, K, D) means of the (M, D) cells of each sweep, weighed by softmax over prototypes + 1e-6.

    Args:
        dots: (M, K) `scores`. sample: (M,) sweep of each cell, of `size`.
    """
    share = (dots / temperature).softmax(dim=1) + SMALL
    x = _float(features)
    found = []
    for b in range(size):
        here = sample == b
        total = share[here].sum(dim=0).clamp(min=SMALL)
        found.append(share[here].T @ x[here] / total[:, None])
    return torch.stack(found)


@full_precision
def grouping_loss(
    student: Tensor, teacher: Tensor, centre: Tensor, student_temperature: float, teacher_temperature: float
) -> Tensor:
    """mean over cells of -softmax((d_T - c) / t_T) . log softmax(d_S / t_S), the teacher without gradient.

    Args:
        student, teacher: (M, K) dots of the same cells in two views. centre: (K,) c.

    Returns:
        Scalar, 0 with a graph where there are no cells.
    """
    if not len(student):
        return zero_with_graph(student)
    target = ((teacher.detach() - centre) / teacher_temperature).softmax(dim=1)
    return -(target * (student / student_temperature).log_softmax(dim=1)).sum(dim=1).mean()


def active_slots(dots: Tensor, sample: Tensor, size: int) -> Tensor:
    """(B, K) bool: prototypes that are the best one of some cell of a sweep."""
    active = torch.zeros(size, dots.shape[1], dtype=torch.bool, device=dots.device)
    active[sample, dots.argmax(dim=1)] = True
    return active


@full_precision
def slot_loss(
    predicted: Tensor, keys: Tensor, student: Tensor, teacher: Tensor, temperature: float = 0.2
) -> Tensor:
    """2 t CE over the slots that are active in both views, among all slots active in the teacher's.

    Args:
        predicted: (B, K, D) slots of the student after its predictor. keys: (B, K, D) of the teacher.
        student, teacher: (B, K) bool, active slots.

    Returns:
        Scalar, 0 with a graph where no slot is active in both.
    """
    both = student & teacher
    if not bool(both.any()):
        return zero_with_graph(predicted)
    anchors = F.normalize(_float(predicted)[both], dim=1)
    candidates = F.normalize(_float(keys).detach()[teacher], dim=1)
    place = torch.full(teacher.shape, -1, dtype=torch.long, device=teacher.device)
    place[teacher] = torch.arange(len(candidates), device=teacher.device)
    return 2 * temperature * F.cross_entropy(anchors @ candidates.T / temperature, place[both])
