"""The network that a checkpoint holds, for an export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pc3d.data.errors import DataError, fail
from pc3d.data.frame_types import FrameConfig
from pc3d.data.sweeps import point_columns
from pc3d.engine.checkpoints import load_bev_model, load_encoder
from pc3d.engine.initial_weights import FILES
from pc3d.engine.runs.folder import check_weights
from pc3d.export.base import Source
from pc3d.models.heads.center_point import CenterHead
from pc3d.models.image import build_image_encoder
from pc3d.models.weights import load_backbone, read_metadata


def read_source(checkpoint: Path, part: str) -> Source:
    """The part of a checkpoint that a target takes.

    Args:
        checkpoint: `.safetensors` of pretraining, fine-tuning or `pc3d import`, or the folder of a run.
        part: `lidar` or `image`; `model`: all that the file holds.

    Raises:
        DataError: no such file, or it does not hold that part.
    """
    path = _in_folder(checkpoint, part) if checkpoint.is_dir() else checkpoint
    if not path.is_file():
        fail(f"no checkpoint with the {part} network", path, "name a .safetensors file, or a finished run")
    if path.suffix != ".safetensors":
        fail(
            "the file is no checkpoint of pc3d's weights",
            path,
            "name a .safetensors; `pc3d import` makes one",
        )
    return _LOADERS[part](path, read_metadata(path))


def _in_folder(folder: Path, part: str) -> Path:
    models = ("segmenter", "detector", "map_segmenter", "backbone")
    names = models if part == "model" else (FILES[part],)
    files = [folder / f"{name}.safetensors" for name in names]
    return next((file for file in files if file.is_file()), files[-1])


def _model(path: Path, metadata: dict[str, str]) -> Source:
    if "task" in metadata:
        network = json.loads(metadata["network"])
        return Source(path, load_bev_model(path), network, image_size=_image_size(metadata))
    return _image(path, metadata) if path.stem == "image_backbone" else _lidar(path, metadata)


def _image_size(metadata: dict[str, str]) -> tuple[int, int]:
    height, width = json.loads(metadata.get("frames", "{}")).get("image_size", FrameConfig.image_size)
    return int(height), int(width)


def _lidar(path: Path, metadata: dict[str, str]) -> Source:
    frames = json.loads(metadata.get("frames", "{}"))
    columns = point_columns(tuple(frames.get("features", ("intensity",))))
    if "task" in metadata:
        return _bev_model(path, json.loads(metadata["network"]), columns)
    encoder, config = load_encoder(path), json.loads(metadata["lidar"])
    others = {"head": "of the segmentation: its own layers, one per class set"} if "head" in metadata else {}
    return Source(path, encoder, config, columns, others)


def _bev_model(path: Path, network: dict[str, Any], columns: tuple[str, ...]) -> Source:
    """The LiDAR branch of a detector or map segmenter, with its head where the target can have it."""
    model = load_bev_model(path)
    encoder = model.network.lidar
    if encoder is None:
        fail(
            "the model has no LiDAR encoder", path, "choose one that reads LiDAR, or export its image network"
        )
    others = {}
    if network.get("image"):
        others["image, camera"] = "export image_backbone.safetensors"
    alone = network.get("fused_channels", 256) is None and not network.get("widths")
    if not alone:
        others["fuser"] = "between the map and the head, where the target has nothing (fused_channels=None)"
        others["head"] = "it reads the fused map, which the target does not have"
    elif not isinstance(model.head, CenterHead):
        others["head"] = f"the target has no {type(model.head).__name__} like it"
    head = model.head if alone and isinstance(model.head, CenterHead) else None
    return Source(path, encoder, network["lidar"], columns, others, head)


def _image(path: Path, metadata: dict[str, str]) -> Source:
    check_weights(path)
    if "image" not in metadata:
        fail("the file holds no image network", path, "export the image_backbone.safetensors of a run")
    config = json.loads(metadata["image"])
    encoder = build_image_encoder(config)
    try:
        load_backbone(encoder, path)
    except ValueError as error:
        raise DataError(
            f"the file does not hold the image network of its run: {str(error).splitlines()[0]}\n"
            f"  where: {path}\n  remedy: export the image_backbone.safetensors of the run"
        ) from error
    return Source(path, encoder.eval(), config, image_size=_image_size(metadata))


_LOADERS: dict[str, Callable[[Path, dict[str, str]], Source]] = {
    "lidar": _lidar,
    "image": _image,
    "model": _model,
}
