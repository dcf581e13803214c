"""What every image encoder gives: one dense feature map per image, or a pyramid of them."""

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

    @property
    def level_channels(self) -> tuple[int, ...]:
        """Width of each map of `pyramid`."""
        return (self.channels,)

    @property
    def level_strides(self) -> tuple[int, ...]:
        """Input pixels per cell of each map of `pyramid`, ascending."""
        return (self.stride,)

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in 0..1 to (N, channels, H', W'); normalises by itself."""

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """The maps (N, level_channels[k], H_k, W_k) of all levels, the finest first."""
        return [self(images)]
