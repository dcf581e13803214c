"""Settings of all batch norms of an encoder."""

from __future__ import annotations

from torch import nn


def set_norms(module: nn.Module, eps: float, momentum: float) -> None:
    """Set epsilon and the momentum of the running statistics of every batch norm in `module`."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.eps, part.momentum = eps, momentum
