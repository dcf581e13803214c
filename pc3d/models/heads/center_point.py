"""CenterPoint's first stage: 3D boxes as points of a BEV map (Yin et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pc3d.data.classes import common_detection
from pc3d.geometry.grid import BevGrid
from pc3d.models.build import build
from pc3d.models.heads.center_code import BRANCHES, CODE_WEIGHTS
from pc3d.models.heads.center_decode import CenterDecoder
from pc3d.models.heads.center_losses import code_l1_loss, heatmap_focal_loss
from pc3d.models.heads.center_targets import center_targets, check_options
from pc3d.models.heads.detections import Detections, labels_of
from pc3d.models.heads.focal_loss import start_rare
from pc3d.models.lidar.bev_backbone import conv_norm_relu
from pc3d.ops.precision import layer_in_full

COMMON_GROUPS: tuple[tuple[str, ...], ...] = (
    ("car",),
    ("truck", "construction_vehicle"),
    ("bus", "trailer"),
    ("barrier",),
    ("motorcycle", "bicycle"),
    ("pedestrian", "traffic_cone"),
)
"""Common classes of similar size share a set of branches (CBGS, Zhu et al. 2019; CenterPoint)."""


def default_groups(detection: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """`COMMON_GROUPS` for the common classes; of others each is a group."""
    if set(detection) == set(common_detection()):
        return COMMON_GROUPS
    return tuple((name,) for name in detection)


class _GroupBranches(nn.Module):
    """The branches of one group: each a 3x3 convolution, norm, ReLU, and a 3x3 convolution to its numbers.

    The first convolutions of all branches read the same map, so that they are one wide convolution; each
    branch reads its own part of it.
    """

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        sizes = {"heatmap": classes, **BRANCHES}
        self.hidden = nn.Sequential(*conv_norm_relu(channels, width * len(sizes)))
        self.outputs = nn.ModuleDict(
            {name: nn.Conv2d(width, size, 3, padding=1) for name, size in sizes.items()}
        )
        start_rare(self.outputs["heatmap"])

    def forward(self, shared: Tensor) -> dict[str, Tensor]:
        parts = self.hidden(shared).chunk(len(self.outputs), dim=1)
        return {
            name: layer_in_full(conv, part) if name in BRANCHES else conv(part)
            for (name, conv), part in zip(self.outputs.items(), parts, strict=True)
        }


class CenterHead(nn.Module):
    """Centre heatmaps and box codes on a BEV map.

    Args:
        in_channels: width of the BEV map.
        grid: its cells; the boxes are in its frame.
        groups: names of the classes of each group, each at most once, None for `default_groups`. Boxes of
            other classes are ignored.
        shared_channels: width of the shared 3x3 convolution.
        head_channels: width of each branch.
        min_overlap, min_radius (cells): of the targets' Gaussians, see `gaussian_radius`.
        box_weight: weight of the L1 loss beside the heatmap's.
        code_weights: 10 weights of the numbers of a code, in the order of `BRANCHES`.
        decoding: options of `CenterDecoder` that differ from its defaults.
        detection: classes of the data; class k is label k. None for the common ones.

    Attributes:
        groups: labels of each group.
        detection: names of the labels.
        decoder: how boxes are read off the maps; a field of it may be changed by `dataclasses.replace`.

    Raises:
        ValueError: an unknown or repeated class, or an option out of its range.
    """

    def __init__(
        self,
        in_channels: int,
        grid: BevGrid,
        groups: Sequence[Sequence[str]] | None = None,
        shared_channels: int = 64,
        head_channels: int = 64,
        min_overlap: float = 0.1,
        min_radius: int = 2,
        box_weight: float = 0.25,
        code_weights: Sequence[float] = CODE_WEIGHTS,
        decoding: Mapping[str, Any] | None = None,
        detection: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        check_options(min_overlap, min_radius, code_weights)
        self.detection = tuple(common_detection() if detection is None else detection)
        self.groups = labels_of(groups or default_groups(self.detection), self.detection)
        self.grid = grid
        self.min_overlap, self.min_radius, self.box_weight = min_overlap, min_radius, box_weight
        self.decoder = build({**(decoding or {}), "type": "CenterDecoder"}, _DECODERS, "decoding")
        self.decoder.check_classes(self.detection)
        self.shared = nn.Sequential(*conv_norm_relu(in_channels, shared_channels))
        self.branches = nn.ModuleList(
            _GroupBranches(shared_channels, head_channels, len(group)) for group in self.groups
        )
        self.code_weights: Tensor
        self.register_buffer("code_weights", torch.tensor(code_weights), persistent=False)

    def forward(self, bev: Tensor) -> list[dict[str, Tensor]]:
        """Maps of each group.

        Args:
            bev: (B, in_channels, rows, cols) on `grid`.

        Returns:
            For each group `heatmap` (B, K, rows, cols), logits, and the branches of a box's code, `BRANCHES`:
            `reg` (B, 2, rows, cols), `height` (1), `dim` (3), `rot` (2), `vel` (2).

        Raises:
            ValueError: the map is not on the grid.
        """
        self.grid.check_map(bev.shape)
        shared = self.shared(bev)
        return [branches(shared) for branches in self.branches]

    def loss(
        self, outputs: Sequence[Mapping[str, Tensor]], boxes: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Terms of the loss; their sum is the loss.

        Args:
            outputs: of `forward`.
            boxes: for each sample (N, 9) `x y z l w h yaw vx vy` in the frame of the grid, metres, radians,
                m/s, velocity NaN where unknown (it is left out). Boxes off the grid are ignored.
            labels: for each sample (N,) int64 index into `detection`. Where boxes and labels lie, targets are
                made: best in the host's memory.

        Returns:
            `loss_heatmap` and `loss_box` (weighted already), float32, each the sum over groups, normalised by
            the number of objects of the group in the batch (at least 1). Without any box, `loss_heatmap` is
            that of empty maps and `loss_box` is 0 with a graph.

        Raises:
            ValueError: see `center_targets`; or another number of samples than the outputs have.
        """
        heatmap = outputs[0]["heatmap"]
        if len(boxes) != len(heatmap):
            raise ValueError(f"boxes of {len(boxes)} samples for outputs of {len(heatmap)}")
        targets = [
            target.to(heatmap.device)
            for target in center_targets(
                boxes, labels, self.groups, self.grid, self.min_overlap, self.min_radius
            )
        ]
        of_heatmaps, of_boxes = [], []
        for maps, target in zip(outputs, targets, strict=True):
            of_heatmaps.append(heatmap_focal_loss(maps["heatmap"], target.heatmap))
            row, col = target.cell.unbind(dim=1)
            code = torch.cat([maps[name][target.sample, :, row, col] for name in BRANCHES], dim=1)
            of_boxes.append(code_l1_loss(code, target.code, target.known, self.code_weights))
        return {
            "loss_heatmap": torch.stack(of_heatmaps).sum(),
            "loss_box": self.box_weight * torch.stack(of_boxes).sum(),
        }

    def decode(self, outputs: Sequence[Mapping[str, Tensor]]) -> list[Detections]:
        """The boxes of each sample, best first, in the frame of the grid; see `CenterDecoder`."""
        return self.decoder.decode(outputs, self.groups, self.grid, self.detection)


_DECODERS = {"CenterDecoder": CenterDecoder}
