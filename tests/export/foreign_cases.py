"""The networks whose exports ran in the targets' own code: configs, inputs, and places that are compared.

`foreign_outputs.py` made `foreign_outputs.json` from these, beside checkouts of the projects.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from small_exports import PILLARS, PLAIN, SECOND, randomise
from torch import Tensor

from pc3d.models.bev_models import BevModel, build_bev_model
from pc3d.models.image import build_image_encoder
from pc3d.models.image.base import ImageEncoder
from pc3d.models.weights import save_backbone

UNET: dict[str, Any] = {
    "type": "MinkUNet",
    "depth": 18,
    "widths": [4, 6, 8, 10, 10, 8, 6, 5],
    "stem": 4,
    "voxel_size": [0.5, 0.4, 0.25],
    "point_range": [-4.0, 2.0, -1.0, 4.0, 8.4, 3.0],
    "bev_channels": 4,
}
RESNET_50: dict[str, Any] = {"model_type": "resnet"}
RESNET_18: dict[str, Any] = {
    "model_type": "resnet",
    "layer_type": "basic",
    "depths": [2, 2, 2, 2],
    "hidden_sizes": [64, 128, 256, 512],
}
SWIN: dict[str, Any] = {
    "model_type": "swin",
    "embed_dim": 8,
    "depths": [2, 2],
    "num_heads": [1, 2],
    "window_size": 2,
    "image_size": 32,
}
PLACES = 40


@dataclass(frozen=True)
class ForeignCase:
    """A network of a target.

    Attributes:
        target: key of `TARGETS`. config: of the encoder. points: preset of the columns.
        code: class of the target.
    """

    target: str
    config: dict[str, Any]
    points: str | None
    code: str


NARROW = {"widths": [4, 6, 5, 8], "height_channels": 7}
CASES: dict[str, ForeignCase] = {
    "openpcdet-residual": ForeignCase("openpcdet", SECOND, "nuscenes", "VoxelResBackBone8x, BaseBEVBackbone"),
    "openpcdet-plain": ForeignCase("openpcdet", PLAIN, "kitti", "VoxelBackBone8x, BaseBEVBackbone"),
    "openpcdet-pillars": ForeignCase(
        "openpcdet", PILLARS, "nuscenes", "DynPillarVFE, PointPillarScatter, BaseBEVBackbone"
    ),
    "openpcdet-head": ForeignCase("openpcdet", PILLARS, "kitti", "CenterHead on a given map"),
    "mmdet3d-residual": ForeignCase(
        "mmdet3d", {**SECOND, **NARROW}, "nuscenes", "SparseEncoder(basicblock), SECOND, SECONDFPN"
    ),
    "mmdet3d-plain": ForeignCase(
        "mmdet3d", {**PLAIN, **NARROW}, "kitti", "SparseEncoder(conv_module), SECOND, SECONDFPN"
    ),
    "mmdet3d-pillars": ForeignCase(
        "mmdet3d", PILLARS, "nuscenes", "DynamicPillarFeatureNet(legacy=False), SECOND, SECONDFPN"
    ),
    "mmdet3d-spconv": ForeignCase("mmdet3d-spconv", UNET, None, "MinkUNetBackbone(spconv)"),
    "pointcept": ForeignCase(
        "pointcept",
        {**UNET, "stem_kernels": [5], "norm_eps": 1e-3, "widen": "down"},
        None,
        "SpUNet-v1m1",
    ),
    "torchvision-resnet": ForeignCase("torchvision", RESNET_50, None, "resnet50"),
    "torchvision-swin": ForeignCase("torchvision", SWIN, None, "SwinTransformer"),
    "timm-resnet": ForeignCase("timm", RESNET_18, None, "resnet18"),
    "timm-swin": ForeignCase("timm", SWIN, None, "SwinTransformer"),
}
IMAGES = ("torchvision", "timm")


def unet_points(config: dict[str, Any], side: int = 16) -> Tensor:
    """Points (x, y, z, intensity) in the middle of voxels, of which two are corners of the grid."""
    generator = torch.Generator().manual_seed(3)
    mask = torch.rand(side, side, side, generator=generator) < 0.15
    mask[0, 0, 0] = mask[-1, -1, -1] = True
    index = mask.nonzero()
    corner, size = torch.tensor(config["point_range"][:3]), torch.tensor(config["voxel_size"])
    return torch.cat(((index + 0.5) * size + corner, torch.rand(len(index), 1, generator=generator)), dim=1)


def images_made(path: Path, model: dict[str, Any]) -> ImageEncoder:
    """A random image encoder of the last stage in evaluation mode, and its checkpoint."""
    config = {"type": "TransformersEncoder", "model": model}
    encoder = build_image_encoder(config).eval()
    randomise(encoder)
    generator = torch.Generator().manual_seed(1)
    for part in encoder.modules():
        if isinstance(part, torch.nn.LayerNorm):
            part.weight.data = 0.5 + torch.rand(part.weight.shape, generator=generator)
            part.bias.data = torch.rand(part.bias.shape, generator=generator) - 0.5
        elif isinstance(part, torch.nn.Linear) and part.bias is not None:
            part.bias.data = torch.rand(part.bias.shape, generator=generator) - 0.5
    for name, table in encoder.named_parameters():
        if name.endswith("bias_table"):
            table.data = torch.randn(table.shape, generator=generator)
    save_backbone(encoder, path, {"image": json.dumps(config), "lidar": "{}"})
    return encoder


def pictures(side: int) -> tuple[Tensor, Tensor]:
    """RGB in 0..1, and less ImageNet's mean and over its deviation, as targets are fed."""
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(5))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return images, (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)


HEAD: dict[str, Any] = {
    "groups": [["car"], ["truck", "bus"]],
    "detection": ["bus", "car", "truck"],
    "shared_channels": 6,
    "head_channels": 6,
}


def detector_made(path: Path) -> BevModel:
    """A random detector of pillars without a fuser in evaluation mode, and its checkpoint."""
    network = {"lidar": PILLARS, "fused_channels": None}
    model = build_bev_model("detection", network, HEAD).eval()
    randomise(model)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if ".outputs." in name and name.endswith("bias"):
            parameter.data = 2 * torch.rand(parameter.shape, generator=generator) - 1
    about = {"task": "detection", "network": json.dumps(network), "head": json.dumps(HEAD)}
    save_backbone(model, path, about)
    return model


def bev_map() -> Tensor:
    """A map for the head, (1, 16, 2, 4)."""
    return torch.randn(1, 16, 2, 4, generator=torch.Generator().manual_seed(6))


def head_maps(model: BevModel) -> Tensor:
    """All maps of the head one behind the other, the rotation as OpenPCDet has it: cosine, then sine."""
    maps = [
        tensor.flip(1) if name == "rot" else tensor
        for group in model.head(bev_map())
        for name, tensor in sorted(group.items())
    ]
    return torch.cat(maps, dim=1)


def places(output: Tensor) -> list[float]:
    """Some values of an output, spread over it, and their mean and largest magnitude."""
    flat = output.detach().double().flatten()
    at = torch.linspace(0, len(flat) - 1, PLACES).long()
    return [*flat[at].tolist(), flat.mean().item(), flat.abs().max().item()]
