"""Pretraining and fine-tuning on the tiny simulated drive: files, resuming, official scores."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_configs import BEV, CONFIGS, finetune_config, pretrain_config, read_metrics
from mmengine.config import Config
from mmengine.hooks import Hook
from safetensors.torch import load_file

from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.samplers import StreamSampler
from pc3d.data.splits import write_tokens
from pc3d.engine import training
from pc3d.engine.checkpoints import load_segmenter
from pc3d.engine.finetuner import finetune
from pc3d.engine.pretrainer import pretrain
from pc3d.evaluation.metrics import mean_iou
from pc3d.evaluation.segmentation import evaluate_checkpoint
from pc3d.regions.build import open_cache
from pc3d.regions.superpixels import SuperpixelParams


class StopAt(Hook):
    """Ends a run in the middle of a step, as a killed process would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.step:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole_run(tiny_index: Path, tiny_regions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run") / "whole"
    pretrain(pretrain_config(tiny_index, tiny_regions, 4), run)
    return run


def test_a_run_writes_what_it_promises(whole_run: Path) -> None:
    for name in ("config.py", "environment.json", "metrics.jsonl", "backbone.safetensors", "tensorboard"):
        assert (whole_run / name).exists(), name
    rows = read_metrics(whole_run)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for key in ("loss", "prc/loss", "superpixel/loss", "prc/effective_rank", "superpixel/point_share"):
        assert all(np.isfinite(row[key]) for row in rows), key
    total = [row["prc/loss"] + row["superpixel/loss"] for row in rows]
    np.testing.assert_allclose([row["loss"] for row in rows], total, rtol=1e-5)


def test_checkpoints_are_plain_data(whole_run: Path) -> None:
    name = (whole_run / "last_checkpoint").read_text().strip()
    assert name == "iter_4.pth"
    checkpoint = torch.load(whole_run / name, weights_only=True)
    assert (checkpoint["step"], checkpoint["samples"]) == (4, 8)


def test_a_resumed_run_ends_with_the_same_weights(
    whole_run: Path,
    tiny_index: Path,
    tiny_regions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = pretrain_config(tiny_index, tiny_regions, 4, **{"runtime.save_every": 2})
    with monkeypatch.context() as patch:
        patch.setattr(training, "WeightsHook", lambda *args: StopAt(3))
        with pytest.raises(KeyboardInterrupt):
            pretrain(config, tmp_path)
    pretrain(config, tmp_path, resume=True)
    assert "going on from step 2" in capsys.readouterr().out
    expected, resumed = (load_file(run / "backbone.safetensors") for run in (whole_run, tmp_path))
    assert expected.keys() == resumed.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, resumed[name]), name
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3, 4]


def test_a_model_of_another_shape_ends_with_its_workers(
    whole_run: Path, tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    """They are started before the checkpoint is read, and the process could not end before them."""
    shutil.copytree(whole_run, tmp_path / "run")
    config = pretrain_config(tiny_index, tiny_regions, 6, **{"lidar.stem": 8, "data.workers": 1})
    with pytest.raises(DataError, match=r"does not fit(.|\n)*stem"):
        pretrain(config, tmp_path / "run", resume=True, allow_change=["lidar.stem"])
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("marker", ["{}", "[]", '{"files": 3, "contract": 4, "iterations": 1}', "x"])
def test_a_marker_of_something_else_is_named(
    whole_run: Path, tiny_index: Path, tiny_regions: Path, tmp_path: Path, marker: str
) -> None:
    shutil.copytree(whole_run, tmp_path / "run")
    (tmp_path / "run/finished.json").write_text(marker)
    with pytest.raises(DataError, match="marker of a run is broken"):
        pretrain(pretrain_config(tiny_index, tiny_regions, 4), tmp_path / "run", resume=True)
    with pytest.raises(DataError, match="marker of a run is broken"):
        load_segmenter(tmp_path / "run/backbone.safetensors")


def run_two_processes(config: Config, folder: Path, stage: str = "") -> list[dict]:
    """Train in two processes on CPU, as the command line does; returns the first one's metrics of a stage."""
    (folder / "config.py").write_text(config.pretty_text)
    command = ["bash", str(CONFIGS.parent / "tools/torchrun.sh"), "2", "pretrain", str(folder / "config.py")]
    options, env = ["--work-dir", str(folder / "run")], {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run([*command, *options], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (folder / "run/backbone.safetensors").is_file()
    return read_metrics(folder / "run" / stage)


def test_two_processes_train_one_model(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    """Superpixel contrast leaves the BEV head without a gradient: it must not hang."""
    rows = run_two_processes(pretrain_config(tiny_index, tiny_regions, 3, "sim_slidr"), tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(np.isfinite(row["loss"]) for row in rows)


@pytest.mark.long  # test_engine_stages.py has two processes wait for each other between stages
def test_two_processes_train_in_stages(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    """The second stage, with a frozen LiDAR encoder, starts in both from what the first process wrote."""
    config = pretrain_config(tiny_index, tiny_regions, 1, "sim_calico", narrow=False, **BEV)
    config.data.batch_size = 1
    rows = run_two_processes(config, tmp_path, "rad")
    assert [row["step"] for row in rows] == [1]
    assert np.isfinite(rows[0]["rad/loss"])


def test_a_process_without_regions_goes_along(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    """In each step one process has a sweep without regions and ids, and the other one does not.

    The negatives of two objectives come from both processes, forwards and backwards.
    """
    index = SweepIndex.open(tiny_index)
    scenes = [index.scene_rows(0), index.scene_rows(int(index.key_rows("sim_train")[-1]))]
    write_tokens(tmp_path / "tokens.txt", [index[scene[0]].token for scene in scenes], "the test")
    kinds = {"clusters": None, "semantics": None, "superpixels": SuperpixelParams(width=448)}
    for kind, params in kinds.items():
        for number, row in ((n, row) for n, scene in enumerate(scenes) for row in scene):
            if index[row].is_key_frame:
                arrays = open_cache(tiny_regions, kind, params).load_all(index[row].token)
                bare = {name: np.full_like(array, -1) for name, array in arrays.items()}
                open_cache(tmp_path, kind, params).save(index[row].token, bare if number else arrays)
    settings = {
        "seed": 3,  # the first process reads one sweep, then the other
        "data.tokens": str(tmp_path / "tokens.txt"),
        "data.split": None,
        "data.batch_size": 1,
        "data.cameras": 1,
        "objectives.flow.gather": True,
        "objectives.slidr": {"type": "SuperpixelContrast", "pixel_stride": 4, "gather": True},
    }
    rows = run_two_processes(pretrain_config(tiny_index, tmp_path, 2, "sim_joint", **settings), tmp_path)
    first = [position for _, position in islice(StreamSampler(2, seed=3, rank=0, world=2), 2)]
    assert sorted(first) == [0, 1]
    for row, position in zip(rows, first, strict=True):
        assert np.isfinite(row["loss"])
        for key in ("prc/plrc", "fac/loss", "flow/loss", "slidr/loss"):
            assert (row[key] == 0) == (position == 1), key


def test_finetuning_from_a_backbone_is_scored_officially(
    whole_run: Path, tiny_index: Path, tmp_path: Path
) -> None:
    backbone = whole_run / "backbone.safetensors"
    probe = {"head.freeze": True, "init.checkpoint": str(backbone)}
    config = finetune_config(tiny_index, 3, **probe)
    checkpoint = finetune(config, tmp_path)
    tuned, start = load_file(checkpoint), load_file(backbone)
    for name, tensor in start.items():
        assert torch.equal(tuned[f"encoder.{name}"], tensor), f"the frozen probe changed {name}"
    result = evaluate_checkpoint(checkpoint, tiny_index, "sim_val", tmp_path / "evaluation")
    confusion = torch.from_numpy(np.load(tmp_path / "evaluation/confusion.npy"))
    assert result["miou"] == pytest.approx(mean_iou(confusion, "official"), abs=1e-6)
    assert result["frames"] == 3


def test_a_backbone_of_another_width_is_refused_with_its_names(
    whole_run: Path, tiny_index: Path, tmp_path: Path
) -> None:
    settings = {"lidar.stem": 8, "init.checkpoint": str(whole_run / "backbone.safetensors")}
    with pytest.raises(ValueError, match=r"stem"):
        finetune(finetune_config(tiny_index, 1, **settings), tmp_path)


def test_a_backbone_is_no_segmenter(whole_run: Path) -> None:
    with pytest.raises(DataError, match="not a fine-tuned segmenter"):
        load_segmenter(whole_run / "backbone.safetensors")


def test_real_frames_pretrain_and_the_loss_falls(real_data: Path, tmp_path: Path) -> None:
    from pc3d.demo import real

    settings = {
        "lidar.widths": (8, 8, 16, 16, 16, 16, 16, 16),
        "lidar.voxel_size": (0.4, 0.4, 0.4),
        "data.workers": 0,
        "schedule.iterations": 12,
        "runtime.log_every": 1,
        "runtime.log_level": "WARNING",
    }
    report = real.run(real_data, tmp_path, CONFIGS, settings)
    losses = [row["loss"] for row in read_metrics(tmp_path / "pretrain")]
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.3
    assert "data:image" in report.read_text()
