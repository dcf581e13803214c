"""Pretraining, fine-tuning, evaluation and prediction as functions, from drives to labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import MINK

import pc3d
from pc3d.api.training import LIDARS, method_config
from pc3d.data.index import SweepIndex
from pc3d.data.points.load import load_sweep
from pc3d.engine.config import load_config
from pc3d.export import export_checkpoint
from pc3d.models.lidar import build_lidar_encoder
from pc3d.models.weights import content_hash

QUICK: dict[str, Any] = {
    "data.batch_size": 2,
    "data.workers": 0,
    "runtime.log_every": 1,
    "runtime.log_level": "WARNING",
    "schedule.iterations": 2,
}


def test_from_drives_to_labels(
    tiny_nuscenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    backbone = pc3d.pretrain(
        data=tiny_nuscenes, method="PRC", lidar=MINK, out="runs/a", workers=1, settings=QUICK
    )
    assert backbone == Path("runs/a/backbone.safetensors")
    assert json.loads(Path("runs/a/run.json").read_text())
    encoder = pc3d.load_backbone("runs/a")
    index = SweepIndex.open("runs/a/index")
    model = pc3d.finetune(
        "sim_5_percent",
        "runs/b",
        index="runs/a/index",
        start=backbone,
        settings={**QUICK, "lidar": {"_delete_": True, **MINK}, "data.fraction": 100},
    )
    assert model == Path("runs/b/segmenter.safetensors")
    metrics = pc3d.evaluate(model, split="sim_val")
    assert 0 <= metrics["miou"] <= 1
    assert list(Path("runs/b").glob("evaluation*/metrics.json"))
    card = Path("runs/b/README.md").read_text()
    assert (
        f'- `segmenter.safetensors`, evaluation, split sim_val: {{"miou": {round(metrics["miou"], 4)}' in card
    )
    assert f"content {content_hash(model)}" in card

    row = int(index.key_rows("sim_val")[0])
    points = load_sweep(index[row])
    features = encoder.encode([points])
    assert features.points[0].shape == (len(points), encoder.point_channels)
    (labels,) = pc3d.predict(model, [points])
    assert labels.shape == (len(points),)

    (folder, _), _ = export_checkpoint(Path("runs/b"), "hub", Path("exports"))
    assert {file.name for file in folder.iterdir()} == {"segmenter.safetensors", "config.json", "README.md"}
    (folder, _), _ = export_checkpoint(Path("runs/a"), "hub", Path("exports/a"))
    assert (folder / "backbone.safetensors").read_bytes() == backbone.read_bytes()
    config = json.loads((folder / "config.json").read_text())
    assert config["lidar"]["widths"] == MINK["widths"]
    card = (folder / "README.md").read_text()
    assert "- prc: " in card
    assert f"content {content_hash(backbone)}" in card
    assert "split sim_train, 21 sweeps; licence: " in card
    assert "`schedule.iterations`: 2" in card
    loaded = pc3d.load_backbone(folder).network.state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in encoder.network.state_dict().items())

    # The backbone goes out, and out of a checkpoint of a run.
    files, found = export_checkpoint(Path("runs/a"), "spvnas", Path("exports"))
    assert files[0].is_file()
    assert torch.load(files[0], weights_only=True)["state_dict"].keys() == found.tensors.keys()


def test_a_script_without_a_guard_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker process, which imports the script, would call."""
    monkeypatch.setattr("pc3d.api.training.parent_process", lambda: object())
    for call in (
        lambda: pc3d.pretrain("data", "prc", "runs/a"),
        lambda: pc3d.finetune("sim_5_percent", "runs/b"),
        lambda: pc3d.evaluate("runs/b/segmenter.safetensors"),
    ):
        with pytest.raises(RuntimeError, match="worker process imports your script"):
            call()


def test_methods_by_name() -> None:
    assert method_config("superflow++", "small").stem == "sim_superflowpp"
    assert method_config("SuperFlow++", "full").stem == "nuscenes_superflowpp"
    assert method_config("bagofwords", "small").stem == "sim_bagofwords"
    assert method_config("sim_slidr", "full").stem == "sim_slidr"
    with pytest.raises(ValueError, match="no method 'superflo' of scale 'full'; did you mean 'superflow'"):
        method_config("superflo", "full")
    with pytest.raises(ValueError, match="unknown scale 'huge'; known: small, full"):
        method_config("slidr", "huge")
    with pytest.raises(ValueError, match="unknown encoder 'minkunet35'; did you mean 'minkunet"):
        pc3d.pretrain(data="nowhere", method="prc", lidar="minkunet35", out="runs/a")


@pytest.mark.parametrize("name", LIDARS)
def test_encoders_by_name(name: str) -> None:
    path = method_config("slidr", "small")
    config = load_config(path, "pretrain", {"lidar": {"_delete_": True, **LIDARS[name]}})
    with torch.device("meta"):
        build_lidar_encoder(dict(config.lidar))
