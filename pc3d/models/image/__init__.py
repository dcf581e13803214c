"""Image encoders: one dense feature map per image, as trained branch or frozen teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pc3d.models.build import build
from pc3d.models.image.base import ImageEncoder
from pc3d.models.image.efficientnet import EfficientNetLite0
from pc3d.models.image.transformers_encoder import TransformersEncoder

IMAGE_ENCODERS: dict[str, Callable[..., ImageEncoder]] = {
    "EfficientNetLite0": EfficientNetLite0,
    "TransformersEncoder": TransformersEncoder,
}


def build_image_encoder(config: Mapping[str, Any]) -> ImageEncoder:
    """The encoder `{"type": ..., **arguments}`.

    Raises:
        ValueError: unknown type or argument.
        ImportError: an optional package that it needs is missing; the message names the extra.
    """
    return build(config, IMAGE_ENCODERS, "image encoder")


__all__ = [
    "IMAGE_ENCODERS",
    "EfficientNetLite0",
    "ImageEncoder",
    "TransformersEncoder",
    "build_image_encoder",
]
