"""What every image encoder gives: one dense feature map per image."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn


class ImageEncoder(nn.Module):
    """Base of the image encoders.

    Attributes:
        channels: width of the feature map.
        stride: input pixels per feature cell.
        frozen: True for a teacher: no gradient, evaluation mode, whatever `train()` says.
    """

    channels: int
    stride: int
    frozen: bool

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in 0..1 to (N, channels, H', W'); normalises by itself."""
