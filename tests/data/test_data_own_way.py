"""A folder of one's own, with four commands and one edited YAML, to a score on its own classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rewritten_drive import CLASSES, calibration, edited, write_own_drive
from torch import nn

from pc3d.cli import dispatch
from pc3d.data.errors import DataError
from pc3d.engine.checkpoints import classes_of_model, load_segmenter

SMALL = ["data.batch_size=1", "data.workers=0", "schedule.iterations=2", "runtime.log_every=1"]
NARROW = [
    "lidar.widths=(8,8,8,8,8,8,8,8)",
    "lidar.stem=8",
    "lidar.voxel_size=(0.5,0.5,0.5)",
    "lidar.bev_channels=8",
]


def test_from_a_folder_to_a_score(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = write_own_drive(real_data, tmp_path / "own")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="would be guesses"):
        dispatch(["index", "own", "--out", "index"])
    (tmp_path / "own" / "calibration.yaml").write_text(edited(calibration(sweeps[0])))

    dispatch(["index", "own", "--out", "index"])
    settings = ["--cfg-options", *SMALL, *NARROW]
    given = ["--data", "own", "--index", "index", "--work-dir", "pre"]
    dispatch(["pretrain", "sim_slidr", *given, *settings, "data.superpixel_params.width=112"])
    start = ["--index", "index", "--init", "pre/backbone.safetensors", "--work-dir", "fine"]
    dispatch(["finetune", "sim_5_percent", *start, *settings, "data.fraction=100"])
    dispatch(["evaluate", "fine/segmenter.safetensors", "--split", "val"])

    metrics = json.loads(next((tmp_path / "fine").rglob("metrics.json")).read_text())
    assert metrics["evaluator"] == "pc3d"
    assert set(metrics["iou"]) == set(CLASSES)
    assert 0 <= metrics["miou"] <= 1
    classes = classes_of_model(tmp_path / "fine" / "segmenter.safetensors")
    assert classes is not None
    assert classes.classes == CLASSES
    segmenter = load_segmenter(tmp_path / "fine" / "segmenter.safetensors")
    assert (
        next(m for m in reversed(list(segmenter.head.modules())) if isinstance(m, nn.Linear)).out_features
        == 5
    )
    index = json.loads((tmp_path / "index" / "metadata.json").read_text())
    assert index["classes"] == classes.to_dict()
    assert np.isfinite(
        [json.loads(line)["loss"] for line in (tmp_path / "pre" / "metrics.jsonl").open()]
    ).all()
