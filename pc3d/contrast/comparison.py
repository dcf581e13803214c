"""What a contrast compares: logits of positives and of weighted negatives, read by every loss and policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pc3d.contrast.nce import _float, check_extra

NOTHING = -1e30
"""Logit of what is left out: finite, so that a sum over nothing has a gradient of 0."""
Facts = Mapping[str, Tensor]
"""What is known of rows beside their features, by the names of `FACTS`."""
FACTS = {
    "sample": "(N,) int64, the sweep of the batch",
    "ids": "(N,) int64, what tells a row from the others, wherever it stands",
    "xyz": "(N, 3) metres, in the frame of the loaded sweep",
    "time": "(N,) seconds",
    "labels": "(N,) int64 class-like ids, -1 for none",
}


@dataclass(frozen=True)
class Comparison:
    """N anchors, their positives and their candidates for negatives, in float32 or the caller's float64.

    Attributes:
        anchors: (N, D). candidates: (J, D), rows behind the first J columns of `negative`.
        positive: (N, P) logits of positives, the own one first. present: (N, P) bool, those that there are.
        negative: (N, J + S) logits of the candidates, then of synthetic rows, if any.
        weight: (N, J + S) logarithms of how often each counts: 0 once, -inf never (no negative).
        temperature: tau, with which the logits were made.
        prior: share of hidden positives among the negatives.
        share: (N, P) weights of the positives, of sum 1; None: all that are present alike.
        apart: (P,) bool, positives that have a denominator of their own beside the others'; None: none has.
        pull: (N,) factors of the positives (DCLW); None: 1.
        added: (N,) sums of further terms of each anchor, without a part in its denominator, and (N,) how
            many; their mean over all anchors is added to the loss.
        rows: (N,) weights of the anchors in the mean; None: all 1.
        partner: (N,) candidate that is an anchor's own positive, -1 for none.
        facts: of the anchors. candidate_facts: of the candidates.
    """

    anchors: Tensor
    candidates: Tensor
    positive: Tensor
    present: Tensor
    negative: Tensor
    weight: Tensor
    temperature: Tensor | float
    prior: float = 0.0
    share: Tensor | None = None
    apart: Tensor | None = None
    pull: Tensor | None = None
    added: tuple[Tensor, Tensor] | None = None
    rows: Tensor | None = None
    partner: Tensor | None = None
    facts: Facts = field(default_factory=dict)
    candidate_facts: Facts = field(default_factory=dict)

    @property
    def counts(self) -> Tensor:
        """(N,) how many negatives each anchor has."""
        return (self.weight > -torch.inf).sum(dim=1)

    @property
    def own(self) -> Tensor:
        """(N,) logits of the own positives."""
        return self.positive[:, 0]

    def shares(self) -> Tensor:
        """(N, P) weights of the positives: 0 where one is absent, of sum 1 where there is any."""
        if self.share is not None:
            return self.share
        present = self.present.to(self.positive.dtype)
        return present / present.sum(dim=1, keepdim=True).clamp(min=1)


def compare(
    anchors: Tensor,
    candidates: Tensor,
    own: Tensor,
    negative: Tensor,
    temperature: Tensor | float,
    facts: Facts | None = None,
    candidate_facts: Facts | None = None,
    positive: Tensor | None = None,
) -> Comparison:
    """A comparison of anchors with candidates.

    Args:
        anchors: (N, D). candidates: (J, D). Computed in float32, or float64 where they are.
        own: (N,) candidate that is an anchor's own positive, -1 for none.
        negative: (N, J) bool, candidates that are its negatives.
        temperature: tau.
        positive: (N, J) bool, further candidates that are its positives.

    Raises:
        ValueError: shapes that do not fit.
    """
    check_extra(anchors, candidates)
    anchors, candidates = _float(anchors), _float(candidates)
    logits = anchors @ candidates.T / temperature
    own_logit = (
        logits.gather(1, own.clamp(min=0)[:, None]) if len(candidates) else logits.new_zeros(len(own), 1)
    )
    if positive is None:
        values, present = own_logit, (own >= 0)[:, None]
    else:
        rest = positive & (torch.arange(len(candidates), device=own.device) != own[:, None])
        values = torch.cat([own_logit, logits], dim=1)
        present = torch.cat([(own >= 0)[:, None], rest], dim=1)
    weight = torch.zeros_like(logits).masked_fill(~negative, -torch.inf)
    return Comparison(
        anchors,
        candidates,
        values,
        present,
        logits,
        weight,
        temperature,
        partner=own,
        facts=facts or {},
        candidate_facts=candidate_facts or {},
    )


def add_positives(c: Comparison, logits: Tensor, present: Tensor, apart: bool = False) -> Comparison:
    """The comparison with (N, S) further positives, of which (N, S) `present` are there.

    Each weighs as much as a positive did in the mean before. `apart`: each has a denominator of its own.
    """
    share, alone = c.share, c.apart
    if apart or alone is not None:
        before = present.new_zeros(c.present.shape[1]) if alone is None else alone
        alone = torch.cat([before, present.new_full((present.shape[1],), apart)])
    if share is not None:
        before = c.present.sum(dim=1, keepdim=True)
        count = (before + present.sum(dim=1, keepdim=True)).clamp(min=1)
        share = torch.cat([share * before / count, present.to(share.dtype) / count], dim=1)
    return replace(
        c,
        positive=torch.cat([c.positive, logits], dim=1),
        present=torch.cat([c.present, present], dim=1),
        share=share,
        apart=alone,
    )


def add_negatives(c: Comparison, rows: Tensor, weight: Tensor) -> Comparison:
    """The comparison with (N, S, D) further negatives, of log-weights (N, S)."""
    return replace(
        c,
        negative=torch.cat([c.negative, logits_with(c, rows)], dim=1),
        weight=torch.cat([c.weight, weight], dim=1),
    )


def logits_with(c: Comparison, rows: Tensor) -> Tensor:
    """(N, S) logits of the anchors with (N, S, D) rows of their own."""
    return torch.einsum("nd,nsd->ns", c.anchors, rows) / c.temperature


def log_negatives(c: Comparison) -> Tensor:
    """(N,) logarithm of the weighted sum of the exponentials of an anchor's negatives.

    log Ng_i = lse_j( s_ij + w_ij ). With a class prior t > 0, the share of hidden positives of the negatives,
    log max( (Ng_i - t n_i e^{p_i}) / (1 - t), n_i e^{-1/tau} ) (Chuang et al., NeurIPS 2020, eq. 8; Robinson
    et al., ICLR 2021); the floor assumes rows of unit length. About `NOTHING` where there are no negatives.
    """
    weighted = (c.negative + c.weight).masked_fill(c.weight == -torch.inf, NOTHING)
    total = weighted.logsumexp(dim=1) if weighted.shape[1] else c.own.new_full((len(c.anchors),), NOTHING)
    if not c.prior:
        return total
    tau = c.temperature.detach() if isinstance(c.temperature, Tensor) else c.temperature
    count = c.counts.clamp(min=1).to(total.dtype).log()
    hidden = count + c.own + torch.as_tensor(c.prior, dtype=total.dtype).log() - total
    # log(Ng - hidden): where nothing would be left the floor holds, and the negatives have no gradient.
    left = hidden < 0
    rest = (
        total
        + torch.log(-torch.expm1(torch.where(left, hidden, -1.0)))
        - torch.log1p(torch.as_tensor(-c.prior, dtype=total.dtype))
    )
    floor = count - 1 / tau
    rest = torch.where(left, torch.maximum(rest, floor), floor)
    return torch.where(c.counts > 0, rest, total)
