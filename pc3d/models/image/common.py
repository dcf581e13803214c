"""What the image encoders share: levels, freezing, and images that the network's stride divides."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from typing_extensions import Self

from pc3d.models.image.base import ImageEncoder


class LevelImageEncoder(ImageEncoder):
    """An image encoder with one or more levels, which is a frozen teacher or a trained student.

    Its feature map is its levels, concatenated at the finest stride.
    """

    in_bfloat16 = False
    """Whether it runs in bfloat16 whatever is around it, for a frozen one."""
    _level_channels: tuple[int, ...]
    _level_strides: tuple[int, ...]

    @property
    def level_channels(self) -> tuple[int, ...]:
        return self._level_channels

    @property
    def level_strides(self) -> tuple[int, ...]:
        return self._level_strides

    def set_levels(self, channels: Sequence[int], strides: Sequence[int]) -> None:
        """Set the widths and strides of the levels, the finest first."""
        self._level_channels, self._level_strides = tuple(channels), tuple(strides)
        self.channels, self.stride = sum(channels), strides[0]

    def freeze(self, frozen: bool) -> None:
        """Set `frozen`, the parameters' `requires_grad` and the mode; call it when all modules exist."""
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False)
        self.train(not frozen)

    def train(self, mode: bool = True) -> Self:
        """Training mode, but never for a frozen encoder."""
        return super().train(mode and not self.frozen)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in 0..1 to (N, channels, H', W').

        Sides that the coarsest level does not divide are stretched to the next multiple.
        """
        return self.join(self.pyramid(images))

    @staticmethod
    def join(levels: Sequence[Tensor]) -> Tensor:
        """The feature map of the maps of `pyramid`."""
        first, *others = levels
        if not others:
            return first
        size = first.shape[2:]
        resized = [interpolate(level, size, mode="bilinear", align_corners=False) for level in others]
        return torch.cat((first, *resized), dim=1)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            if not self.in_bfloat16:
                return self._maps(images)
            with torch.autocast(images.device.type, torch.bfloat16):
                return [level.float() for level in self._maps(images)]

    @abstractmethod
    def _maps(self, images: Tensor) -> list[Tensor]:
        """`pyramid`, with gradients as `frozen` says."""


def resize_to_multiple(images: Tensor, divisor: int) -> Tensor:
    """Stretch (N, 3, H, W) images to the next height and width that `divisor` divides.

    Padding would shift the cells against the pixels: a feature map covers the image exactly only where
    the stride divides its size.
    """
    height, width = (-(-side // divisor) * divisor for side in images.shape[2:])
    if (height, width) == tuple(images.shape[2:]):
        return images
    return interpolate(images, (height, width), mode="bilinear", align_corners=False)
