"""Dense convolutions over BEV maps that the LiDAR encoders share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def bev_convolutions(in_channels: int, channels: int) -> nn.Sequential:
    """Two 3x3 convolutions over a BEV map, the first with batch norm and ReLU."""
    return nn.Sequential(*conv_norm_relu(in_channels, channels), nn.Conv2d(channels, channels, 3, padding=1))


def conv_norm_relu(in_channels: int, channels: int, stride: int = 1) -> list[nn.Module]:
    """A 3x3 convolution without bias, batch norm and ReLU."""
    conv = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


class BevBackbone(nn.Module):
    """The 2D backbone and neck of SECOND (Yan et al., Sensors 2018).

    Level k works at `stride` * 2^k; every level is brought back to `stride` and projected to
    `out_channels / levels`, and the levels are concatenated.

    Args:
        in_channels: width of the input map.
        widths: channels of each level.
        layers: convolutions of each level, after its first.
        out_channels: width of the output map, which the number of levels divides.
        stride: input cells per output cell along each side.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        layers: Sequence[int],
        out_channels: int,
        stride: int = 1,
    ) -> None:
        super().__init__()
        if len(widths) != len(layers) or not widths or out_channels % len(widths):
            raise ValueError(
                f"widths {tuple(widths)} and layers {tuple(layers)} need the same length, "
                f"which divides the {out_channels} output channels"
            )
        self.stride = stride
        share = out_channels // len(widths)
        before = [in_channels, *widths]
        self.levels = nn.ModuleList(
            nn.Sequential(
                *conv_norm_relu(before[i], width, stride=stride if i == 0 else 2),
                *(module for _ in range(layers[i]) for module in conv_norm_relu(width, width)),
            )
            for i, width in enumerate(widths)
        )
        self.necks = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(width, share, 2**i, stride=2**i, bias=False),
                nn.BatchNorm2d(share),
                nn.ReLU(inplace=True),
            )
            for i, width in enumerate(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, rows, cols) to (B, out_channels, rows / stride, cols / stride)."""
        rows, cols = (-(-side // self.stride) for side in x.shape[2:])
        outputs = []
        for level, neck in zip(self.levels, self.necks, strict=True):
            x = level(x)
            # A side that the stride does not divide comes back too long.
            outputs.append(neck(x)[:, :, :rows, :cols])
        return torch.cat(outputs, dim=1)
