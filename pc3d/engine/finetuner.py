"""Fine-tuning for LiDAR semantic segmentation, from a pretrained or a random start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import Tensor

from pc3d.data.batch import Batch, Needs
from pc3d.engine.config import plain
from pc3d.engine.data import build_dataset
from pc3d.engine.training import TrainableModel, seeded, start_distributed, train
from pc3d.models.heads.segmentation import PointSegmenter
from pc3d.models.lidar import build_lidar_encoder
from pc3d.models.weights import load_backbone


class Finetuner(TrainableModel):
    """A `PointSegmenter` as a trainable model."""

    def __init__(self, segmenter: PointSegmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, batch: Batch, mode: str = "loss") -> dict[str, Tensor]:
        return self.segmenter.loss(batch)


def build_segmenter(
    lidar: dict[str, Any], head: dict[str, Any], init: dict[str, Any] | None = None, seed: int = 0
) -> PointSegmenter:
    """A segmenter with random weights of `seed`, its encoder loaded where `init.checkpoint` is set.

    Raises:
        ValueError: if the checkpoint does not fit the encoder (unless `init.partial`).
    """
    with seeded(seed):
        segmenter = PointSegmenter(build_lidar_encoder(lidar), **head)
    if init and init.get("checkpoint"):
        load_backbone(segmenter.encoder, Path(init["checkpoint"]), partial=init.get("partial", False))
    return segmenter


def finetune(config: Config, work_dir: Path, resume: bool = False) -> Path:
    """Run fine-tuning; returns the segmenter file in the run folder."""
    work_dir = Path(work_dir)
    start_distributed(config.get("launcher", "none"))
    seed = config.get("seed", 0)
    dataset = build_dataset(plain(config.data), Needs(labels=True), seed)
    lidar, head = plain(config.lidar), plain(config.get("head") or {})
    model = Finetuner(build_segmenter(lidar, head, plain(config.get("init")), seed))
    metadata = {"lidar": json.dumps(lidar), "head": json.dumps(head)}
    train(model, dataset, config, work_dir, {"segmenter": model.segmenter}, metadata, resume)
    return work_dir / "segmenter.safetensors"
