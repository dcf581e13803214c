"""Each format from its sample to a backbone of two steps and, where it has labels, to a score.

Two of them stand for the others in the quick tests: one with labels of points and boxes, and a recording.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pc3d.cli import dispatch

PRETRAIN = """\
_base_ = "pc3d::pretrain/sim_pointcontrast.py"
seed = 0
data = dict(augmentation=dict(rotation=(-1.5, 1.5)), batch_size=2, workers=0, points=dict(max_points=6000))
lidar = dict(depth=18, widths=(8,) * 8, stem=8, voxel_size=(0.4, 0.4, 0.4), bev_channels=8)
objectives = dict(point_contrast=dict(num_points=128))
schedule = dict(iterations=2)
"""
SEGMENT = """\
_base_ = "pc3d::finetune/sim_1_percent.py"
data = dict(fraction=None, batch_size=1, workers=0, points=dict(max_points=6000))
lidar = dict(depth=18, widths=(8,) * 8, stem=8, voxel_size=(0.4, 0.4, 0.4), bev_channels=8)
schedule = dict(iterations=2)
"""
DETECT = """\
_base_ = "pc3d::finetune/sim_detection.py"
data = dict(batch_size=1, workers=0)
schedule = dict(iterations=2)
lidar = dict(pillar_channels=8, bev_widths=(8, 8, 8), bev_layers=(1, 1, 1), bev_channels=24)
network = dict(fused_channels=8)
head = dict(shared_channels=8, head_channels=8)
"""
SAMPLES = {
    "kitti_raw": ("kitti_raw", [], ""),
    "kitti_object": ("kitti_object", [], "detection"),
    "semantic_kitti": ("semantic_kitti", [], "lidarseg"),
    "argoverse2": ("argoverse2", [], "detection"),
    "pandaset": ("pandaset", [], "both"),
    "nuscenes": ("nuscenes", ["--version", "v1.0-mini"], ""),
    "ros1": ("bags/from_kitti/kitti_ros1.bag", ["--lidar-topics", "/points"], ""),
    "ros2": ("bags/from_kitti/kitti_ros2_mcap", ["--lidar-topics", "/points"], ""),
}

QUICK = ("pandaset", "ros2")
MARKED = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.long) for name in SAMPLES]


@pytest.mark.parametrize("name", MARKED)
def test_from_a_sample_to_a_backbone_and_a_score(
    name: str, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, options, labels = SAMPLES[name]
    monkeypatch.chdir(tmp_path)
    for config, text in (("pretrain.py", PRETRAIN), ("lidarseg.py", SEGMENT), ("detection.py", DETECT)):
        (tmp_path / config).write_text(text)
    dispatch(["index", str(real_data / folder), "--out", "index", *options])
    split = next(iter(json.loads(Path("index/metadata.json").read_text())["key_frames"]))
    common = ["--cfg-options", "data.index=index", f"data.split={split}", "data.calibration=warn"]
    dispatch(["pretrain", "pretrain.py", "--work-dir", "run", *common, "data.regions=None"])
    assert Path("run/backbone.safetensors").is_file()
    for task in {"both": ("lidarseg", "detection"), "": ()}.get(labels, (labels,)):
        start = ["init.checkpoint=run/backbone.safetensors"] if task == "lidarseg" else []
        dispatch(["finetune", f"{task}.py", "--work-dir", task, "--eval-split", split, *common, *start])
        scores = json.loads(next(Path(task).rglob("metrics.json")).read_text())
        assert scores["evaluator"] == "pc3d"
        assert 0 <= scores["map" if task == "detection" else "miou"] <= 1
