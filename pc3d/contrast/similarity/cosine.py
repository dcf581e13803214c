"""Inner products over a temperature, fixed or learned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pc3d.contrast.comparison import Comparison, Facts, compare
from pc3d.contrast.policy import Part


class Similarity(Part):
    """Makes the logits of a comparison.

    Class attributes:
        form: of InfoNCE, the only loss that it goes with; None: any.
        own_loss: it brings its own loss, `terms`, so that no other is set.
    """

    form: ClassVar[str | None] = None
    own_loss: ClassVar[bool] = False

    def tau(self) -> Tensor | float:
        """The temperature."""
        raise NotImplementedError

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
        """See `comparison.compare`; numbers come from the generator through `draw` only."""
        return compare(anchors, candidates, own, negative, self.tau(), facts, candidate_facts, positive)

    def terms(self, c: Comparison) -> tuple[Tensor, Tensor]:
        """As a loss gives them; only where `own_loss` is set."""
        raise NotImplementedError


class Cosine(Similarity):
    """a.b / tau, of the features as they are.

    Args:
        temperature: tau.
    """

    neutral: ClassVar[Mapping[str, Any] | None] = MappingProxyType({})

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def tau(self) -> float:
        return self.temperature


class Learned(Similarity):
    """a.b e^g with a learned g (CLIP; Sample4Geo, Deuser et al., ICCV 2023, which leaves it unbounded).

    Args:
        init: temperature e^-g at the start, 0.07. low, high: bounds of the temperature, None for none (TCL,
            Yang et al., CVPR 2022: 0.001 and 0.5).
    """

    neutral: ClassVar[Mapping[str, Any] | None] = MappingProxyType({})

    def __init__(self, init: float = 0.07, low: float | None = None, high: float | None = None) -> None:
        super().__init__()
        below, above = 0.0 if low is None else low, math.inf if high is None else high
        if not init > 0 or not below <= init <= above:
            raise ValueError(
                f"the temperature starts at {init}, expected above 0 and between {low} and {high}"
            )
        self.low, self.high = low, high
        self.scale = nn.Parameter(torch.tensor(-math.log(init)))

    def tau(self) -> Tensor:
        tau = (-self.scale).exp()
        return tau if self.low is None and self.high is None else tau.clamp(self.low, self.high)
