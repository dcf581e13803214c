"""Pretraining: encoders and objectives over shared encodings, as one trainable model."""

from __future__ import annotations

import json
import os
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from pc3d.data.batch import Batch, Needs
from pc3d.engine.config import plain
from pc3d.engine.data import build_dataset
from pc3d.engine.training import TrainableModel, seeded, start_distributed, train
from pc3d.models.image import build_image_encoder
from pc3d.models.lidar import build_lidar_encoder
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.registry import build_objective, objective_type


def objective_needs(objectives: dict[str, dict[str, Any]]) -> Needs:
    """What all objectives of a config ask of the loader together."""
    if not objectives:
        raise ValueError("the config has no objective: set at least one under `objectives`")
    return reduce(or_, (objective_type(config).needs for config in objectives.values()))


class Pretrainer(TrainableModel):
    """Weighted sum of objectives over one LiDAR encoder and one image encoder.

    Args:
        lidar: config of the LiDAR encoder. image: config of the image encoder, or None.
        objectives: name to config with `type`, `weight` (default 1) and the objective's arguments.
        seed: of the initial weights and of the points that are sampled.
    """

    def __init__(
        self,
        lidar: dict[str, Any],
        image: dict[str, Any] | None,
        objectives: dict[str, dict[str, Any]],
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.seed = seed
        with seeded(seed):
            self.lidar = build_lidar_encoder(lidar)
            self.image = build_image_encoder(image) if image else None
            self.objectives = nn.ModuleDict(
                {key: build_objective(config, self.lidar, self.image) for key, config in objectives.items()}
            )
        self.weights = {key: float(config.get("weight", 1.0)) for key, config in objectives.items()}
        self._want_bev = any(o.reads_bev for o in self.objectives.values())  # type: ignore[union-attr]
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.step: Tensor

    def encode(self, batch: Batch) -> Encodings:
        """Encodings of this step; the random numbers depend on the seed, the step and the rank."""
        rank = int(os.environ.get("RANK", 0))
        generator = torch.Generator().manual_seed(hash((self.seed, int(self.step), rank)) % 2**63)
        return Encodings(batch, self.lidar, self.image, want_bev=self._want_bev, generator=generator)

    def forward(self, batch: Batch, mode: str = "loss") -> dict[str, Tensor]:
        """Losses (`<objective>/loss`, weighted) and logged scalars (`<objective>/<name>`)."""
        encodings = self.encode(batch)
        logged: dict[str, Tensor] = {}
        for key, objective in self.objectives.items():
            result = objective(encodings)
            logged[f"{key}/loss"] = self.weights[key] * result.pop("loss")
            logged.update({f"{key}/{name}": value for name, value in result.items()})
        if self.training:
            self.step += 1
        return logged


def pretrain(config: Config, work_dir: Path, resume: bool = False) -> Path:
    """Run pretraining; returns the backbone file in the run folder."""
    work_dir = Path(work_dir)
    start_distributed(config.get("launcher", "none"))
    objectives, seed = plain(config.objectives), config.get("seed", 0)
    dataset = build_dataset(plain(config.data), objective_needs(objectives), seed)
    model = Pretrainer(plain(config.lidar), plain(config.get("image")), objectives, seed)
    saved: dict[str, nn.Module] = {"backbone": model.lidar}
    if model.image is not None and not model.image.frozen:
        saved["image_backbone"] = model.image
    metadata = {"lidar": json.dumps(plain(config.lidar)), "objectives": json.dumps(objectives)}
    train(model, dataset, config, work_dir, saved, metadata, resume)
    return work_dir / "backbone.safetensors"
