"""A pretrained backbone in somebody's own code."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pc3d.api.hub import local_path
from pc3d.data.batch import PointView
from pc3d.export.source import read_source
from pc3d.models.image.common import LevelImageEncoder
from pc3d.models.lidar import LidarEncoder
from pc3d.models.lidar.inputs import PointInputs
from pc3d.ops.voxelize import Voxels

Cloud = NDArray[np.floating] | Tensor
Picture = NDArray[np.uint8] | NDArray[np.floating] | Tensor


@dataclass(frozen=True)
class Encoded:
    """Features of some clouds.

    Attributes:
        points: for each cloud (N, point_channels), a row per point; zeros where `valid` is False.
        valid: for each cloud (N,) bool, False for points outside of the encoder's range.
        bev: (B, bev_channels, rows, cols) on the encoder's `grid`, or None where it was not asked for.
        voxels: occupied voxels of all clouds, `coords` (V, 4) sample, z, y, x, `index` the voxel of each
            point; None for encoders of the user's own without `PointInputs`.
    """

    points: list[Tensor]
    valid: list[Tensor]
    bev: Tensor | None
    voxels: Voxels | None


class Backbone(nn.Module):
    """A LiDAR encoder that takes clouds as they are.

    Attributes:
        network: the encoder. columns: names of the columns of a cloud, in their order.
        point_channels, bev_channels, grid: of the network's outputs.
    """

    def __init__(self, network: LidarEncoder, columns: Sequence[str]) -> None:
        super().__init__()
        self.network, self.columns = network, tuple(columns)
        self.point_channels, self.bev_channels = network.point_channels, network.bev_channels
        self.grid = network.grid

    def encode(self, clouds: Sequence[Cloud], bev: bool = True) -> Encoded:
        """Features of clouds, with gradients unless they are switched off around it.

        Args:
            clouds: arrays or tensors (N, columns): x y z (m, LiDAR frame), intensity in 0..1, and what else
                `columns` names. bev: whether the map is wanted, too.

        Raises:
            ValueError: another number of columns, a value that is not finite, or no cloud.
            DataError: no point of any cloud is within the encoder's range.
        """
        view = view_of_clouds(clouds, self.columns, next(self.network.parameters()).device)
        found = self.network(view, want_bev=bev)
        sizes = torch.bincount(view.batch, minlength=view.size).tolist()
        inputs = getattr(self.network, "inputs", None)
        voxels = inputs.voxels(view) if isinstance(inputs, PointInputs) else None
        return Encoded(list(found.points.split(sizes)), list(found.valid.split(sizes)), found.bev, voxels)

    forward = encode


class ImageBackbone(nn.Module):
    """An image encoder that takes pictures as they are.

    Attributes:
        network: the encoder. channels, strides: of its levels, the finest first.
    """

    def __init__(self, network: LevelImageEncoder) -> None:
        super().__init__()
        self.network = network
        self.channels, self.strides = network.level_channels, network.level_strides

    def encode(self, pictures: Sequence[Picture]) -> list[Tensor]:
        """(B, channels, H / stride, W / stride) of each level, the finest first.

        Args:
            pictures: of one size; (H, W, 3) uint8 RGB, or (3, H, W) float RGB in 0..1.

        Raises:
            ValueError: another shape, kind or range, sizes that differ, or no picture.
        """
        if not len(pictures):
            raise ValueError("encode was given no picture")
        tensors = [_picture(picture, number) for number, picture in enumerate(pictures)]
        if len({tensor.shape for tensor in tensors}) > 1:
            raise ValueError(f"pictures of {len({t.shape for t in tensors})} sizes: give those of one size")
        return self.network.pyramid(torch.stack(tensors).to(next(self.network.parameters()).device))

    forward = encode


@overload
def load_backbone(
    source: str | Path, part: Literal["lidar"] = ..., device: str | torch.device = ...
) -> Backbone: ...


@overload
def load_backbone(
    source: str | Path, part: Literal["image"], device: str | torch.device = ...
) -> ImageBackbone: ...


def load_backbone(
    source: str | Path, part: Literal["lidar", "image"] = "lidar", device: str | torch.device = "cpu"
) -> Backbone | ImageBackbone:
    """The backbone of a checkpoint, in evaluation mode.

        encoder = pc3d.load_backbone("runs/a")
        features = encoder.encode([points])          # (N, 4) x y z intensity

    Args:
        source: `backbone.safetensors`, a fine-tuned model, a run folder, or `hf://OWNER/NAME`.
        part: `lidar` or `image`.
        device: where it computes.

    Raises:
        ValueError: an unknown part.
        DataError: there is no such checkpoint, it is damaged, or does not have the part.
    """
    if part not in ("lidar", "image"):
        raise ValueError(f"unknown part {part!r}; known: lidar, image")
    file = {"lidar": "backbone.safetensors", "image": "image_backbone.safetensors"}[part]
    found = read_source(local_path(source, file), part)
    if isinstance(found.network, LidarEncoder):
        return Backbone(found.network, found.columns).to(device).eval()
    assert isinstance(found.network, LevelImageEncoder)
    return ImageBackbone(found.network).to(device).eval()


def view_of_clouds(clouds: Sequence[Cloud], columns: Sequence[str], device: torch.device) -> PointView:
    """Clouds packed as the encoders read them.

    Raises:
        ValueError: no cloud, another number of columns, or a value that is not finite.
    """
    if not len(clouds):
        raise ValueError("encode was given no cloud: a list of arrays (N, columns)")
    tensors = [_cloud(cloud, number, columns) for number, cloud in enumerate(clouds)]
    if "intensity" in columns:
        _warn_of_intensity(tensors, list(columns).index("intensity"))
    points = torch.cat(tensors).to(device)
    sizes = torch.tensor([len(tensor) for tensor in tensors])
    batch = torch.arange(len(tensors)).repeat_interleave(sizes).to(device)
    poses = torch.eye(4, device=device).repeat(len(tensors), 1, 1)
    return PointView(points, batch, torch.arange(len(points), device=device), poses, len(tensors))


def _cloud(cloud: Cloud, number: int, columns: Sequence[str]) -> Tensor:
    tensor = torch.as_tensor(cloud)
    wanted = f"(N, {len(columns)}): {' '.join(columns)}"
    if tensor.ndim != 2 or tensor.shape[1] != len(columns):
        raise ValueError(f"cloud {number} has shape {tuple(tensor.shape)}, expected {wanted}")
    tensor = tensor.float()
    if not bool(tensor.isfinite().all()):
        count = int((~tensor.isfinite()).any(dim=1).sum())
        raise ValueError(f"cloud {number} has {count} points that are not finite: take them out")
    return tensor


def _warn_of_intensity(clouds: Sequence[Tensor], column: int) -> None:
    highest = max((float(cloud[:, column].max()) for cloud in clouds if len(cloud)), default=0.0)
    lowest = min((float(cloud[:, column].min()) for cloud in clouds if len(cloud)), default=0.0)
    if highest > 1 or lowest < 0:
        warnings.warn(
            f"intensity is {lowest:.3g} to {highest:.3g}, expected 0 to 1: divide it by what stands for full "
            "intensity (255 in nuScenes)",
            UserWarning,
            stacklevel=4,
        )


def _picture(picture: Picture, number: int) -> Tensor:
    tensor = torch.as_tensor(picture)
    if tensor.ndim == 3 and tensor.dtype == torch.uint8 and tensor.shape[2] == 3:
        return tensor.permute(2, 0, 1).float() / 255
    if tensor.ndim != 3 or not tensor.is_floating_point() or tensor.shape[0] != 3:
        raise ValueError(
            f"picture {number} is {tensor.dtype} of shape {tuple(tensor.shape)}, expected uint8 (H, W, 3), "
            "or float (3, H, W) in 0..1"
        )
    if not 0 <= float(tensor.min()) <= float(tensor.max()) <= 1:
        raise ValueError(
            f"picture {number} has values {float(tensor.min()):.3g} to {float(tensor.max()):.3g}, expected "
            "0 to 1: pc3d normalises inside of the network"
        )
    return tensor.float()
