"""Models from the safetensors files of run folders; how to build them is in the files' metadata."""

from __future__ import annotations

import json
from pathlib import Path

from pc3d.data.classes import ClassSet
from pc3d.data.errors import fail
from pc3d.data.frame_types import FrameConfig
from pc3d.engine.data import frame_config
from pc3d.engine.finetuner import build_segmenter
from pc3d.engine.runs.folder import check_weights
from pc3d.models.bev_models import BevModel, build_bev_model
from pc3d.models.heads.segmentation import PointSegmenter
from pc3d.models.lidar import LidarEncoder, build_lidar_encoder
from pc3d.models.weights import load_backbone, read_metadata


def _metadata(checkpoint: Path) -> dict[str, str]:
    if not checkpoint.is_file():
        fail("no checkpoint", checkpoint, "`pc3d pretrain` and `pc3d finetune` write them")
    check_weights(checkpoint)
    metadata = read_metadata(checkpoint)
    if not {"lidar", "task"} & set(metadata):
        fail(
            "the checkpoint does not say how its encoder was built",
            checkpoint,
            "write it with `pc3d pretrain` or `pc3d finetune`",
        )
    return metadata


def task_of(checkpoint: Path) -> str:
    """What the model of a checkpoint was fine-tuned for: `lidarseg`, or a key of `BEV_MODELS`.

    Raises:
        DataError: the file is missing or broken, or holds a backbone.
    """
    metadata = _metadata(Path(checkpoint))
    if not {"task", "head"} & set(metadata):
        fail(
            "the checkpoint is not a fine-tuned model but a backbone",
            checkpoint,
            "fine-tune it with `pc3d finetune` first, or probe it: pc3d evaluate CHECKPOINT --knn",
        )
    return metadata.get("task", "lidarseg")


def frames_of(checkpoint: Path) -> FrameConfig:
    """How the frames of a fine-tuned model were loaded, without what only training has.

    Raises:
        DataError: the file is missing or broken.
    """
    return frame_config(json.loads(_metadata(Path(checkpoint)).get("frames", "{}")))


def classes_of_model(checkpoint: Path) -> ClassSet | None:
    """The classes that a model was fine-tuned on; None where it does not say them.

    Raises:
        DataError: the file is missing or broken.
    """
    values = _metadata(Path(checkpoint)).get("classes")
    return None if values is None else ClassSet.from_dict(json.loads(values), checkpoint)


def load_bev_model(checkpoint: Path) -> BevModel:
    """The model of a `detector.safetensors` or `map_segmenter.safetensors`, in evaluation mode.

    Raises:
        DataError: the file is missing, broken, or holds no BEV model.
    """
    metadata = _metadata(Path(checkpoint))
    if "task" not in metadata:
        fail("the checkpoint holds no BEV model", checkpoint, "fine-tune one with `pc3d finetune` first")
    network, head = json.loads(metadata["network"]), json.loads(metadata["head"])
    model = build_bev_model(metadata["task"], network, head)
    load_backbone(model, Path(checkpoint))
    return model.eval()


def load_segmenter(checkpoint: Path) -> PointSegmenter:
    """The fine-tuned model of a `segmenter.safetensors`, in evaluation mode.

    Raises:
        DataError: the file is missing, broken, or was not written by fine-tuning.
    """
    metadata = _metadata(Path(checkpoint))
    if "head" not in metadata or "task" in metadata:
        what = f"a BEV model for {metadata['task']}" if "task" in metadata else "a backbone"
        fail(
            f"the checkpoint is not a fine-tuned segmenter but {what}",
            checkpoint,
            "fine-tune it with `pc3d finetune` first",
        )
    segmenter = build_segmenter(json.loads(metadata["lidar"]), json.loads(metadata["head"]))
    load_backbone(segmenter, Path(checkpoint))
    return segmenter.eval()


def load_encoder(checkpoint: Path) -> LidarEncoder:
    """The LiDAR encoder of a pretraining run's `backbone.safetensors` or of a fine-tuned model.

    Raises:
        DataError: the file is missing or broken, or its model has no LiDAR encoder.
    """
    metadata = _metadata(Path(checkpoint))
    if "task" in metadata:
        lidar = load_bev_model(checkpoint).network.lidar
        if lidar is None:
            fail("the model has no LiDAR encoder", checkpoint, "choose one that reads LiDAR")
        return lidar
    if "head" in metadata:
        return load_segmenter(checkpoint).encoder
    encoder = build_lidar_encoder(json.loads(metadata["lidar"]))
    load_backbone(encoder, Path(checkpoint))
    return encoder.eval()
