"""The files that pc3d reads: a small sound one of each format, and how it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pc3d.data.classes import load_class_set
from pc3d.data.images import load_ego_masks, load_image
from pc3d.data.index import SweepIndex
from pc3d.data.labels import load_label_file
from pc3d.data.paste import PasteConfig, PasteDatabase, build_paste_database
from pc3d.data.points import load_points
from pc3d.data.records import Boxes
from pc3d.data.region_cache import RegionCache
from pc3d.data.splits import read_tokens, write_tokens
from pc3d.engine.config import load_config
from pc3d.engine.runs.folder import mark_finished, read_marker
from pc3d.engine.runs.store import CheckpointStore
from pc3d.evaluation.settings import prepare_folder, write_metrics
from pc3d.models.checkpoint import read_tensors
from pc3d.models.weights import save_backbone
from pc3d.models.weights_file import read_weights
from pc3d.regions.semantics.kmeans import Codebook
from pc3d.regions.semantics.png import load_ids
from pc3d.storage.whole import write_json

NUSCENES = load_class_set("nuscenes")


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        make: writes sound files into a folder; gives the one that is spoiled.
        read: reads that file; what it gives is looked through for values that are not finite.
        text: whether it is spoiled by words, too.
        folder: an error may name the folder instead of the file: several files may be the wrong one.
    """

    make: Callable[[Path, Sources], Path]
    read: Callable[[Path], Any]
    text: bool = False
    folder: bool = False


@dataclass(frozen=True)
class Sources:
    """Sound data: a simulated data set, a drive made by hand."""

    nuscenes: Path
    index: SweepIndex


def _file(
    name: str,
    write: Callable[[Path], object],
    read: Callable[[Path], Any],
    text: bool = False,
    folder: bool = False,
) -> Format:
    def make(place: Path, _: Sources) -> Path:
        place.mkdir(parents=True, exist_ok=True)
        write(place / name)
        return place / name

    return Format(make, read, text, folder)


def _points(columns: int, scale: float) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        rng = np.random.default_rng(0)
        points = rng.uniform(-30, 30, (300, columns)).astype(np.float32)
        points[:, 3] = rng.integers(0, 256, 300) / scale
        points[:, 4:] = rng.integers(0, 32, (300, columns - 4))
        points.tofile(path)

    return write


_NUMBERS = np.random.default_rng(0).integers(0, 150, (8, 16, 3))
PICTURE = Image.fromarray(_NUMBERS.astype(np.uint8)).resize((64, 32))
IDS = _NUMBERS[..., 0].repeat(4, 0).repeat(4, 1).astype(np.int16)


def _cache(folder: Path, _: Sources) -> Path:
    return RegionCache(folder, "superpixels", {"segments": 150, "size": [64, 32]}).save("t", {"FRONT": IDS})


def _read_params(path: Path) -> Any:
    cache = RegionCache.find(path.parents[1], "superpixels")
    return cache.params, cache.load_all("t")


def _objects(name: str) -> Format:
    def make(folder: Path, sources: Sources) -> Path:
        rows = sources.index.key_rows()
        tokens = [sources.index[int(row)].token for row in rows]
        build_paste_database(sources.index, tokens, folder / "objects", min_points=1)
        return folder / "objects" / name

    return Format(make, _read_objects, folder=True)


def _read_objects(path: Path) -> Any:
    database = PasteDatabase.open(path.parent)
    config = PasteConfig(str(path.parent), {"car": 9, "pedestrian": 9})
    classes = load_class_set("nuscenes")
    database.check(("intensity",), 1, config, classes)
    empty = Boxes(
        np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros((0, 2)), (), (), np.zeros(0, np.int64), ()
    )
    return database.paste(config, np.zeros((1, 4), np.float32), empty, classes, np.random.default_rng(0))


def _network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))


def _checkpoint(name: str) -> Format:
    def make(folder: Path, _: Sources) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        state = {"model": _network().state_dict(), "rank": [{"random": torch.arange(5)}]}
        CheckpointStore(folder).save(state, 3, 6, {"data.batch_size": 2, "optimizer.lr": 0.1})
        return folder / name

    return Format(make, _read_checkpoint, name.endswith("json"), folder=True)


def _read_checkpoint(path: Path) -> Any:
    store = CheckpointStore(path.parent)
    found = store.find(every=True)
    if found.newest is None:
        raise ValueError(f"no checkpoint in {path.parent} is whole: {found.broken}")
    return store.read(found.newest), found.newest.contract


CONFIG = {
    "data": {"index": "work_dirs/index", "split": "train", "batch_size": 2, "fraction": 5},
    "lidar": {"type": "MinkUNet", "depth": 18, "voxel_size": [0.1, 0.1, 0.1]},
    "optimizer": {"lr": 0.02, "weight_decay": 1e-4},
    "schedule": {"iterations": 3},
    "head": {"num_classes": 16},
    "seed": 0,
}
YAML = """data:
  index: work_dirs/index
  split: train
  batch_size: 2
  fraction: 5
lidar: {type: MinkUNet, depth: 18, voxel_size: !!python/tuple [0.1, 0.1, 0.1]}
optimizer:
  lr: 0.02
schedule:
  iterations: 3
head: {num_classes: 16}
seed: 0
"""
SETTINGS = {
    "checkpoint": {"file": "a.safetensors", "sha256": "0"},
    "split": "val",
    "tta": None,
    "data": {"index": "1"},
}

FILES: dict[str, Format] = {
    "points of nuscenes": _file(
        "a.pcd.bin", _points(5, 1), lambda path: load_points(path, "nuscenes", "abc")
    ),
    "points of kitti": _file("a.bin", _points(4, 256), lambda path: load_points(path, "kitti", "abc")),
    "lidarseg": _file(
        "a_lidarseg.bin",
        lambda path: (np.arange(300) % 32).astype(np.uint8).tofile(path),
        lambda path: load_label_file(path, 300, NUSCENES, "abc"),
    ),
    "jpeg": _file("a.jpg", PICTURE.save, lambda path: load_image(path, "abc", (16, 8))),
    "png": _file("a.png", PICTURE.save, lambda path: load_image(path, "abc")),
    "ego mask": _file("FRONT.png", PICTURE.convert("L").save, lambda path: load_ego_masks(path.parent)),
    "semantics png": _file("a.png", Image.fromarray(IDS.astype(np.uint16)).save, load_ids),
    "region cache": Format(
        _cache, lambda path: RegionCache.find(path.parents[2], "superpixels").load_all("t")
    ),
    "params.json of a cache": Format(
        lambda f, s: _cache(f, s).parents[1] / "params.json", _read_params, True, True
    ),
    "codebook": _file(
        "codebook.npz",
        Codebook(np.zeros(3, np.float32), np.ones(3, np.float32), np.ones((5, 3), np.float32)).save,
        lambda path: Codebook.load(path).ids(torch.zeros(2, 3)),
    ),
    "paste objects.npz": _objects("objects.npz"),
    "paste points.bin": _objects("points.bin"),
    "token list": _file(
        "a.txt", lambda path: write_tokens(path, ["a1", "b/c", "d"], "a list"), read_tokens, True
    ),
    "weights": _file(
        "a.safetensors", lambda path: save_backbone(_network(), path, {"lidar": "{}"}), read_weights
    ),
    "checkpoint iter_3.pth": _checkpoint("iter_3.pth"),
    "checkpoint iter_3.json": _checkpoint("iter_3.json"),
    "published checkpoint": _file(
        "a.pth", lambda path: torch.save({"state_dict": _network().state_dict()}, path), read_tensors
    ),
    "config yaml": _file(
        "a.yaml", lambda path: path.write_text(YAML), lambda p: load_config(p, "finetune"), True
    ),
    "config json": _file(
        "a.json", lambda path: path.write_text(json.dumps(CONFIG)), lambda p: load_config(p, "finetune"), True
    ),
    "metrics.json": _file(
        "metrics.json",
        lambda path: write_metrics(path.parent, {"miou": 0.5, "iou": [0.1, None]}, SETTINGS),
        lambda path: prepare_folder(path.parent, path.parent / "a.safetensors", SETTINGS),
        True,
        True,
    ),
    "finished.json": _file(
        "finished.json",
        lambda path: mark_finished(path.parent, {"seed": 0, "optimizer.lr": 0.1}, 3, []),
        lambda path: type(read_marker(path.parent)),
        True,
    ),
    "run.json": _file(
        "run.json",
        lambda path: write_json(path, {"format": 2, "kind": "finetune", "started": "now"}),
        lambda path: type(read_marker(path.parent, "run.json")),
        True,
    ),
}
