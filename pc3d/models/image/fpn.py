"""Feature pyramid network: the levels of a backbone joined into one map of its finest stride."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import interpolate

from pc3d.models.image.base import ImageEncoder
from pc3d.models.image.common import LevelImageEncoder


class FPN(LevelImageEncoder):
    """Top-down path over the levels of a backbone (Lin et al., CVPR 2017).

    Each level is projected to `channels`; from the coarsest down, it is added to the next finer one, and
    a 3x3 convolution smooths the finest sum. That map alone is given, as BEVFusion and LSS read it.

    Args:
        backbone: the encoder with the levels. A frozen one stays frozen while the neck trains.
        channels: width of the map.
        frozen: freeze the neck and the backbone.
    """

    def __init__(self, backbone: ImageEncoder, channels: int = 256, frozen: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.laterals = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in backbone.level_channels)
        self.smooth = nn.Conv2d(channels, channels, 3, padding=1)
        self.set_levels([channels], backbone.level_strides[:1])
        self.freeze(frozen)

    def _maps(self, images: Tensor) -> list[Tensor]:
        levels = self.backbone.pyramid(images)
        *finer, above = (lateral(level) for lateral, level in zip(self.laterals, levels, strict=True))
        for level in reversed(finer):
            above = level + interpolate(above, level.shape[2:])
        return [self.smooth(above)]
