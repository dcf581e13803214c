"""Trains configs as if on a GPU and writes what happened as JSON: a process of its own, see `pretend_cuda`.

    python pretend_steps.py OUT.json INDEX REGIONS pretrain/sim_joint ...

A name may end in `:bfloat16`, the precision; `:mutated`, with targets that are never moved to the GPU;
`:run`, a whole run with its hooks, checkpoints and log; or `:evaluate`, what is done with a checkpoint.
"""

# ruff: noqa: E402
from __future__ import annotations

import json
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "engine")]

import mmengine.runner.runner
import pytest
import torch
from engine_configs import BACKBONES, BEV, CONFIGS, NARROW
from mmengine.config import Config
from mmengine.hooks import Hook
from pretend_cuda import PretendCuda
from torch import nn

from pc3d.data.collate import collate
from pc3d.data.index import SweepIndex
from pc3d.engine import training
from pc3d.engine.checkpoints import load_encoder
from pc3d.engine.config import load_config, plain
from pc3d.engine.data import build_dataset
from pc3d.engine.data_classes import follow_index
from pc3d.engine.finetuner import build_finetuner, finetune, task_needs
from pc3d.engine.optimization import build_optimizer, prepare
from pc3d.engine.pretrainer import build_pretrainer, objective_needs, pretrain
from pc3d.engine.stages import stage_configs
from pc3d.evaluation import downstream, pseudo_labels, segmentation
from pc3d.evaluation.gpu import operations
from pc3d.evaluation.probes import knn_of_encoder
from pc3d.evaluation.temporal_voting import VotingConfig
from pc3d.models.bev_models import BevModel
from pc3d.models.heads.center_targets import GroupTargets

SMALL: dict[str, Any] = {
    "data.points": {"max_points": 3000},
    "data.image_size": (64, 128),
    "runtime.gradients_every": 0,
    "runtime.log_every": 50,
}
STEPS = 2


def narrow(name: str, index: str, regions: str) -> Config:
    """A shipped config on the tiny drive, with small networks of the same kinds."""
    kind, stem = name.split("/")
    config = load_config(CONFIGS / f"{name}.py", kind)
    chosen = {**NARROW, **SMALL, "data.index": index}
    if config.get("lidar") is None or config.lidar.get("type", "MinkUNet") != "MinkUNet":
        chosen = {key: value for key, value in chosen.items() if not key.startswith("lidar.")}
        grid = {"x_min": -24.0, "x_max": 24.0, "y_min": -24.0, "y_max": 24.0, "cell": 2.4}
        if config.get("lidar") is not None:
            kept = {key: value for key, value in BEV.items() if key.startswith("lidar.")}
            if config.lidar.type == "SECOND":
                del kept["lidar.pillar_channels"]
            chosen |= {**kept, "lidar.grid": grid}
        if config.get("camera") is not None:
            chosen |= {"camera.grid": grid, "camera.bev_channels": 8, "image.channels": 8}
    if stem.startswith("nuscenes"):
        chosen |= {"data.split": "sim_train"}
    if config.data.get("fraction"):
        chosen["data.fraction"] = 100
    if kind == "pretrain":
        chosen |= {"data.regions": regions, "data.superpixel_params": {"width": 448}}
    config = load_config(CONFIGS / f"{name}.py", kind, chosen)
    image = config.get("image")
    if image is not None:
        backbone = image.get("backbone", image)
        if "pretrained" in backbone or backbone.type == "EfficientNetLite0":
            backbone.pretrained = False
        if "model" in backbone:
            backbone.model = next(small for kind, small in BACKBONES.items() if kind in backbone.model)
    return config


def steps(name: str, index: str, regions: str) -> dict[str, Any]:
    """What training steps of a config, and a prediction of its head, did on the pretended GPU."""
    name, _, option = name.partition(":")
    config = narrow(name, index, regions)
    if config.get("stages"):
        config = list(stage_configs(config, Path("nowhere")).values())[-1]
    config.pop("init", None)
    if name.startswith("pretrain"):
        dataset = build_dataset(plain(config.data), objective_needs(plain(config.objectives)), 0)
        model: Any = build_pretrainer(config)
    else:
        dataset = build_dataset(plain(config.data), task_needs(config), 0)
        config = follow_index(config, dataset)
        model = build_finetuner(config)
    batch = collate([dataset[0, 0], dataset[0, 1]])
    precision = "bfloat16" if option == "bfloat16" else "float32"
    prepare(model, {"precision": precision})
    with PretendCuda(strict=False) as cuda:
        model.to("cuda")
        wrapper = build_optimizer(model, config.optimizer, {"precision": precision})
        for _ in range(STEPS):
            cuda.clear_counts()
            losses = model.train().train_step(batch, wrapper)
        found = {"waits": {f"{kind} {line}": n for (kind, line), n in cuda.syncs.items()}}
        found["losses"] = {key: float(value.detach().cpu()) for key, value in losses.items() if "loss" in key}
        if isinstance(getattr(model, "model", None), nn.Module):
            moved = batch.to("cuda")
            shown = moved if isinstance(model.model, BevModel) else moved.now.views["a"]
            predicted = model.eval().model.predict(shown)
            found["predictions"] = len(predicted)
    return {**found, "problems": list(cuda.problems), "hazards": list(cuda.hazards)}


def evaluation(name: str, index: str, regions: str) -> dict[str, Any]:
    """A checkpoint of one step, evaluated on the pretended GPU; with a segmenter pseudo-labels, too."""
    config = narrow(name.partition(":")[0], index, regions)
    config.pop("init", None)
    config.schedule.iterations = 1
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        run = Path(folder)
        checkpoint = finetune(config, run / "run")
        for module in (downstream, segmentation, pseudo_labels):
            patch.setattr(module, "chosen_device", torch.device)
        with PretendCuda(strict=False) as cuda:
            result = downstream.evaluate_checkpoint(checkpoint, index, "sim_val", run / "out", device="cuda")
            if checkpoint.stem == "segmenter":
                settings = pseudo_labels.PseudoLabelConfig(0.0, 1, VotingConfig(1))
                pseudo_labels.write_pseudo_labels(
                    checkpoint, index, "sim_val", run / "labels", settings, device="cuda"
                )
                encoder, drives = load_encoder(checkpoint).to("cuda"), SweepIndex.open(index)
                knn_of_encoder(encoder, drives, "sim_train", "sim_val")
    kept = {key: value for key, value in result.items() if key in ("frames", "miou", "nds", "miou_fixed")}
    return {"result": kept, "problems": list(cuda.problems), "hazards": list(cuda.hazards)}


class Watch(Hook):
    """Counts the waits of each step of a run, from its data to its hooks."""

    priority = "VERY_HIGH"

    def __init__(self, cuda: PretendCuda, inner: Hook) -> None:
        self.cuda, self.inner = cuda, inner
        self.waits: list[int] = []

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter:
            self.waits.append(self.cuda.syncs.total())
        self.cuda.clear_counts()

    def after_train(self, runner: Any) -> None:
        self.inner.after_train(runner)


def whole_run(name: str, index: str, regions: str) -> dict[str, Any]:
    """A run of five steps that logs after every second and saves at its end."""
    config = narrow(name.partition(":")[0], index, regions)
    config.runtime.log_every = 2
    config.schedule.iterations = 5
    watches = []
    with (
        PretendCuda(strict=False) as cuda,
        TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        for module in (training, mmengine.runner.runner):
            patch.setattr(module, "get_device", lambda: "cuda")
        hook = training.WeightsHook

        def watched(*args: Any) -> Watch:
            watches.append(Watch(cuda, hook(*args)))
            return watches[-1]

        patch.setattr(training, "WeightsHook", watched)
        pretrain(config, Path(folder))
        rows = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
        files = sorted(path.name for path in Path(folder).iterdir())
    found = {"waits_by_step": watches[0].waits, "rows": rows, "files": files}
    return {**found, "problems": list(cuda.problems), "hazards": list(cuda.hazards)}


def all_operations() -> dict[str, Any]:
    """What the benchmark for GPUs compares, on the pretended one."""
    with PretendCuda(strict=False) as cuda:
        found = {name: asdict(operations.compare(name, torch.device("cuda"))) for name in operations.NAMES}
    return {"operations": found, "problems": list(cuda.problems)}


def main() -> None:
    out, index, regions, *names = sys.argv[1:]
    torch.set_num_threads(1)
    results = {}
    for name in names:
        mutated = name.endswith(":mutated")
        moved = GroupTargets.to
        if mutated:
            GroupTargets.to = lambda self, device: self  # type: ignore[method-assign]
        try:
            if name == "operations":
                results[name] = all_operations()
                continue
            action = {"run": whole_run, "evaluate": evaluation}.get(name.partition(":")[2], steps)
            results[name] = action(name, index, regions)
        except Exception:
            results[name] = {"error": traceback.format_exc()}
        GroupTargets.to = moved  # type: ignore[method-assign]
    Path(out).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
