"""Sampler, configs, schedules and guards of the engine."""

from __future__ import annotations

import runpy
import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from engine_configs import BACKBONES, CONFIGS
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.optim import CosineAnnealingLR, LinearLR

from pc3d.data.samplers import StreamSampler
from pc3d.engine.config import load_config, plain
from pc3d.engine.data import build_dataset
from pc3d.engine.finetuner import build_bev, build_finetuner
from pc3d.engine.optimization import ScheduleHook, build_optimizer
from pc3d.engine.pretrainer import build_pretrainer, objective_needs
from pc3d.engine.stages import stage_configs
from pc3d.engine.training import resolve_iterations
from pc3d.objectives.prc import PRC


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 9), start=st.integers(0, 30), world=st.integers(1, 3), seed=st.integers(0, 5))
def test_the_stream_is_whole_passes_split_over_ranks_and_starts_anywhere(
    length: int, start: int, world: int, seed: int
) -> None:
    whole = list(islice(StreamSampler(length, seed), 5 * length))
    for number in range(5):
        of_pass = [i for n, i in whole if n == number]
        assert sorted(of_pass) == list(range(length))
    for rank in range(world):
        sampler = StreamSampler(length, seed, rank, world)
        alone = list(islice(sampler, start + 7))
        assert alone[: len(whole[rank::world])] == whole[rank::world][: len(alone)]
        sampler.start = start
        assert list(islice(sampler, 7)) == alone[start:]


def test_an_empty_split_is_named() -> None:
    with pytest.raises(ValueError, match="label fraction is empty"):
        StreamSampler(0)


SHIPPED = sorted(path for path in CONFIGS.glob("*/*.py") if path.parent.name != "_base_")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_config_that_ships_is_read(path: Path) -> None:
    load_config(path, path.parent.name)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("pretrain/nuscenes_*.py")), ids=lambda path: path.stem)
def test_the_models_of_the_papers_settings_can_be_built(path: Path, tmp_path: Path) -> None:
    """With small image backbones of the same kind, as weights cannot be fetched here."""
    config = load_config(path, "pretrain")
    image = config.get("image")
    if image is not None:
        backbone = image.get("backbone", image)
        backbone.model = next(small for kind, small in BACKBONES.items() if kind in backbone.model)
    stages = stage_configs(config, tmp_path).values() if config.get("stages") else [config]
    for stage in stages:
        stage.pop("init", None)  # the stage before it has not run
        model = build_pretrainer(stage)
        assert objective_needs(plain(stage.objectives)).frames[0] == "t"
        assert sum(p.numel() for p in model.lidar.parameters()) > 4e6


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("finetune/*.py")), ids=lambda path: path.stem)
def test_the_models_of_the_downstream_settings_can_be_built(path: Path) -> None:
    config = load_config(path, "finetune")
    if config.get("task") is None:
        assert "num_classes" not in config.head, "it follows the index"
        config.head.num_classes = 7
        assert build_finetuner(config).model.num_classes == 7
        return
    if config.get("image") is not None and path.stem.startswith("nuscenes"):
        config.image.backbone.model = BACKBONES["swin"]
    model = build_bev(config)
    sections = {name for name in ("lidar", "image", "camera") if config.get(name) is not None}
    assert set(model.parts) == sections
    assert model.needs.images == ("image" in sections)


def test_the_length_that_is_asked_for_on_the_command_line_counts() -> None:
    path = CONFIGS / "pretrain/sim_prc.py"
    assert resolve_iterations(load_config(path, "pretrain").schedule, 400, 2) == 300
    longer = load_config(path, "pretrain", {"schedule.epochs": 5})
    assert resolve_iterations(longer.schedule, 400, 2) == 1000


def test_config_mistakes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    with pytest.raises(FileNotFoundError, match="no config at"):
        load_config(path, "pretrain")
    path.write_text("data = dict()\nlidar = dict()\nobjectives = dict()\nschedul = dict()\n")
    with pytest.raises(ValueError, match="`schedul` is no section; did you mean `schedule`"):
        load_config(path, "pretrain")
    path.write_text("data = dict()\nlidar = dict()\n")
    with pytest.raises(ValueError, match=r"`optimizer` is missing[\s\S]*`schedule` is missing"):
        load_config(path, "pretrain")
    with pytest.raises(ValueError, match=r"set `schedule\.iterations` or"):
        resolve_iterations({"kind": "cosine"}, 10, 2)
    with pytest.raises(ValueError, match=r"`schedule\.iterations` is 0, expected at least 1"):
        resolve_iterations({"iterations": 0}, 10, 2)
    assert resolve_iterations({"epochs": 3}, 10, 2) == 15
    assert resolve_iterations({"epochs": 3, "iterations": 7}, 10, 2) == 7
    with pytest.raises(ValueError, match="data has no setting batchsize"):
        build_dataset({"index": "x", "batchsize": 2}, PRC.needs)
    with pytest.raises(ValueError, match=r"set `data\.regions`"):
        build_dataset({"index": str(tmp_path)}, PRC.needs)


@pytest.mark.parametrize(("kind", "warmup"), [("one_cycle", 0.2), ("one_cycle", 0.01), ("cosine", 0.5)])
def test_schedules_are_those_of_the_step_by_step_form(kind: str, warmup: float) -> None:
    """mmengine's schedulers, which step from rate to rate, are the reference."""
    model = torch.nn.ModuleDict({"body": torch.nn.Linear(1, 1), "head": torch.nn.Linear(1, 1)})
    wrapper = build_optimizer(model, {"type": "SGD", "lr": 0.1, "head_lr_scale": 10.0})
    hook = ScheduleHook({"kind": kind, "warmup": warmup}, 50)
    rates = []
    for step in range(50):
        hook.before_train_iter(SimpleNamespace(iter=step, optim_wrapper=wrapper), step)
        rates.append([group["lr"] for group in wrapper.optimizer.param_groups])
    body, head = zip(*rates, strict=True)
    assert body == pytest.approx(step_by_step(kind, warmup))
    assert max(body) == pytest.approx(0.1, rel=1e-3)
    assert body[-1] < 1e-3
    assert head == pytest.approx([10 * rate for rate in body])


def step_by_step(kind: str, warmup: float) -> list[float]:
    """Rates of 50 steps from 0.1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    begin = round(50 * warmup) if kind == "one_cycle" else 0
    begin = 0 if begin < 2 else begin
    cosine = {"eta_min_ratio": 1e-4, "T_max": 50 - begin, "begin": begin, "end": 50}
    schedulers = [CosineAnnealingLR(optimizer, by_epoch=False, **cosine)]
    if begin:
        schedulers.insert(0, LinearLR(optimizer, start_factor=1 / 25, begin=0, end=begin, by_epoch=False))
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return rates


@pytest.mark.parametrize("tool", ["pretrain", "finetune"])
def test_a_missing_config_is_one_line(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As a script, which is run in this process."""
    script = str(CONFIGS.parent / "tools" / f"{tool}.py")
    monkeypatch.setattr(sys, "argv", [script, str(tmp_path / "no.py")])
    monkeypatch.setattr(sys, "path", list(sys.path))
    capfd.readouterr()
    with pytest.raises(SystemExit) as end:
        runpy.run_path(script, run_name="__main__")
    said = capfd.readouterr().err
    assert end.value.code == 2
    assert said.strip().splitlines()[-1].startswith("error: no config at")
    assert "Traceback" not in said
