"""The networks that ONNX can hold, as modules of tensors alone: pillars, images, heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from pc3d.models.bev.network import BevNetwork
from pc3d.models.heads.center_point import CenterHead
from pc3d.models.heads.map_segmentation import MapHead
from pc3d.models.image.common import LevelImageEncoder
from pc3d.models.lidar.pointpillars import PointPillars


class OnMap(nn.Module):
    """What stands on the maps of a `BevNetwork`'s branches: fuser, BEV backbone, head.

    Args:
        network: its branches are not run. head: on its map.
    """

    def __init__(self, network: BevNetwork, head: nn.Module) -> None:
        super().__init__()
        self.fuser, self.backbone = network.fuser, network.backbone
        self.head = head
        self.outputs = output_names(head)

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        """(B, channels, rows, cols) of each branch to the raw maps of the head, in the order of `outputs`."""
        found = self.head(self.backbone(self.fuser(torch.cat(maps, dim=1))))
        if isinstance(found, Tensor):
            return (found,)
        groups = cast("Sequence[Mapping[str, Tensor]]", found)
        return tuple(tensor for group in groups for tensor in group.values())


def output_names(head: nn.Module) -> tuple[str, ...]:
    """Names of the raw maps: `BRANCH_GROUP` of a CenterPoint head, `map` of a map head."""
    if isinstance(head, MapHead):
        return ("map",)
    assert isinstance(head, CenterHead)
    return tuple(
        f"{branch}_{number}"
        for number, group in enumerate(head.branches)
        for branch in group.outputs  # type: ignore[union-attr]
    )


class OnPillars(nn.Module):
    """PointPillars on padded pillars, and what stands on its map.

    Slots behind a pillar's last point are masked: ReLU is at least 0, so that a zero never wins against a
    point, and the output is that of the network without padding.

    Args:
        encoder: the network. on_map: on its map; None: the map is the output.
    """

    low: Tensor
    size: Tensor

    def __init__(self, encoder: PointPillars, on_map: OnMap | None) -> None:
        super().__init__()
        self.encoder, self.on_map = encoder, on_map
        self.outputs = ("bev",) if on_map is None else on_map.outputs
        grid = encoder.inputs.grid
        self.rows, self.cols = grid.shape[1:]
        axes = 3 if encoder.centre_z else 2
        self.register_buffer("low", torch.tensor(grid.limits[:axes]), persistent=False)
        self.register_buffer("size", torch.tensor(grid.size[:axes]), persistent=False)

    def forward(self, pillars: Tensor, counts: Tensor, cells: Tensor) -> tuple[Tensor, ...]:
        """Args as `pillars_of` gives them; one cloud."""
        mask = torch.arange(pillars.shape[1], device=pillars.device)[None] < counts[:, None]
        weight = mask.unsqueeze(2).to(pillars.dtype)
        xyz, axes = pillars[:, :, :3], len(self.low)
        mean = (xyz * weight).sum(dim=1, keepdim=True) / counts.clamp(min=1)[:, None, None]
        place = torch.cat((cells.flip(1), torch.zeros_like(cells[:, :1])), dim=1)[:, :axes]
        centre = ((place.to(pillars.dtype) + 0.5) * self.size + self.low)[:, None]
        decorated = torch.cat((pillars[:, :, 3:], xyz - mean, xyz[:, :, :axes] - centre), dim=2)
        hidden = self.encoder.linear(decorated)
        features = self.encoder.norm(hidden.flatten(0, 1)).reshape(hidden.shape).relu() * weight
        canvas = features.new_zeros(self.rows, self.cols, features.shape[2])
        canvas = canvas.index_put((cells[:, 0], cells[:, 1]), features.amax(dim=1))
        bev = self.encoder.backbone(canvas.permute(2, 0, 1)[None])
        return (bev,) if self.on_map is None else self.on_map(bev)


class OnImages(nn.Module):
    """An image encoder; RGB in 0..1 enters, its levels come out, the finest first."""

    def __init__(self, encoder: LevelImageEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.outputs = tuple(f"level_{i}" for i in range(len(encoder.level_strides)))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) to (N, channels, H / stride, W / stride) of each level."""
        return tuple(self.encoder.pyramid(images))
