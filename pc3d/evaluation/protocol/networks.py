"""What is probed: LiDAR backbones and image teachers, with the frames that each is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pc3d.data.errors import fail
from pc3d.data.frame_types import FrameConfig
from pc3d.engine.checkpoints import frames_of, load_encoder
from pc3d.engine.config import config_file, load_config, plain
from pc3d.engine.data import frame_config, frame_settings
from pc3d.engine.settings.files import read_files
from pc3d.evaluation.protocol.shown import device_of
from pc3d.models.image import build_image_encoder
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar import LidarEncoder, build_lidar_encoder
from pc3d.models.weights import read_metadata

_RUN_CONFIG = "config.py"


@dataclass(frozen=True, eq=False)
class Backbone:
    """A LiDAR encoder and how a random one like it is made.

    Attributes:
        config: what `build_lidar_encoder` takes.
        frames: what the encoder is shown.
    """

    encoder: LidarEncoder
    config: Mapping[str, Any]
    frames: FrameConfig

    @classmethod
    def of(cls, checkpoint: Path) -> Backbone:
        """The encoder of a checkpoint.

        What it was shown says the checkpoint, or else the config of the run that it lies in.

        Raises:
            DataError: the file is missing or broken, or its model has no LiDAR encoder.
        """
        encoder = load_encoder(checkpoint)
        metadata = read_metadata(checkpoint)
        of_network = json.loads(metadata.get("network", "{}")).get("lidar")
        config = json.loads(metadata["lidar"]) if "lidar" in metadata else of_network
        return cls(encoder, config, _frames(checkpoint, metadata))

    def random(self, seed: int) -> Backbone:
        """An untrained encoder of the same config, on the same device."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = build_lidar_encoder(self.config)
        return Backbone(encoder.to(device_of(self.encoder)).eval(), self.config, self.frames)


def _frames(checkpoint: Path, metadata: Mapping[str, str]) -> FrameConfig:
    if "frames" in metadata:
        return frames_of(checkpoint)
    config = Path(checkpoint).parent / _RUN_CONFIG
    if not config.is_file():
        return FrameConfig()
    settings, _ = read_files(config)
    return frame_config(frame_settings(settings.get("data", {})))


@dataclass(frozen=True, eq=False)
class Teacher:
    """An image encoder and how images are shown to it."""

    encoder: ImageEncoder
    frames: FrameConfig

    @classmethod
    def of(cls, config: str | Path) -> Teacher:
        """The frozen teacher of a pretraining config, with its images and pairing.

        Args:
            config: a file, or the name of a config that ships with pc3d.

        Raises:
            FileNotFoundError, ValueError: there is no such config, or it is wrong.
            DataError: it has no frozen image network.
        """
        path = config_file(config, "pretrain")
        settings = plain(load_config(path, "pretrain"))
        image, data = settings.get("image") or {}, settings.get("data", {})
        if not image.get("frozen"):
            remedy = "name a config whose `image` is frozen, as sim_slidr or nuscenes_slidr"
            fail("the config has no image teacher (`image` with frozen=True)", path, remedy)
        shown = {**frame_settings(data), **{key: data[key] for key in ("pairing",) if key in data}}
        return cls(build_image_encoder(image).eval(), frame_config(shown))
