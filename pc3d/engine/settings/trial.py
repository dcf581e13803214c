"""What the constructors of a config's networks refuse, found by building them without memory or weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from pc3d.data.classes import common_detection
from pc3d.engine.settings.check import Fault, refused
from pc3d.engine.settings.expected import arguments
from pc3d.engine.settings.index_classes import detection_of
from pc3d.engine.settings.sections import TASKS
from pc3d.geometry.grid import BevGrid
from pc3d.models.bev import build_view_transform
from pc3d.models.bev.base import ViewTransform
from pc3d.models.bev.network import BevNetwork, shared_grid
from pc3d.models.bev_models import DETECTION_HEADS, BevDetector, BevMapSegmenter
from pc3d.models.heads.segmentation import PointSegmenter
from pc3d.models.image import level_count
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar import LidarEncoder, build_lidar_encoder
from pc3d.objectives.base import Objective
from pc3d.objectives.registry import build_objective, objective_type

Settings = Mapping[str, Any]
_MANY = 64
"""Levels of an image encoder that does not say how many it has: none that is asked for is refused here."""
_REFUSALS = (ValueError, TypeError, RuntimeError, ArithmeticError)


class _Lidar(LidarEncoder):
    """What others read of a LiDAR encoder: its widths and its grid."""

    def __init__(self, point_channels: int, bev_channels: int, grid: BevGrid) -> None:
        super().__init__()
        self.point_channels, self.bev_channels, self.grid = point_channels, bev_channels, grid

    def forward(self, view: Any, want_bev: bool = True) -> Any:
        raise NotImplementedError


class _Image(ImageEncoder):
    """An image encoder of some width, with the levels of the real one: that reads weights."""

    channels, stride, frozen = 64, 4, True

    def __init__(self, levels: int | None) -> None:
        super().__init__()
        self._levels = _MANY if levels is None else levels

    @property
    def level_channels(self) -> tuple[int, ...]:
        return (self.channels,) * self._levels

    def forward(self, images: Tensor) -> Tensor:
        raise NotImplementedError


@lru_cache(maxsize=64)
def _lidar(settings: str) -> _Lidar:
    made = build_lidar_encoder(json.loads(settings))
    return _Lidar(made.point_channels, made.bev_channels, made.grid)


class _Trial:
    """Builds parts of a config; what is refused is a fault of its section, and None to what stands on it."""

    def __init__(self, config: Settings, wrong: Collection[str]) -> None:
        self.config, self.wrong = config, wrong
        self.faults: list[Fault] = []

    def section(self, key: str) -> Any:
        """The section of a dotted key; None where it is not there or wrong."""
        if any(f"{name}.".startswith(f"{key}.") or f"{key}.".startswith(f"{name}.") for name in self.wrong):
            return None
        section: Any = self.config
        for part in key.split("."):
            section = (section or {}).get(part)
        return section

    def make(self, key: str, build: Callable[[dict[str, Any]], Any]) -> Any:
        """What `build` makes of the section of a key; None where that is not there, wrong or refused."""
        section = self.section(key)
        if not section:
            return None
        try:
            return build(section)
        except _REFUSALS as error:
            self.faults.append(refused(key, section, error))
            return None


def trial_faults(config: Settings, kind: str, wrong: Collection[str]) -> list[Fault]:
    """What constructors refuse of a config, or of a stage with what all stages share.

    Args:
        wrong: dotted keys of faults that are known; the parts that they stand in are not built.
    """
    trial, any_lidar = _Trial(config, wrong), _Lidar(64, 64, BevGrid())
    image = _Image(level_count(trial.section("image") or {}))
    with torch.device("meta"):
        lidar = trial.make("lidar", lambda own: _lidar(json.dumps(own, sort_keys=True)))
        camera = trial.make("camera", lambda own: build_view_transform(own, image))
        if kind == "pretrain":
            _objectives(trial, lidar or any_lidar, image, camera)
        elif config.get("task", TASKS[0]) == TASKS[0]:
            trial.make("head", lambda own: PointSegmenter(lidar or any_lidar, **_COUNTED | own))
        elif config["task"] in TASKS and (lidar or camera):
            _bev(trial, lidar, image, camera)
    return trial.faults


_COUNTED = {"num_classes": 2}
"""The number of classes follows the index where it is not set."""


def _objectives(trial: _Trial, lidar: _Lidar, image: _Image, camera: ViewTransform | None) -> None:
    def build(own: dict[str, Any]) -> Objective | None:
        lacks = objective_type(own).reads_camera_bev and camera is None
        return None if lacks else build_objective(own, lidar, image, camera)

    named = trial.config.get("objectives")
    for name in named if isinstance(named, Mapping) else ():
        trial.make(f"objectives.{name}", build)


def _bev(trial: _Trial, lidar: _Lidar | None, image: _Image, camera: ViewTransform | None) -> None:
    config = trial.config
    parts: dict[str, Any] = {"lidar": lidar, "image": image if camera else None, "camera": camera}
    if lidar and camera:
        grid = trial.make("camera", lambda _: shared_grid([lidar.grid, camera.grid]))
        if grid is None:
            return
    network = trial.make("network", lambda own: BevNetwork(**parts, **own)) or BevNetwork(**parts)
    if config["task"] == "detection":
        data = trial.section("data") or {}
        trial.make("head", lambda own: BevDetector(network, **_detection(own, data), **own))
        return
    trial.make("head", lambda own: BevMapSegmenter(network, **{**own, "map_grid": network.grid}))
    where = "data" if trial.section("data.map_grid") else "head"
    trial.make(f"{where}.map_grid", lambda grid: BevMapSegmenter(network, grid))


def _detection(head: Settings, data: Settings) -> dict[str, Any]:
    """The classes of the index for a head that follows them; those that it names where there is none yet."""
    kind = DETECTION_HEADS.get(head.get("type", "CenterHead"))
    if "detection" in head or kind is None or "detection" not in arguments(kind):
        return {}
    named = [*(head.get("classes") or ()), *(name for group in head.get("groups") or () for name in group)]
    return {"detection": detection_of(data) or tuple(dict.fromkeys([*common_detection(), *named]))}
