"""Which parameters of which encoder an objective leaves without a gradient: none unnoticed."""

from __future__ import annotations

import pytest
import torch
from objective_fixtures import TinyCamera, TinyImage, make_batch
from torch import nn

from pc3d.contrast.policy import Part
from pc3d.data.batch import Batch
from pc3d.models.image import build_image_encoder
from pc3d.models.lidar import LidarEncoder, build_lidar_encoder
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.registry import OBJECTIVES, build_objective

GRID = {"x_min": -9.6, "x_max": 9.6, "y_min": -9.6, "y_max": 9.6, "cell": 1.2}
LIDAR = {
    "MinkUNet": {
        "type": "MinkUNet",
        "depth": 18,
        "widths": (4,) * 8,
        "stem": 4,
        "voxel_size": (0.6, 0.6, 0.4),
        "bev_channels": 4,
        "grid": GRID,
    },
    "PointPillars": {
        "type": "PointPillars",
        "pillar_channels": 4,
        "bev_widths": (4, 4),
        "bev_layers": (1, 1),
        "bev_channels": 4,
        "grid": GRID,
    },
    "SECOND": {
        "type": "SECOND",
        "widths": (4, 4, 4, 4),
        "height_channels": 4,
        "bev_widths": (4, 4),
        "bev_layers": (1, 1),
        "bev_channels": 4,
        "grid": GRID,
    },
}
LIDAR["SECOND, trilinear"] = {**LIDAR["SECOND"], "point_source": "trilinear"}
TEACH = {"RAD", "BEVDistill"}
"""Objectives whose LiDAR encoder is the teacher."""


def untouched(module: nn.Module) -> set[str]:
    """Top-level parts of a module that have a parameter without any gradient."""
    return {
        name.split(".")[0]
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.abs().sum() > 0)
    }


def expected(objective: str, encoder: str) -> set[str]:
    if objective in TEACH:
        return {name for name, _ in build_lidar_encoder(LIDAR[encoder]).named_children() if name != "inputs"}
    if objective == "PRC":
        return {"point_head"} if encoder == "SECOND, trilinear" else set()
    # The others compare point features, which these two encoders have beside their map.
    return {"MinkUNet": {"bev_head"}, "SECOND, trilinear": {"flatten", "backbone"}}.get(encoder, set())


def step(objective: str, lidar: LidarEncoder, image: nn.Module, batch: Batch) -> nn.Module:
    camera = TinyCamera(image)
    model = build_objective({"type": objective}, lidar, image, camera)
    for _ in range(10):  # a queue of words is filled first
        result = model(Encodings(batch, lidar, image, camera, want_bev=model.reads_bev))
        assert torch.isfinite(result["loss"])
        if float(result["loss"]):
            break
        for part in model.modules():
            if isinstance(part, Part):
                part.commit()
    result["loss"].backward()
    if model.reads_camera_bev:
        assert untouched(camera) == set()
    return model


@pytest.mark.parametrize("encoder", LIDAR)
@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_every_objective_trains_every_lidar_encoder(objective: str, encoder: str) -> None:
    torch.manual_seed(0)
    lidar, image = build_lidar_encoder(LIDAR[encoder]), TinyImage()
    model = step(objective, lidar, image, make_batch(points=800, segments=4))
    assert untouched(lidar) == expected(objective, encoder)
    assert untouched(model) == set()


IMAGE = {
    "EfficientNetLite0": {"type": "EfficientNetLite0", "levels": (8, 16), "frozen": False},
    "ResNet": {
        "type": "TransformersEncoder",
        "model": {
            "model_type": "resnet",
            "depths": [1, 1],
            "hidden_sizes": [8, 16],
            "embedding_size": 8,
            "layer_type": "basic",
        },
    },
    "ViT": {
        "type": "TransformersEncoder",
        "model": {
            "model_type": "dinov2",
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "patch_size": 4,
            "image_size": 16,
        },
    },
}
OF_IMAGES = sorted(name for name, kind in OBJECTIVES.items() if kind.reads_image)


@pytest.mark.parametrize("encoder", IMAGE)
@pytest.mark.parametrize("objective", OF_IMAGES)
def test_every_image_objective_takes_every_image_encoder(objective: str, encoder: str) -> None:
    """Frozen teachers get no gradient; trained ones get one wherever the encoder says it is trained."""
    torch.manual_seed(0)
    batch = make_batch(points=300, segments=4)
    for frozen in (True, False):
        image = build_image_encoder({**IMAGE[encoder], "frozen": frozen})
        step(objective, build_lidar_encoder(LIDAR["PointPillars"]), image, batch)
        gradients = [p.grad is not None for p in image.parameters() if p.requires_grad]
        # ScaLR distils from a teacher that is frozen by definition.
        assert all(gradients) if objective != "ScaLR" else not any(gradients)
        assert frozen == (not gradients)
