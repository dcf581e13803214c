"""The contract of a run from its config and the data that it reads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from pc3d.data.dataset import FrameDataset
from pc3d.data.errors import fail
from pc3d.data.sampler_settings import SAMPLERS
from pc3d.engine.config import plain
from pc3d.engine.data import (
    FRACTION_DEFAULTS,
    FRAME_KEYS,
    FRAME_SOURCE_DEFAULTS,
    PARAM_KEYS,
    MixedDataset,
    frame_config,
    source_settings,
)
from pc3d.engine.optimization import OPTIMIZERS, SCHEDULE_DEFAULTS
from pc3d.engine.runs.contract import Contract, content, file_content, flat, plain_value, with_defaults
from pc3d.geometry.grid import BevGrid
from pc3d.models.bev import VIEW_TRANSFORMS
from pc3d.models.bev.network import BevNetwork
from pc3d.models.bev_models import DETECTION_HEADS
from pc3d.models.heads.map_segmentation import MapHead
from pc3d.models.heads.segmentation import PointSegmenter
from pc3d.models.image import IMAGE_ENCODERS
from pc3d.models.lidar import LIDAR_ENCODERS
from pc3d.models.weights import content_hash
from pc3d.objectives.registry import OBJECTIVES

_REGISTRIES: dict[str, Mapping[str, Callable[..., Any]]] = {
    "lidar": LIDAR_ENCODERS,
    "image": IMAGE_ENCODERS,
    "camera": VIEW_TRANSFORMS,
}
_OPTIMIZER = {"lr", "betas", "eps", "weight_decay", "amsgrad", "momentum", "dampening", "nesterov"}
_PATHS = ("tokens", "scenes")

_LATER_RUNTIME: dict[str, Any] = {
    "sync_batch_norm": False,
    "accumulate": 1,
    "ema": 0.0,
    "sparse_precision": "float32",
    "teacher_precision": "float32",
}
"""Settings of `runtime` that a contract names only where they are not off, as before there were such."""


def run_contract(config: Config, dataset: MixedDataset, iterations: int, ranks: int) -> Contract:
    """What a run is.

    Args:
        config: effective. dataset: built from it. iterations: steps. ranks: processes.

    Raises:
        DataError: a file that the run starts from is not there.
    """
    sections = {name: plain(config.get(name)) for name in ("lidar", "image", "camera")}
    settings: dict[str, Any] = {
        name: _built(section, _REGISTRIES[name]) for name, section in sections.items() if section
    }
    objectives = plain(config.get("objectives") or {})
    settings["objectives"] = {
        name: {"weight": 1.0, **_built(objective, OBJECTIVES)} for name, objective in objectives.items()
    }
    for name in ("frozen", "shared_heads"):
        settings[name] = plain(config.get(name)) or None
    if not objectives:
        settings |= _task(config)
    settings["optimizer"] = _optimizer(plain(config.optimizer))
    settings["schedule"] = {**SCHEDULE_DEFAULTS, **plain(config.schedule), "iterations": iterations}
    settings["schedule"].pop("epochs", None)
    settings["data"] = {**_data(plain(config.data), dataset), "batch_size": config.data.batch_size}
    for name in ("bad_samples", "other_frames_images"):  # as before there were such settings
        settings["data"][name] = config.data.get(name) or None
    settings["data"]["sampler"] = _sampler(plain(config.data.get("sampler")))
    # Wherever the maps lie; they are rounded, so that the losses move.
    settings["data"]["teacher_cache"] = "float16" if config.data.get("teacher_cache") else None
    settings["init"] = _init(plain(config.get("init")) or {})
    runtime = config.get("runtime", {})
    settings["runtime"] = {
        "precision": runtime.get("precision", "float32"),
        **{key: runtime[key] for key, off in _LATER_RUNTIME.items() if runtime.get(key, off) != off},
    }
    settings["seed"], settings["ranks"] = config.get("seed", 0), ranks
    return {key: value for key, value in flat(settings).items() if value not in (None, {})}


def _built(section: Mapping[str, Any], registry: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
    """A section with the defaults of what its `type` names, but for options of which an older contract has
    no word (`later`); encoders in it likewise."""
    kind = registry.get(str(section.get("type")))
    later = getattr(kind, "later", {})
    settings = with_defaults(section, kind)
    settings = {key: value for key, value in settings.items() if key not in later or value != later[key]}
    if isinstance(settings.get("backbone"), Mapping):
        settings["backbone"] = _built(settings["backbone"], IMAGE_ENCODERS)
    if isinstance(settings.get("grid"), Mapping):
        settings["grid"] = with_defaults(settings["grid"], BevGrid)
    return settings


def _task(config: Config) -> dict[str, Any]:
    """Head and network of a downstream task."""
    task, head = config.get("task", "lidarseg"), plain(config.get("head") or {})
    if task == "lidarseg":
        return {"task": task, "head": with_defaults(head, PointSegmenter)}
    kind = MapHead if task == "map" else DETECTION_HEADS.get(head.get("type", "CenterHead"))
    network = with_defaults(plain(config.get("network") or {}), BevNetwork)
    return {"task": task, "head": with_defaults(head, kind), "network": network}


def _optimizer(settings: dict[str, Any]) -> dict[str, Any]:
    settings = {"type": "AdamW", "clip_norm": None, "head_lr_scale": 1.0, **settings}
    every = with_defaults(settings, OPTIMIZERS.get(settings["type"]))
    return {key: value for key, value in every.items() if key in settings or key in _OPTIMIZER}


def _data(config: dict[str, Any], dataset: MixedDataset) -> dict[str, Any]:
    """The settings of a frame by their names in the config, and of each source what it holds."""
    frames = plain_value(frame_config(config))
    names = {field: key for key, field in FRAME_KEYS.items()}
    settings = {names.get(field, field): value for field, value in frames.items()}
    if settings.get("paste"):
        settings["paste"]["database"] = file_content(Path(settings["paste"]["database"]) / "objects.npz")
    if settings.get("ego_masks"):
        masks = sorted(Path(settings["ego_masks"]).glob("*.png"))
        settings["ego_masks"] = content(b"".join(mask.read_bytes() for mask in masks))
    parts = iter(dataset.datasets)
    found = []
    for source in source_settings(config):
        datasets = [next(parts) for _ in range(source.get("repeat", 1))]
        found.append(_source(source, datasets))  # type: ignore[arg-type]
    return settings | (found[0] if len(found) == 1 else {"sources": found})


def _source(source: dict[str, Any], datasets: list[FrameDataset]) -> dict[str, Any]:
    first = datasets[0]
    settings = {**FRAME_SOURCE_DEFAULTS, **source, "index": f"content {first.index.fingerprint[:16]}"}
    for name in _PATHS:
        if settings.get(name) is not None:
            settings[name] = file_content(settings[name])
    for name in ("root", "regions", "pseudo_labels", *PARAM_KEYS.values()):
        settings.pop(name, None)
    for name, default in FRACTION_DEFAULTS.items():  # an older contract has no word of them
        if settings.get(name) == default:
            settings.pop(name)
    # A cache's folder is named for all that made it.
    caches = {name: cache.folder.name for name, cache in first.caches.items()}
    rows = b"".join(dataset.rows.tobytes() for dataset in datasets)
    digest = hashlib.sha256(rows).hexdigest()[:16]
    return {**settings, "regions": caches, "frames": f"{len(first)} frames, content {digest}"}


def _sampler(section: dict[str, Any] | None) -> dict[str, Any] | None:
    """Which frames make a batch, a table by its content."""
    if section is None:
        return None
    settings = with_defaults(section, SAMPLERS.get(str(section.get("type"))))
    table = settings.get("table")
    return {**settings, "table": None if table is None else file_content(table)}


def _init(init: dict[str, Any]) -> dict[str, Any]:
    """What a run starts from, by content: the files may lie elsewhere."""
    settings = dict(init)
    run = settings.pop("run", None)
    settings.pop("stage", None)
    settings.pop("random", None)  # it says that nothing is missing
    if run is not None:
        files = sorted(Path(run).glob("*.safetensors"))
        if not files:
            fail("no finished pretraining run", run, "run `pc3d pretrain` with its config first")
        settings["run"] = {path.stem: f"content {content_hash(path)[:16]}" for path in files}
    for name in ("checkpoint", "lidar", "image", "camera"):
        if settings.get(name):
            settings[name] = f"content {content_hash(Path(settings[name]))[:16]}"
    return settings
