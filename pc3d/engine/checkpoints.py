"""Models from the safetensors files of run folders; how to build them is in the files' metadata."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from pc3d.data.errors import DataError, fail
from pc3d.engine.finetuner import build_segmenter
from pc3d.models.heads.segmentation import PointSegmenter
from pc3d.models.lidar import LidarEncoder, build_lidar_encoder
from pc3d.models.weights import load_backbone


def _metadata(checkpoint: Path) -> dict[str, str]:
    if not checkpoint.is_file():
        fail("no checkpoint", checkpoint, "tools/pretrain.py and tools/finetune.py write them")
    try:
        with safe_open(str(checkpoint), framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"checkpoint cannot be read: {error}\n  where: {checkpoint}\n  remedy: name a .safetensors file"
        ) from error
    if "lidar" not in metadata:
        fail(
            "the checkpoint does not say how its encoder was built",
            checkpoint,
            "write it with tools/pretrain.py or tools/finetune.py",
        )
    return metadata


def load_segmenter(checkpoint: Path) -> PointSegmenter:
    """The fine-tuned model of a `segmenter.safetensors`, in evaluation mode.

    Raises:
        DataError: the file is missing, broken, or was not written by fine-tuning.
    """
    metadata = _metadata(Path(checkpoint))
    if "head" not in metadata:
        fail(
            "the checkpoint is not a fine-tuned segmenter but a backbone",
            checkpoint,
            "fine-tune it with tools/finetune.py first",
        )
    segmenter = build_segmenter(json.loads(metadata["lidar"]), json.loads(metadata["head"]))
    load_backbone(segmenter, Path(checkpoint))
    return segmenter.eval()


def load_encoder(checkpoint: Path) -> LidarEncoder:
    """The LiDAR encoder of a `backbone.safetensors` or a `segmenter.safetensors`, in evaluation mode.

    Raises:
        DataError: the file is missing or broken.
    """
    metadata = _metadata(Path(checkpoint))
    if "head" in metadata:
        return load_segmenter(checkpoint).encoder
    encoder = build_lidar_encoder(json.loads(metadata["lidar"]))
    load_backbone(encoder, Path(checkpoint))
    return encoder.eval()
