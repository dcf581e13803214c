"""A detector that learns one real key frame by heart: can it represent what is there?"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pc3d.data.build import build_index
from pc3d.data.dataset import FrameConfig, FrameDataset
from pc3d.data.index import SweepIndex
from pc3d.engine.checkpoints import frames_of, load_bev_model
from pc3d.engine.config import load_config
from pc3d.engine.finetuner import finetune
from pc3d.evaluation.detection_analysis import average_precision_by_distance
from pc3d.evaluation.detection_frames import true_detections_of
from pc3d.evaluation.downstream import predict_bev
from pc3d.models.bev_models import BevModel


def run(nuscenes: Path, config: Path, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """Train on the first key frame of a data set and score the same frame officially.

    Args:
        nuscenes: root of a `v1.0-mini` data set, of which one key frame is enough.
        config: fine-tuning config of a detector. overrides: settings over it.

    Returns:
        `map` (mean AP over the classes with boxes in range and the four distances), `ap` by class, `boxes`,
        the number of true boxes with points by class, and `iterations`.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        index = build_index("nuscenes", nuscenes, folder / "index", "", version="v1.0-mini")
        quiet = {"data.index": str(folder / "index"), "runtime.log_level": "WARNING"}
        settings = load_config(config, "finetune", {**quiet, **(overrides or {})})
        settings.data.pop("split", None)
        checkpoint = finetune(settings, folder / "run")
        result = score(load_bev_model(checkpoint), index, frames_of(checkpoint))
    return {**result, "iterations": settings.schedule.iterations}


def score(model: BevModel, index: SweepIndex, frames: FrameConfig) -> dict[str, Any]:
    """AP of the model on the first key frame of the index, see `run`."""
    dataset = FrameDataset(index, model.input_needs, rows=[0], config=frames)
    _, found = next(predict_bev(model, dataset))
    sweep = index[0]
    truth = true_detections_of(sweep)
    scores = average_precision_by_distance(
        (found.boxes, found.scores, found.labels),
        (truth.boxes, truth.labels),
        ego_SE3_boxes=sweep.ego_SE3_lidar,
    )
    return {**scores, "boxes": len(truth.boxes), "classes": np.unique(truth.labels).tolist()}
