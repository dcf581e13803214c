"""View transforms: a bird's-eye-view map from the features of all cameras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pc3d.data.plugins import Registry
from pc3d.models.bev.base import ViewTransform
from pc3d.models.bev.depth import lidar_depth
from pc3d.models.bev.lss import LSS
from pc3d.models.build import build
from pc3d.models.image.base import ImageEncoder

VIEW_TRANSFORMS: Registry[ViewTransform] = Registry(ViewTransform, {"LSS": LSS})


def build_view_transform(config: Mapping[str, Any], image: ImageEncoder) -> ViewTransform:
    """The view transform `{"type": ..., **arguments}` of the features of `image`; `grid` may be a dictionary.

    Raises:
        ValueError: unknown type or argument.
    """
    return build({**config, "image": image}, VIEW_TRANSFORMS, "view transform")


__all__ = ["LSS", "VIEW_TRANSFORMS", "ViewTransform", "build_view_transform", "lidar_depth"]
