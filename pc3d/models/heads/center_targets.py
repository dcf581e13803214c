"""What a centre-based head shall predict: heatmaps with a Gaussian at each box, and the boxes' codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from pc3d.geometry.grid import BevGrid
from pc3d.models.heads.center_code import BOX_SIZE, BRANCHES, CODE_SIZE, cells_of, encode_boxes
from pc3d.ops.device import to_device
from pc3d.ops.precision import full_precision


@dataclass(frozen=True)
class GroupTargets:
    """Targets of one group of classes for a batch; N boxes of all samples, packed.

    Attributes:
        heatmap: (B, K, rows, cols) float32 in [0, 1], 1 in the cells of box centres.
        sample: (N,) int64 sample of each box. channel: (N,) int64 its class, as in the heatmap.
        cell: (N, 2) int64 row and column of its centre.
        code: (N, 10) float32, see `encode_boxes`.
        known: (N, 10) bool, False where the box does not say (its velocity).
    """

    heatmap: Tensor
    sample: Tensor
    channel: Tensor
    cell: Tensor
    code: Tensor
    known: Tensor

    def to(self, device: torch.device) -> GroupTargets:
        """The same on a device."""
        return GroupTargets(**{f.name: to_device(getattr(self, f.name), device) for f in fields(self)})


def check_options(min_overlap: float, min_radius: int, code_weights: Sequence[float]) -> None:
    """
    Raises:
        ValueError: an option of the targets or of their loss that is out of its range.
    """
    if not 0 < min_overlap < 1 or min_radius < 0:
        raise ValueError(
            f"min_overlap {min_overlap} must lie between 0 and 1, min_radius {min_radius} be 0 or more"
        )
    if len(code_weights) != CODE_SIZE:
        raise ValueError(f"code_weights has {len(code_weights)}, expected {CODE_SIZE}: {list(BRANCHES)}")


def gaussian_radius(length: Tensor, width: Tensor, min_overlap: float = 0.1) -> Tensor:
    """Radius of the Gaussian of a box: the smallest of CornerNet's three roots.

    The roots are not divided by 2a: the first release of CornerNet and the public code of CenterNet and
    CenterPoint have them so, and the minimal overlap of 0.1 was chosen with it. (Divided, the radius would be
    that within which a displaced box still overlaps by `min_overlap`; large vehicles would get less.)

    Args:
        length, width: (N,) size of the boxes in cells.
        min_overlap: in (0, 1).

    Returns:
        (N,) radius in cells, not rounded.

    Source: Law and Deng, ECCV 2018, section 3.2; Yin et al., CVPR 2021, section 4.
    """
    total, area, m = length + width, length * width, min_overlap
    shifted = (total + (total**2 - 4 * area * (1 - m) / (1 + m)).clamp(min=0).sqrt()) / 2
    inner = total + (total**2 - 4 * (1 - m) * area).clamp(min=0).sqrt()
    outer = ((m * total) ** 2 + 4 * m * (1 - m) * area).sqrt() - m * total
    return torch.minimum(torch.minimum(shifted, inner), outer)


def paint_gaussians(maps: Tensor, plane: Tensor, cell: Tensor, radius: Tensor) -> None:
    """Raise maps, in place, to a Gaussian around each cell: the maximum where several meet.

    exp(-(dx^2 + dy^2) / (2 s^2)) with s = (2 r + 1) / 6 in the square of r cells around the centre.

    Args:
        maps: (P, rows, cols) float32. plane: (N,) int64 map of each Gaussian.
        cell: (N, 2) int64 row and column. radius: (N,) int64 r in cells.

    Source: Zhou et al., "Objects as Points", 2019, equation for Y; CornerNet's window and s.
    """
    if len(plane) == 0:
        return
    _, rows, cols = maps.shape
    reach = min(int(radius.max()), max(rows, cols))
    step = torch.arange(-reach, reach + 1, device=maps.device)
    sigma = (2 * radius + 1).to(maps.dtype) / 6
    along = torch.exp(-(step.to(maps.dtype) ** 2) / (2 * sigma[:, None] ** 2))
    row, col = cell[:, :1] + step, cell[:, 1:] + step
    near = step.abs() <= radius[:, None]
    painted = (near & (row >= 0) & (row < rows))[:, :, None] & (near & (col >= 0) & (col < cols))[:, None, :]
    index = (plane[:, None, None] * rows + row[:, :, None]) * cols + col[:, None, :]
    values = along[:, :, None] * along[:, None, :]
    maps.view(-1).scatter_reduce_(0, index[painted], values[painted], "amax")


@torch.no_grad()
@full_precision
def center_targets(
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    groups: Sequence[Sequence[int]],
    grid: BevGrid,
    min_overlap: float = 0.1,
    min_radius: int = 2,
) -> list[GroupTargets]:
    """Targets of a batch. Boxes off the grid, and of classes that no group has, are left out.

    Args:
        boxes: for each sample (N, 9) `x y z l w h yaw vx vy` in the frame of the grid, metres, radians, m/s,
            velocity NaN where unknown.
        labels: for each sample (N,) int64.
        groups: the labels of each group, in the order of its heatmap.
        grid: cells of the map.
        min_overlap, min_radius (cells): of the Gaussians.

    Raises:
        ValueError: shapes that do not belong together, sizes that are not positive, or a number (other than
            a velocity) that is not finite.
    """
    packed, label, sample = _pack(boxes, labels)
    cell, inside = cells_of(packed, grid)
    order = [c for group in groups for c in group]
    # The channel of each class; -1 where no group has it.
    channels = label.new_full((max([*order, int(label.max()) if len(label) else 0]) + 1,), -1)
    channels[torch.tensor(order, device=label.device)] = torch.arange(len(order), device=label.device)
    channel = channels[label]
    used = inside & (channel >= 0)
    packed, sample, cell, channel = packed[used], sample[used], cell[used], channel[used]
    radius = gaussian_radius(packed[:, 3] / grid.cell, packed[:, 4] / grid.cell, min_overlap)
    heatmap = packed.new_zeros(len(boxes), len(order), grid.rows, grid.cols)
    plane = sample * len(order) + channel
    paint_gaussians(heatmap.flatten(0, 1), plane, cell, radius.long().clamp(min=min_radius))
    code, known = encode_boxes(packed, grid)
    targets, first = [], 0
    for group in groups:
        of_group = (channel >= first) & (channel < first + len(group))
        maps = heatmap[:, first : first + len(group)]
        packs = (sample, channel - first, cell, code, known)
        targets.append(GroupTargets(maps, *(pack[of_group] for pack in packs)))
        first += len(group)
    return targets


def _pack(boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, labels and sample numbers of the whole batch, checked."""
    if len(boxes) != len(labels) or not boxes:
        raise ValueError(f"boxes of {len(boxes)} samples and labels of {len(labels)}, expected one of each")
    for b, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        if box.ndim != 2 or box.shape[1] != BOX_SIZE or label.shape != box.shape[:1]:
            raise ValueError(
                f"sample {b}: boxes {tuple(box.shape)} and labels {tuple(label.shape)}, "
                f"expected (N, {BOX_SIZE}) and (N,)"
            )
    packed, label = torch.cat(list(boxes)).float(), torch.cat(list(labels)).long()
    counts = torch.tensor([len(box) for box in boxes], device=packed.device)
    sample = torch.repeat_interleave(torch.arange(len(boxes), device=packed.device), counts)
    good = packed[:, :7].isfinite().all(dim=1) & (packed[:, 3:6] > 0).all(dim=1) & (label >= 0)
    if not bool(good.all()):
        bad = int((~good).nonzero()[0])
        raise ValueError(
            f"sample {int(sample[bad])} has a box {packed[bad].tolist()} with label {int(label[bad])}: "
            "expected a label of 0 or more, finite numbers (velocity aside) and positive sizes; drop such "
            "boxes on loading"
        )
    return packed, label, sample
