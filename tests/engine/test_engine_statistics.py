"""Local statistics as input columns: from a config through a backbone to predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from engine_configs import finetune_config, pretrain_config

from pc3d.data.batch import Needs
from pc3d.data.dataset import FrameDataset
from pc3d.data.index import SweepIndex
from pc3d.engine.checkpoints import frames_of, load_encoder, load_segmenter
from pc3d.engine.config import plain
from pc3d.engine.data import build_dataset
from pc3d.engine.finetuner import finetune
from pc3d.engine.pretrainer import pretrain
from pc3d.engine.runs.settings import run_contract
from pc3d.evaluation.probes import knn_of_encoder
from pc3d.evaluation.segmentation import predict_scans
from pc3d.evaluation.test_time_augmentation import AugmentedCopies

COLUMNS: dict[str, Any] = {"data.features": ("intensity", "statistics"), "lidar.in_channels": 17}


def test_columns_travel_with_backbone_and_model(tiny_index: Path, tmp_path: Path) -> None:
    cached = {**COLUMNS, "data.statistics_cache": str(tmp_path / "cache")}
    config = pretrain_config(tiny_index, tmp_path, 2, "sim_pointcontrast", **cached)
    backbone = pretrain(config, tmp_path / "pre")
    assert list((tmp_path / "cache").glob("statistics-*/*/*.npz"))
    assert tuple(frames_of(backbone).features) == COLUMNS["data.features"]

    start = {"init": {"checkpoint": str(backbone)}}
    model = finetune(finetune_config(tiny_index, 1, **COLUMNS, **start), tmp_path / "fine")
    index = SweepIndex.open(tiny_index)
    frames = frames_of(model)
    assert tuple(frames.features) == COLUMNS["data.features"]
    dataset = FrameDataset(index, Needs(), rows=index.key_rows("sim_val")[:1].tolist(), config=frames)
    segmenter = load_segmenter(model)
    plain_scan, mean = (
        next(iter(predict_scans(segmenter, dataset, tta=tta))) for tta in (None, AugmentedCopies(1))
    )
    torch.testing.assert_close(plain_scan.probabilities, mean.probabilities)
    probe = knn_of_encoder(
        load_encoder(backbone), index, "sim_train", "sim_val", points_per_sweep=20, features=frames.features
    )
    assert 0 <= probe["accuracy"] <= 1


def test_the_cache_is_no_part_of_what_a_run_is(tiny_index: Path, tmp_path: Path) -> None:
    contracts = []
    for more in ({}, {"data.statistics_cache": str(tmp_path)}):
        config = pretrain_config(tiny_index, tmp_path, 2, "sim_local_statistics", **more)
        contracts.append(
            run_contract(config, build_dataset(plain(config.data), Needs(statistics=True)), 2, 1)
        )
    assert contracts[0] == contracts[1]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "sim_pointcontrast",
            {"data.features": ("statistics", "intensity")},
            r"data\.features.*comes last, with 'intensity' before it",
        ),
        (
            "sim_pointcontrast",
            {"data.features": ("intensity", "statistics"), "lidar.in_channels": 18},
            r"lidar\.in_channels.*column 17 of the points, which have 17",
        ),
        (
            "sim_local_statistics",
            {"data.features": ("ring",)},
            r"data\.features.*lacks 'intensity', which the objective statistics is made of",
        ),
        (
            "sim_local_statistics",
            COLUMNS,
            r"objectives\.statistics.*would learn what the encoder is given",
        ),
        ("sim_local_statistics", {"objectives.statistics.head": "deep"}, r"objectives\.statistics\.head"),
        ("sim_local_statistics", {"objectives.statistics.unit": 0.0}, r"objectives\.statistics\.unit"),
    ],
)
def test_what_does_not_go_together_is_said_at_once(
    name: str, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        pretrain_config(tmp_path, tmp_path, 1, name, **settings)


def test_columns_for_others_may_stand_beside_the_target(tmp_path: Path) -> None:
    settings = {"data.features": ("intensity", "statistics"), "lidar.in_channels": 4}
    pretrain_config(tmp_path, tmp_path, 1, "sim_local_statistics", **settings)
