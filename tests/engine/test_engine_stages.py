"""Stages in several processes: no process reads what the first one has not yet written."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.config import Config

from pc3d.engine.runs.contract import LENGTH
from pc3d.engine.runs.folder import mark_finished
from pc3d.engine.runs.run import Mode
from pc3d.engine.stages import run_stages
from pc3d.models.weights_file import read_metadata, write_weights

STAGES = [{"name": "first"}, {"name": "second", "init": {"stage": "first"}}]


def _stage(config: Config, folder: Path, mode: Mode) -> Path:
    """Stands for a training: reads the weights that it starts from, and the first process writes slowly."""
    weights = folder / "backbone.safetensors"
    start = _names(Path(config.init.run, weights.name)) if "init" in config else ""
    if dist.get_rank() == 0:
        time.sleep(0.5)
        folder.mkdir(parents=True)
        write_weights(weights, {"a": torch.zeros(1)}, {"names": start + folder.name})
        mark_finished(folder, {LENGTH: 1}, 1, [weights])
    return weights


def _names(weights: Path) -> str:
    return read_metadata(weights)["names"]


def _process(rank: int, folder: str) -> None:
    store, patience = f"file://{folder}/store", timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=patience)
    config = Config({"stages": STAGES, "data": {"sources": []}})
    path = run_stages(config, Path(folder) / "run", Mode(), _stage)
    if rank == 0:
        assert _names(path) == "firstsecond"
    dist.destroy_process_group()


def test_a_stage_waits_for_the_weights_of_the_one_before(tmp_path: Path) -> None:
    mp.spawn(_process, (str(tmp_path),), nprocs=2)
    assert _names(tmp_path / "run/second/backbone.safetensors") == "firstsecond"
