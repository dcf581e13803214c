"""The network that a checkpoint holds, for an export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from pc3d.data.errors import DataError, fail
from pc3d.data.sweeps import point_columns
from pc3d.engine.checkpoints import load_encoder
from pc3d.engine.initial_weights import FILES
from pc3d.engine.runs.folder import check_weights
from pc3d.export.base import Source
from pc3d.models.image import build_image_encoder
from pc3d.models.weights import load_backbone, read_metadata


def read_source(checkpoint: Path, part: str) -> Source:
    """The part of a checkpoint that a target takes.

    Args:
        checkpoint: `.safetensors` of pretraining, fine-tuning or `pc3d import`, or the folder of a run.
        part: `lidar` or `image`.

    Raises:
        DataError: no such file, or it does not hold that part.
    """
    path = checkpoint / f"{FILES[part]}.safetensors" if checkpoint.is_dir() else checkpoint
    if not path.is_file():
        fail(f"no checkpoint with the {part} network", path, "name a .safetensors file, or a finished run")
    if path.suffix != ".safetensors":
        fail(
            "the file is no checkpoint of pc3d's weights",
            path,
            "name a .safetensors; `pc3d import` makes one",
        )
    return _LOADERS[part](path, read_metadata(path))


def _lidar(path: Path, metadata: dict[str, str]) -> Source:
    encoder = load_encoder(path)
    others = {}
    config = json.loads(metadata.get("lidar", "null"))
    if "task" in metadata:
        network = json.loads(metadata["network"])
        config = network["lidar"]
        others = {
            "fuser": "between the map and the head, where the target has nothing",
            "head": "it reads the fused map, which the target does not have",
        }
        if network.get("image"):
            others["image, camera"] = "export image_backbone.safetensors"
    elif "head" in metadata:
        others = {"head": "of the segmentation: its own layers, one per class set"}
    frames = json.loads(metadata.get("frames", "{}"))
    columns = point_columns(tuple(frames.get("features", ("intensity",))))
    return Source(path, encoder, config, columns, others)


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
    return Source(path, encoder.eval(), config)


_LOADERS: dict[str, Callable[[Path, dict[str, str]], Source]] = {"lidar": _lidar, "image": _image}
