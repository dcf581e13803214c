"""Terms of triple contrast: across modalities with soft targets, global to local (TCL, CVPR 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.comparison import NOTHING
from pc3d.contrast.nce import _float, zero_with_graph
from pc3d.ops.precision import full_precision


@full_precision
def soft_contrast(
    anchors: Tensor,
    keys: Tensor,
    momentum: Tensor,
    queue: Tensor,
    temperature: Tensor | float,
    alpha: float = 0.4,
) -> Tensor:
    """Cross-entropy of anchors over c = [keys, queue], of targets alpha softmax(m.c / tau) + (1 - alpha) own.

    Yang et al., TCL, CVPR 2022, as in the authors' code.

    Args:
        anchors: (N, D) of the online network. keys: (N, D) of the other side's momentum network.
        momentum: (N, D) of the anchors' own momentum network, which gives the soft part.
        queue: (Q, D) older keys. temperature: tau. alpha: share of the soft part, 0.4; 0 is InfoNCE.

    Returns:
        Scalar, 0 with a graph where N is 0.
    """
    if not len(anchors):
        return zero_with_graph(anchors)
    others = torch.cat([_float(keys), queue.to(_float(keys))]).detach()
    logits = _float(anchors) @ others.T / temperature
    target = torch.eye(len(anchors), len(others), device=anchors.device, dtype=logits.dtype)
    if alpha:
        with torch.no_grad():
            soft = (_float(momentum) @ others.T / temperature).softmax(dim=1)
        target = alpha * soft + (1 - alpha) * target
    return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()


@full_precision
def local_mutual_information(
    anchors: Tensor, local: Tensor, present: Tensor, temperature: Tensor | float = 0.07
) -> Tensor:
    """mean_{i,q} log( e^(m_i.l_iq / tau) + sum_{j != i, r} e^(m_i.l_jr / tau) ) - m_i.l_iq / tau.

    Args:
        anchors: (N, D) m of groups. local: (N, Q, D) l of the groups' parts, of the momentum network.
        present: (N, Q) bool: a group without parts is left out of both sides.

    Returns:
        Scalar, 0 with a graph where no group has a part.
    """
    if not bool(present.any()):
        return zero_with_graph(anchors)
    count, parts, _ = local.shape
    logits = (_float(anchors) @ _float(local).detach().flatten(0, 1).T / temperature).view(
        count, count, parts
    )
    own = logits[torch.arange(count), torch.arange(count)]
    others = ~torch.eye(count, dtype=torch.bool, device=logits.device)[..., None] & present[None]
    rest = logits.masked_fill(~others, NOTHING).flatten(1).logsumexp(dim=1, keepdim=True)
    return F.softplus(rest - own)[present].mean()
