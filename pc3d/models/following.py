"""A copy of layers that follows them as a moving average: heads beside a momentum encoder."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn


class Following(nn.Module):
    """A copy of `module` that follows it: w <- m w + (1 - m) w_module. It never has a gradient.

    Its batch-norm statistics are its own.

    Args:
        module: layers that are trained. momentum: m, in 0..1.
    """

    moves_without_gradient = True
    copy: Any  # of the type of the module

    def __init__(self, module: nn.Module, momentum: float = 0.99) -> None:
        super().__init__()
        if not 0.0 <= momentum <= 1.0:
            raise ValueError(f"momentum must lie in 0..1, got {momentum}")
        self.copy = deepcopy(module).requires_grad_(False)
        self.momentum = momentum

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Follow `module` one step."""
        for own, new in zip(self.copy.parameters(), module.parameters(), strict=True):
            own.lerp_(new, 1 - self.momentum)

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        return self.copy(*inputs)
