"""Do the objectives of a joint run pull the encoders the same way?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor


def gradient_conflicts(losses: Mapping[str, Tensor], outputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Norm of each loss's gradient at shared outputs, and the cosine of each pair of gradients.

    The graph is kept, and no parameter's gradient is touched. An output that a loss does not read counts
    as a gradient of 0; the cosine with a gradient that is 0 everywhere is 0.

    Args:
        losses: scalars by name.
        outputs: tensors with a gradient that the losses were computed from.

    Returns:
        `<name>/norm` for each loss and `<a>~<b>/cosine` for each pair, detached.
    """
    gradients = {name: _flat_gradient(loss, outputs) for name, loss in losses.items()}
    report = {f"{name}/norm": gradient.norm() for name, gradient in gradients.items()}
    for a, b in combinations(gradients, 2):
        scale = (report[f"{a}/norm"] * report[f"{b}/norm"]).clamp(min=1e-30)
        report[f"{a}~{b}/cosine"] = gradients[a] @ gradients[b] / scale
    return report


def _flat_gradient(loss: Tensor, outputs: Sequence[Tensor]) -> Tensor:
    parts: Sequence[Tensor | None] = [None] * len(outputs)
    if loss.requires_grad:
        parts = torch.autograd.grad(loss, outputs, retain_graph=True, allow_unused=True)
    flat = [
        torch.zeros(output.numel(), device=output.device) if part is None else part.flatten().float()
        for part, output in zip(parts, outputs, strict=True)
    ]
    return torch.cat(flat)
