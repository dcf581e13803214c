"""Image encoders: one dense feature map per image, as trained branch or frozen teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pc3d.data.plugins import Registry
from pc3d.models.build import build
from pc3d.models.image.base import ImageEncoder
from pc3d.models.image.efficientnet import EfficientNetLite0
from pc3d.models.image.fpn import FPN
from pc3d.models.image.transformers_encoder import TransformersEncoder

IMAGE_ENCODERS: Registry[ImageEncoder] = Registry(
    ImageEncoder,
    {
        "EfficientNetLite0": EfficientNetLite0,
        "FPN": FPN,
        "TransformersEncoder": TransformersEncoder,
    },
)


def build_image_encoder(config: Mapping[str, Any]) -> ImageEncoder:
    """The encoder `{"type": ..., **arguments}`; an entry `backbone` is the configuration of another one.

    Raises:
        ValueError: unknown type or argument.
        ImportError: an optional package that it needs is missing; the message names the extra.
    """
    if isinstance(config.get("backbone"), Mapping):
        config = {**config, "backbone": build_image_encoder(config["backbone"])}
    return build(config, IMAGE_ENCODERS, "image encoder")


def level_count(config: Mapping[str, Any]) -> int | None:
    """Number of levels of the encoder of a config, without building it; None where its type does not tell."""
    if config.get("type") == "FPN":
        return 1
    if config.get("type") not in ("EfficientNetLite0", "TransformersEncoder"):
        return None
    return len(set(config.get("levels") or config.get("stages") or (None,)))


__all__ = [
    "FPN",
    "IMAGE_ENCODERS",
    "EfficientNetLite0",
    "ImageEncoder",
    "TransformersEncoder",
    "build_image_encoder",
    "level_count",
]
