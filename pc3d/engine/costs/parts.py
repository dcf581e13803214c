"""Which part of a trainable model each module is of, and the parameters of each part."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from pc3d.models.bev.base import ViewTransform
from pc3d.models.bev.network import BevNetwork
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar.base import LidarEncoder
from pc3d.models.lidar.momentum import MomentumEncoder

ENCODERS: dict[str, type[nn.Module]] = {
    "momentum copy": MomentumEncoder,
    "LiDAR encoder": LidarEncoder,
    "image network": ImageEncoder,
    "cameras to BEV": ViewTransform,
}
"""Parts that hold all of what is inside of them."""
FUSION = "fuser and BEV backbone"
REST = "objectives or head"


def part_labels(model: nn.Module) -> dict[nn.Module, str]:
    """The part of each module of `model`."""
    labels: dict[nn.Module, str] = {}

    def walk(module: nn.Module, label: str) -> None:
        if module in labels:
            return
        if label not in ENCODERS:
            label = next((name for name, kind in ENCODERS.items() if isinstance(module, kind)), label)
            label = FUSION if isinstance(module, BevNetwork) else label
        labels[module] = label
        for child in module.children():
            walk(child, label)

    walk(model, REST)
    return labels


def parameters_of(model: nn.Module, labels: Mapping[nn.Module, str]) -> dict[str, tuple[int, int]]:
    """Parameters of each part, and how many of them are trained; shared ones count where they are first."""
    counts: dict[str, tuple[int, int]] = {}
    seen: set[int] = set()
    for module in model.modules():
        label = labels[module]
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                total, trained = counts.get(label, (0, 0))
                size = parameter.numel()
                counts[label] = (total + size, trained + size * parameter.requires_grad)
    return counts
