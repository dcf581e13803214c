"""What reduces a comparison to a term for each anchor: InfoNCE in its forms, and the decoupled loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.comparison import NOTHING, Comparison, log_negatives
from pc3d.contrast.policy import Part

FORMS = ("out", "in", "each")


class Loss(Part):
    """A term for each anchor.

    Attributes:
        symmetric: the mean of both directions is taken.
        own_view: the other anchors are negatives, too.
    """

    symmetric: bool = False
    own_view: bool = False

    def pull(self, cosine: Tensor, there: Tensor) -> Tensor | None:
        """(N,) weights of the positives from the (N,) likeness of all anchors with theirs; None: all 1.

        Those without a positive of their own, of which `there` (N,) bool is False, have no part in it.
        """
        return None

    def forward(self, c: Comparison) -> tuple[Tensor, Tensor]:
        """(N,) terms, and which of them there are (N,) bool; the others are left out of the mean."""
        raise NotImplementedError


class InfoNCE(Loss):
    """-log of the positives' share of all exponentials.

    With one positive, log( e^p + Ng ) - p. With several, by `form`:
        out   mean over them of -log( e^p / (sum of all e^p + Ng) )     (SupCon, Khosla et al., NeurIPS 2020)
        in    -log( sum of all e^p / (sum of all e^p + Ng) )
        each  mean over them of -log( e^p / (e^p + Ng) )                 (FAC's L_Geo)
    A positive that stands apart (`Comparison.apart`) has its term of `each` in all forms.

    Args:
        form: see above.
        margin: m, of the positives: (cos - m) / tau; below 0 it lets noisy pairs be (InterCLR, Xie et al.,
            IJCV 2022: -0.5). arc: cos(angle + m) instead, linear beyond pi, as in the authors' code.
        smoothing: eps: the target is (1 - eps) one-hot + eps spread over all candidates (Sample4Geo, Deuser
            et al., ICCV 2023: 0.1).
        symmetric: the mean of both directions (CLIP, Sample4Geo).
    """

    neutral: ClassVar[Mapping[str, Any] | None] = MappingProxyType({})

    def __init__(
        self,
        form: str = "out",
        margin: float = 0.0,
        arc: bool = False,
        smoothing: float = 0.0,
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"unknown form {form!r} of InfoNCE; known: {', '.join(FORMS)}")
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing is {smoothing}, expected 0 or more, and less than 1")
        if arc and not -math.pi < margin < math.pi:
            raise ValueError(f"the margin of an arc is an angle between -pi and pi, got {margin}")
        self.form, self.margin, self.arc, self.smoothing = form, margin, arc, smoothing
        self.symmetric = symmetric

    def forward(self, c: Comparison) -> tuple[Tensor, Tensor]:
        positive = self._moved(c).masked_fill(~c.present, NOTHING)
        negatives = log_negatives(c)
        if self.form == "in" and c.apart is None:
            terms = F.softplus(negatives - positive.logsumexp(dim=1))
        else:
            each = self._each(c, positive, negatives)
            terms = (c.shares() * torch.where(c.present, each, 0.0)).sum(dim=1)
        if self.smoothing:
            terms = terms + self.smoothing * (c.own - self._mean_logit(c))
        return terms, c.present.any(dim=1)

    def _each(self, c: Comparison, positive: Tensor, negatives: Tensor) -> Tensor:
        """(N, P) terms of the (N, P) positives beside (N,) `log_negatives`."""

        def alone() -> Tensor:
            rivals = torch.where(c.counts > 0, negatives, NOTHING)
            return F.softplus(rivals[:, None] - positive)

        if self.form == "each" or positive.shape[1] == 1:
            return alone()
        joint = positive if c.apart is None else positive.masked_fill(c.apart, NOTHING)
        together = joint.logsumexp(dim=1)
        if self.form == "in":
            terms = F.softplus(negatives - together)[:, None].expand_as(positive)
        else:  # all positives but this one stand in its denominator beside the negatives
            terms = torch.logaddexp(together, negatives)[:, None] - positive
        return terms if c.apart is None else torch.where(c.apart, alone(), terms)

    def _moved(self, c: Comparison) -> Tensor:
        if not self.margin:
            return c.positive
        if not self.arc:
            return c.positive - self.margin / c.temperature
        cosine = (c.positive * c.temperature).clamp(-1, 1)
        sine = (1 - cosine.square()).clamp(min=torch.finfo(cosine.dtype).eps).sqrt()
        turned = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        beyond = cosine <= math.cos(math.pi - self.margin)
        linear = cosine - math.sin(math.pi - self.margin) * self.margin
        return torch.where(beyond, linear, turned) / c.temperature

    def _mean_logit(self, c: Comparison) -> Tensor:
        """(N,) mean over an anchor's own positive and its negatives."""
        negatives = c.negative.masked_fill(c.weight == -torch.inf, 0.0).sum(dim=1)
        return (c.own + negatives) / (1 + c.counts)


class DCL(Loss):
    """The decoupled contrastive loss: the positive leaves the denominator (Yeh et al., ECCV 2022).

    log Ng_i - w_i p_i with w_i = 1, or DCLW's w_i = 2 - N softmax_i( cos_i / sigma ), whose mean is 1. The
    weights carry no gradient (public codes disagree; our choice), and N and the softmax are over the anchors
    with a positive of their own; others have 1. An anchor without negatives is left out.
    The value has no floor at 0.

    Args:
        sigma: of DCLW, 0.5 in the authors' code; None for weights of 1.
        own_view: the other anchors are negatives, too, as in the authors' code; else (our choice) only the
            rows of the other side are.
    """

    def __init__(self, sigma: float | None = None, own_view: bool = False) -> None:
        super().__init__()
        if sigma is not None and sigma <= 0:
            raise ValueError(f"sigma must be positive, got {sigma}")
        self.sigma, self.own_view = sigma, own_view

    def pull(self, cosine: Tensor, there: Tensor) -> Tensor | None:
        if self.sigma is None:
            return None
        share = (cosine.detach() / self.sigma).masked_fill(~there, -torch.inf).softmax(dim=0)
        return torch.where(there, 2 - there.sum() * share, 1.0)

    def forward(self, c: Comparison) -> tuple[Tensor, Tensor]:
        used = c.present.any(dim=1) & (c.counts > 0)
        positive = (c.shares() * torch.where(c.present, c.positive, 0.0)).sum(dim=1)
        if c.pull is not None:
            positive = positive * c.pull
        terms = log_negatives(c) - positive
        return terms, used
