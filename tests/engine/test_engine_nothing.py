"""How many examples each loss learned from, and what the first steps of a run make of that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_configs import BEV, CONFIGS, finetune_config, pretrain_config

from pc3d.data.batch import ID_KINDS, Batch, FrameBatch, Needs, Pairs
from pc3d.data.collate import collate
from pc3d.data.errors import DataError
from pc3d.engine.config import load_config, plain
from pc3d.engine.data import build_dataset
from pc3d.engine.data_classes import follow_index
from pc3d.engine.finetuner import build_finetuner
from pc3d.engine.first_steps import FIRST, FirstSteps
from pc3d.engine.frozen_parts import refuse_random_frozen
from pc3d.engine.pretrainer import build_pretrainer, objective_needs
from pc3d.engine.stages import stage_configs
from pc3d.models.heads.segmentation import IGNORED

SYSTEMS = [
    "fac",
    "joint",
    "pointcontrast",
    "ppkt",
    "prc",
    "proposalcontrast",
    "scalr",
    "seal",
    "slidr",
    "superflowpp",
]
STAGED = ["calico:rad", "bevdistill:bevdistill"]


def config_of(name: str, index: Path, regions: Path, folder: Path) -> Any:
    name, _, stage = name.partition(":")
    config = pretrain_config(index, regions, 1, f"sim_{name}", narrow=not stage, **(BEV if stage else {}))
    return stage_configs(config, folder)[stage] if stage else config


def system(name: str, index: Path, regions: Path, folder: Path) -> tuple[Any, Batch]:
    config = config_of(name, index, regions, folder)
    config.pop("init", None)
    data = build_dataset(plain(config.data), objective_needs(plain(config.objectives)))
    return build_pretrainer(config).eval(), collate([data[0, 1], data[0, 2]])


def bare(frame: FrameBatch) -> FrameBatch:
    """The frame without an id and without a pair."""
    ids = {name: torch.full_like(old, -1) for name in ID_KINDS if (old := getattr(frame, name)) is not None}
    if frame.pairs is not None:
        ids["pairs"] = Pairs(frame.pairs.row[:0], frame.pairs.camera[:0], frame.pairs.uv[:0])
    return replace(frame, **ids)


def apart(frame: FrameBatch) -> FrameBatch:
    """The frame with two views that share no point."""
    half = frame.num_points // 2
    views = dict(frame.views)
    for name, kept in (("a", views["a"].row < half), ("b", views["b"].row >= half)):
        cut = {key: getattr(views[name], key)[kept] for key in ("points", "batch", "row")}
        views[name] = replace(views[name], **cut)
    return replace(frame, views=views)


@pytest.mark.parametrize("name", SYSTEMS + STAGED)
def test_examples_are_none_where_a_batch_holds_none(
    name: str, tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    model, batch = system(name, tiny_index, tiny_regions, tmp_path)
    without = apart if name in ("pointcontrast", "proposalcontrast") else bare
    empty = replace(batch, frames={key: without(frame) for key, frame in batch.frames.items()})
    with torch.no_grad():
        sound, nothing = model(batch), model(empty)
    keys = {*model.learns_from, *model.terms}
    assert keys == {key for key in sound if key.endswith("examples")}
    assert set(model.learns_from) == {f"{key}/examples" for key in model.objectives}
    for key in keys:
        assert sound[key] > 0, key
        assert nothing[key] == 0, key


def test_a_segment_alone_teaches_nothing(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    model, batch = system("slidr", tiny_index, tiny_regions, tmp_path)
    superpixels = torch.full_like(batch.now.superpixels, -1)
    superpixels[0, 0] = 7
    batch = replace(batch, frames={"t": replace(batch.now, superpixels=superpixels)})
    result = model(batch)
    assert result["slidr/groups"] == 1
    assert result["slidr/examples"] == result["slidr/loss"] == 0


def test_a_loss_of_weight_0_is_not_judged(tiny_index: Path, tiny_regions: Path) -> None:
    weights = {"objectives.prc.weight": 0.0}
    model = build_pretrainer(pretrain_config(tiny_index, tiny_regions, 1, "demo_joint", **weights))
    assert set(model.learns_from) == {"superpixel/examples"}


def test_labelled_points_are_the_examples_of_lidarseg(tiny_index: Path) -> None:
    config = finetune_config(tiny_index, 1, **{"data.fraction": None})
    dataset = build_dataset(plain(config.data), Needs(labels=True))
    batch = collate([dataset[0, 0], dataset[0, 1]])
    labels = batch.now.labels
    assert labels is not None
    shown = batch.now.views["a"].row.tolist()
    expected = sum(int(labels[row]) != IGNORED for row in shown)
    assert 0 < expected == float(build_finetuner(follow_index(config, dataset))(batch)["head/examples"])


def steps(counts: list[float], start: int = 0, length: int = 100, key: str = "a/examples") -> FirstSteps:
    """A hook after steps with so many examples each, of a run of `length` steps that began at `start`."""
    hook = FirstSteps({"a/examples": "thing"}, {"a/term_examples": "a reason"}, lambda: ())
    runner = SimpleNamespace(iter=start, max_iters=length)
    hook.before_train(runner)
    views = {"a": SimpleNamespace(points=torch.zeros(5, 4))}
    frame = FrameBatch(views, 5, torch.zeros(5), torch.eye(4)[None])  # type: ignore[arg-type]
    for number, count in enumerate(counts):
        batch = Batch([f"sweep{number}"], {"t": frame})
        hook.after_train_iter(runner, runner.iter, batch, {key: torch.tensor(count)})
        runner.iter += 1
    return hook


def test_a_run_is_judged_by_its_first_steps() -> None:
    with pytest.raises(DataError, match=r"^a had nothing to learn from in the first 10 steps: no thing\n"):
        steps([0.0] * FIRST)
    with pytest.raises(
        DataError, match=r"sweeps sweep0, sweep1, sweep2, sweep3 and 6 more; the last batch holds 5 p"
    ):
        steps([0.0] * FIRST)
    with pytest.raises(DataError, match="in the first 3 steps"):
        steps([0.0] * 3, length=3)
    steps([0.0] * (FIRST - 1))
    steps([0.0] * (FIRST - 1) + [1.0] + [0.0] * 20)
    steps([1.0] + [0.0] * 20)


def test_a_resumed_run_is_not_judged_by_fewer_steps() -> None:
    steps([0.0] * 20, start=FIRST)
    steps([0.0] * 3, start=9, length=12)
    with pytest.raises(DataError, match="in the first 10 steps"):
        steps([0.0] * 10, start=9)


def test_a_term_without_examples_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    steps([0.0] * 30, key="a/term_examples")
    assert capsys.readouterr().out.count("warning  a/term: no example in the first 10 steps: a reason") == 1
    steps([1.0] * 30, key="a/term_examples")
    assert not capsys.readouterr().out


CONFIG_FILES = sorted(CONFIGS.glob("*/*.py"))


@pytest.mark.parametrize(
    "path", [p for p in CONFIG_FILES if p.parent.name in ("pretrain", "finetune")], ids=lambda p: p.stem
)
def test_no_config_freezes_random_weights(path: Path, tmp_path: Path) -> None:
    """But for the linear probes, which are told what they probe; a stage starts from the one before it."""
    config = load_config(path, path.parent.name)
    if path.stem.endswith("linear_probe"):
        with pytest.raises(ValueError, match="the frozen part lidar would stay at random weights"):
            refuse_random_frozen(plain(config))
        config.init = {"checkpoint": "backbone.safetensors"}
    for stage in stage_configs(config, tmp_path).values() if config.get("stages") else [config]:
        if stage.get("init", {}).get("run"):
            for name in ("backbone", "image_backbone", "camera"):
                Path(stage.init.run).mkdir(exist_ok=True)
                (Path(stage.init.run) / f"{name}.safetensors").touch()
        refuse_random_frozen(plain(stage))


@pytest.mark.parametrize(
    ("image", "random"),
    [
        ({"type": "TransformersEncoder", "model": {"model_type": "resnet"}, "frozen": True}, True),
        (
            {
                "type": "TransformersEncoder",
                "model": {"model_type": "resnet"},
                "frozen": True,
                "weights": "x",
            },
            False,
        ),
        ({"type": "TransformersEncoder", "model": {"model_type": "resnet"}}, False),
        ({"type": "TransformersEncoder", "model": "microsoft/resnet-50", "frozen": True}, False),
        ({"type": "EfficientNetLite0"}, False),
        ({"type": "EfficientNetLite0", "pretrained": False}, True),
        ({"type": "FPN", "backbone": {"type": "EfficientNetLite0"}}, False),
        ({"type": "FPN", "backbone": {"type": "EfficientNetLite0"}, "frozen": True}, True),
        ({"type": "FPN", "backbone": {"type": "EfficientNetLite0", "pretrained": False}}, True),
    ],
)
def test_a_frozen_image_encoder_has_weights(image: dict[str, Any], random: bool) -> None:
    config = {"image": image, "objectives": {}}
    if random:
        with pytest.raises(ValueError, match="the frozen image encoder"):
            refuse_random_frozen(config)
        refuse_random_frozen({**config, "init": {"random": True}})
    else:
        refuse_random_frozen(config)
