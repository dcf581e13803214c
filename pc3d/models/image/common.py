"""What the image encoders share: freezing, and images that the network's stride divides."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate
from typing_extensions import Self

from pc3d.models.image.base import ImageEncoder


class FreezableImageEncoder(ImageEncoder):
    """An image encoder that is a frozen teacher or a trained student, as its constructor says."""

    def freeze(self, frozen: bool) -> None:
        """Set `frozen`, the parameters' `requires_grad` and the mode; call it when all modules exist."""
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False)
        self.train(not frozen)

    def train(self, mode: bool = True) -> Self:
        """Training mode, but never for a frozen encoder."""
        return super().train(mode and not self.frozen)


def resize_to_multiple(images: Tensor, divisor: int) -> Tensor:
    """Stretch (N, 3, H, W) images to the next height and width that `divisor` divides.

    Padding would shift the cells against the pixels: a feature map covers the image exactly only where
    the stride divides its size.
    """
    height, width = (-(-side // divisor) * divisor for side in images.shape[2:])
    if (height, width) == tuple(images.shape[2:]):
        return images
    return interpolate(images, (height, width), mode="bilinear", align_corners=False)
