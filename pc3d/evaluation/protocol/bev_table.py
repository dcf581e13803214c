"""The probe of BEV maps for pretraining runs, beside what needs none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pc3d.data.errors import fail
from pc3d.data.frame_types import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.records import Float32
from pc3d.engine.data import frame_config, frame_settings
from pc3d.engine.initial_weights import FILES, load_part
from pc3d.engine.settings.files import read_files
from pc3d.evaluation.label_efficiency import json_values
from pc3d.evaluation.protocol.bev import CELLS_PER_SWEEP, REACH, BevData, draw_cells, probe_cells
from pc3d.evaluation.protocol.bev_features import lidar_statistics, of_camera_map, of_lidar_map, position
from pc3d.evaluation.protocol.data import spread_key_frames
from pc3d.models.bev import build_view_transform
from pc3d.models.bev.base import ViewTransform
from pc3d.models.image import build_image_encoder
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar import build_lidar_encoder
from pc3d.models.lidar.base import LidarEncoder

POSITION = "position of the cell"
STATISTICS = "statistics of its points"
RANDOM_CAMERA = "untrained camera branch"
RANDOM_LIDAR = "untrained LiDAR encoder"


@dataclass(frozen=True, eq=False)
class Branches:
    """LiDAR encoder and camera branch of a pretraining run; an untrained part is as its seed makes it.

    Attributes:
        frames: what they are shown.
        trained: of `lidar`, `image`, `camera`: parts that the run has weights of.
    """

    lidar: LidarEncoder
    image: ImageEncoder
    camera: ViewTransform
    frames: FrameConfig
    trained: frozenset[str]

    @classmethod
    def of(cls, run: Path, load: bool = True, seed: int = 0) -> Branches:
        """The branches of the run in a folder.

        Args:
            load: read the run's weights; else only its config counts.
            seed: of parts without weights.

        Raises:
            DataError: no run, one without a camera branch, or weights that cannot be used.
            ValueError: weights that do not fit.
        """
        run = Path(run)
        if not (run / "config.py").is_file():
            fail("no pretraining run", run, "name the folder of one, which has a config.py")
        settings, _ = read_files(run / "config.py")
        if not (settings.get("image") and settings.get("camera")):
            fail("the run has no camera branch", run, "name one of a config with `image` and `camera`")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            lidar = build_lidar_encoder(settings["lidar"])
            image = build_image_encoder(settings["image"])
            camera = build_view_transform(settings["camera"], image)
        parts = {"lidar": lidar, "image": image, "camera": camera}
        files = {name: run / f"{FILES[name]}.safetensors" for name in parts if load}
        trained = frozenset(name for name, file in files.items() if file.is_file())
        for name in trained:
            load_part(parts[name], files[name])
        return cls(lidar, image, camera, frame_config(frame_settings(settings.get("data", {}))), trained)


def bev_table(
    index: SweepIndex,
    runs: Mapping[str, Path],
    splits: tuple[str, str] = ("sim_train", "sim_val"),
    sweeps: tuple[int, int] = (80, 60),
    cells_per_sweep: int = CELLS_PER_SWEEP,
    reach: float = REACH,
    seed: int = 0,
    say: Callable[[str], object] = lambda text: None,
) -> dict[str, Any]:
    """Every run's camera map and LiDAR map, and references, on the same cells.

    Rows: the position of a cell alone, which knows where roads usually are; statistics of its points, made by
    hand; of the first run's config an untrained camera branch (ImageNet's weights in its backbone, batch-norm
    statistics estimated on the training sweeps) and an untrained LiDAR encoder; of each run the camera map,
    and the LiDAR map that it is taught by; and the position beside each map, for what the map adds to it.

    Args:
        runs: folders of pretraining runs with a camera branch, by the name that the table shows.
        splits, sweeps: of the training and the validation part, and how many key frames of each.
        seed: of the cells and of what is untrained.
        say: is told what is computed.

    Returns:
        JSON values: `settings`, and `rows`: by name what `probe_cells` gives and `columns`.

    Raises:
        DataError, ValueError: no run; a run, split or map cannot be used.
    """
    if not runs:
        raise ValueError("no run to probe: name the folder of at least one")
    branches = {name: Branches.of(folder, seed=seed) for name, folder in runs.items()}
    untrained = Branches.of(next(iter(runs.values())), load=False, seed=seed)
    grid = untrained.camera.grid
    train, val = (
        draw_cells(index, spread_key_frames(index, split, count), grid, cells_per_sweep, reach, seed)
        for split, count in zip(splits, sweeps, strict=True)
    )
    rows: dict[str, Any] = {}
    placed = position(train), position(val)
    for name, (a, b) in _features(train, val, branches, untrained, say):
        beside = {} if name == POSITION else {f"{name}, {POSITION} beside": (placed[0], placed[1])}
        rows[name] = _row(a, train, b, val)
        for joined, (c, d) in beside.items():
            rows[joined] = _row(np.hstack([c, a]), train, np.hstack([d, b]), val)
    settings = {
        "splits": splits,
        "sweeps": (len(train.tokens), len(val.tokens)),
        "cells": (len(train), len(val)),
        "reach": reach,
        "cell": grid.cell,
        "seed": seed,
        "index": index.fingerprint,
    }
    return json_values({"settings": settings, "rows": rows})


def _features(
    train: BevData,
    val: BevData,
    branches: Mapping[str, Branches],
    untrained: Branches,
    say: Callable[[str], object],
) -> Iterator[tuple[str, tuple[Float32, Float32]]]:
    def camera(of: Branches, estimate_on: BevData | None = None) -> tuple[Float32, Float32]:
        x, y = (of_camera_map(data, of.image, of.camera, of.frames, estimate_on) for data in (train, val))
        return x, y

    def lidar(of: Branches) -> tuple[Float32, Float32]:
        return of_lidar_map(train, of.lidar, of.frames), of_lidar_map(val, of.lidar, of.frames)

    yield POSITION, (position(train), position(val))
    say(STATISTICS)
    yield STATISTICS, (lidar_statistics(train), lidar_statistics(val))
    say(RANDOM_CAMERA)
    yield RANDOM_CAMERA, camera(untrained, train)
    yield RANDOM_LIDAR, lidar(untrained)
    for name, of in branches.items():
        say(name)
        if "camera" in of.trained:
            yield f"{name}: camera", camera(of)
        if "lidar" in of.trained:
            yield f"{name}: LiDAR", lidar(of)


def _row(a: Float32, train: BevData, b: Float32, val: BevData) -> dict[str, Any]:
    return {"columns": a.shape[1], **probe_cells(a, train.targets, b, val.targets)}


def bev_markdown(table: Mapping[str, Any]) -> str:
    """Average precision and IoU of a `bev_table`, in percent."""
    first: dict[str, Any] = next(iter(table["rows"].values()))
    names: Sequence[str] = [*first["means"], *first["masks"]]
    lines = [
        f"{table['settings']['cells'][0]} training and {table['settings']['cells'][1]} validation cells; "
        "average precision / IoU at 0.5, in %",
        "",
        f"| features | columns | {' | '.join(names)} |",
        "|---|---|" + "---|" * len(names),
        f"| share of the cells | | {' | '.join(_share(first, name) for name in names)} |",
    ]
    for name, row in table["rows"].items():
        both = {**row["means"], **row["masks"]}
        star = "" if all(mask["converged"] for mask in row["masks"].values()) else " *"
        scores = (f"{_percent(both[key]['ap'])} / {_percent(both[key]['iou'])}" for key in names)
        lines.append(f"| {name}{star} | {row['columns']} | {' | '.join(scores)} |")
    if any(" *" in line for line in lines):
        lines += ["", "\\* a logistic regression did not converge"]
    return "\n".join([*lines, ""])


def _share(row: Mapping[str, Any], name: str) -> str:
    return _percent(row["masks"][name]["share"]) if name in row["masks"] else ""


def _percent(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{100 * value:.1f}"
