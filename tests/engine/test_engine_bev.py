"""Fine-tuning and evaluating BEV models on the tiny simulated drive."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from engine_configs import CONFIGS, finetune_config, pretrain_config, read_metrics
from mmengine.config import Config
from safetensors.torch import load_file

from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.points import load_points
from pc3d.data.splits import write_tokens
from pc3d.engine.checkpoints import frames_of, load_bev_model, load_segmenter, task_of
from pc3d.engine.config import load_config, plain
from pc3d.engine.data import build_dataset
from pc3d.engine.finetuner import build_bev, finetune
from pc3d.engine.precision import keep_linear_float32
from pc3d.engine.pretrainer import objective_needs, pretrain
from pc3d.evaluation.downstream import evaluate_checkpoint, frame_miou, summary_text
from pc3d.viz.maps import draw_worst_maps

GRID = {"x_min": -51.2, "x_max": 51.2, "y_min": -51.2, "y_max": 51.2, "cell": 1.6}
LIDAR = {
    "type": "PointPillars",
    "pillar_channels": 8,
    "bev_widths": (8, 8),
    "bev_layers": (1, 1),
    "bev_channels": 16,
    "grid": GRID,
}
IMAGE = {"type": "EfficientNetLite0", "levels": (8, 16), "pretrained": False, "frozen": False}
CAMERA = {"type": "LSS", "bev_channels": 8, "depth": (1.0, 40.0, 3.0), "grid": GRID, "lidar_depth": True}


def detection_config(index: Path, iterations: int, **more) -> Config:
    settings = {
        "lidar": {"_delete_": True, **LIDAR},
        "network": {"fused_channels": 16},
        "head": {"shared_channels": 8, "head_channels": 8},
        "data.index": str(index),
        "data.workers": 0,
        "runtime.log_every": 1,
        "runtime.log_level": "WARNING",
        "schedule.iterations": iterations,
        **more,
    }
    return load_config(CONFIGS / "finetune/sim_detection.py", "finetune", settings)


@pytest.fixture(scope="module")
def detector(tiny_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finetune(detection_config(tiny_index, 2), tmp_path_factory.mktemp("detector") / "run")


def test_a_detector_is_trained_and_scored_officially(detector: Path, tiny_index: Path) -> None:
    rows = read_metrics(detector.parent)
    assert [row["step"] for row in rows] == [1, 2]
    assert all(row["loss"] == pytest.approx(row["loss_heatmap"] + row["loss_box"], rel=1e-5) for row in rows)
    assert task_of(detector) == "detection"
    folder = detector.parent / "evaluation"
    result = evaluate_checkpoint(detector, tiny_index, "sim_val", folder)
    assert 0 <= result["nds"] <= 1
    assert json.loads((folder / "metrics.json").read_text())["nds"] == pytest.approx(result["nds"])
    assert "NDS" in summary_text(result)
    with pytest.raises(ValueError, match="LiDAR segmentation"):
        evaluate_checkpoint(detector, tiny_index, "sim_val", folder, voting=1)
    with pytest.raises(DataError, match="a BEV model for detection"):
        load_segmenter(detector)


@pytest.mark.parametrize("branches", ["camera", "both"])
def test_cameras_alone_and_both_train_from_one_config(
    branches: str, tiny_index: Path, tmp_path: Path
) -> None:
    data = {"data.image_size": (64, 128), "image": IMAGE, "camera": CAMERA}
    lidar = {"lidar": None} if branches == "camera" else {}
    path = finetune(detection_config(tiny_index, 1, **data, **lidar), tmp_path)
    model = load_bev_model(path)
    assert tuple(frames_of(path).image_size) == (64, 128)
    assert set(model.parts) == {"image", "camera"} | ({"lidar"} if branches == "both" else set())
    assert model.input_needs.images


def test_a_map_segmenter_is_trained_and_scored(tiny_index: Path, tmp_path: Path) -> None:
    grid = {"x_min": -30.0, "x_max": 30.0, "y_min": -30.0, "y_max": 30.0, "cell": 1.0}
    task = {"task": "map", "head": {"_delete_": True, "hidden": 8}, "data.map_grid": grid}
    path = finetune(detection_config(tiny_index, 30, **task), tmp_path)
    assert path.name == "map_segmenter.safetensors"
    rows = read_metrics(tmp_path)
    assert rows[-1]["loss_map"] < 0.8 * rows[0]["loss_map"]
    result = evaluate_checkpoint(path, tiny_index, "sim_val", tmp_path / "evaluation")
    assert 0 < result["iou"]["drivable_area"] <= 1
    assert result["miou"] >= result["miou_fixed"]
    assert "map mIoU" in summary_text(result)
    scores = json.loads((tmp_path / "evaluation/frames.json").read_text())
    paths = draw_worst_maps(path, SweepIndex.open(tiny_index), tmp_path / "evaluation", 1)
    assert len(scores) == 3
    assert [p.name for p in paths] == ["worst-1-map.png"]
    assert paths[0].is_file()


def test_the_score_of_a_frame_is_the_mean_over_what_it_shows() -> None:
    truth = torch.zeros(1, 6, 2, 2, dtype=torch.bool)
    truth[0, 0, 0], truth[0, 1, 1, 1] = True, True
    probabilities = torch.zeros(1, 6, 2, 2)
    probabilities[0, 0, :, 0], probabilities[0, 1, 1, 1], probabilities[0, 2] = 0.9, 0.5, 0.8
    assert frame_miou(probabilities, truth) == pytest.approx((1 / 3 + 1) / 2)


def test_a_model_learns_one_frame_by_heart(tiny_index: Path, tmp_path: Path) -> None:
    index = SweepIndex.open(tiny_index)
    write_tokens(tmp_path / "one.txt", [index[int(index.key_rows("sim_train")[0])].token], "one frame")
    still = {"rotation": (0, 0), "scale": (1, 1), "flip": 0.0}
    data = {"data.tokens": str(tmp_path / "one.txt"), "data.batch_size": 1, "data.augmentation": still}
    finetune(detection_config(tiny_index, 40, **data), tmp_path / "run")
    losses = [row["loss"] for row in read_metrics(tmp_path / "run")]
    assert losses[-1] < 0.2 * losses[0]


def test_a_detector_with_a_transfusion_head_is_trained_and_scored(tiny_index: Path, tmp_path: Path) -> None:
    head = {"_delete_": True, "type": "TransFusionHead", "queries": 20, "channels": 8, "heads": 2}
    checkpoint = finetune(detection_config(tiny_index, 2, head=head), tmp_path / "run")
    assert set(read_metrics(tmp_path / "run")[0]) >= {"loss_heatmap", "loss_class", "loss_box"}
    scores = evaluate_checkpoint(checkpoint, tiny_index, "sim_val", tmp_path / "scores")
    assert 0 <= scores["nds"] <= 1


def test_bfloat16_gives_nearly_the_same_losses(tiny_index: Path, tmp_path: Path) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        run = tmp_path / precision
        finetune(detection_config(tiny_index, 4, **{"runtime.precision": precision}), run)
        losses[precision] = [row["loss"] for row in read_metrics(run)]
        weights = load_file(run / "detector.safetensors")
        assert {w.dtype for w in weights.values() if w.is_floating_point()} == {torch.float32}
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.03)
    with pytest.raises(ValueError, match=r"expected one of .float32., .bfloat16., .float16."):
        finetune(detection_config(tiny_index, 1, **{"runtime.precision": "half"}), tmp_path / "other")


def test_linear_layers_stay_in_float32_on_a_cpu() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Conv1d(4, 2, 1))
    x = torch.randn(3, 6)
    expected = model[0](x)
    names = list(model.state_dict())
    keep_linear_float32(model)
    with torch.autocast("cpu", torch.bfloat16):
        found = model[0](x.bfloat16().float())
        assert model[1](found.T[None]).dtype == torch.bfloat16
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)
    assert list(model.state_dict()) == names


def test_a_detector_starts_from_a_pretraining_run(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = {"lidar": {"_delete_": True, **LIDAR}}
    run = tmp_path / "run"
    pretrain(pretrain_config(tiny_index, tiny_regions, 1, name="sim_prc", **encoder), run)
    pretrained = build_bev(detection_config(tiny_index, 1, **{"init.run": str(run)}))
    checkpoint = run / "backbone.safetensors"
    named = build_bev(detection_config(tiny_index, 1, **{"init.checkpoint": str(checkpoint)}))
    scratch = build_bev(detection_config(tiny_index, 1))
    for model, same in ((named, True), (scratch, False)):
        weights = zip(model.network.lidar.parameters(), pretrained.network.lidar.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in weights) == same
    wider = {"lidar": {"_delete_": True, **LIDAR, "bev_channels": 32}, "init.run": str(run)}
    with pytest.raises(ValueError, match=r"necks.0.1.weight: model \(16,\), file \(8,\)"):
        build_bev(detection_config(tiny_index, 1, **wider))
    build_bev(detection_config(tiny_index, 1, **wider, **{"init.partial": True}))
    said = capsys.readouterr().out
    assert "backbone.necks.0.1.weight: model (16,), file (8,)" in said
    assert "backbone.levels" not in said  # what fits is not listed
    camera_only = {"lidar": None, "image": IMAGE, "camera": CAMERA | {"lidar_depth": False}}
    with pytest.raises(ValueError, match="weights of lidar, but this model only has image, camera"):
        build_bev(detection_config(tiny_index, 1, **camera_only, **{"init.checkpoint": str(checkpoint)}))
    with pytest.raises(ValueError, match="trained none of the parts of this model: image, camera"):
        build_bev(detection_config(tiny_index, 1, **camera_only, **{"init.run": str(run)}))


def test_a_run_with_sweeps_starts_a_detector_with_sweeps(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    """Points of earlier sweeps have no region; they are neither foreground nor background."""
    data = {"data.sweeps": 3, "data.features": ("intensity", "time")}
    lidar = {**LIDAR, "in_channels": 5}
    for name in ("sim_prc", "sim_fac"):
        config = pretrain_config(
            tiny_index, tiny_regions, 1, name=name, lidar={"_delete_": True, **lidar}, **data
        )
        pretrain(config, tmp_path / name)
    needs = objective_needs(plain(config.objectives))
    frame = build_dataset(plain(config.data), needs)[0, 1].frames["t"]
    own = SweepIndex.open(tiny_index)[int(SweepIndex.open(tiny_index).key_rows("sim_train")[1])]
    count = len(load_points(own.path, own.lidar_format))
    assert frame.num_points > 2 * count
    assert frame.regions[:count].min() == -1
    assert set(frame.regions[count:].tolist()) == {-2}
    start = {"lidar": {"_delete_": True, **lidar}, "init.run": str(tmp_path / "sim_prc")}
    build_bev(detection_config(tiny_index, 1, **data, **start))


@pytest.mark.parametrize(
    ("pretraining", "finetuning"),
    [
        ("sim_calico", ("sim_detection_5_percent", "sim_detection_both", "sim_detection_camera")),
        ("sim_calico", ("sim_map_5_percent", "sim_detection_transfusion")),
        ("nuscenes_calico", ("nuscenes_detection_5_percent", "nuscenes_detection_both", "nuscenes_map")),
    ],
)
def test_what_is_pretrained_fits_what_is_fine_tuned(pretraining: str, finetuning: tuple[str, ...]) -> None:
    start = load_config(CONFIGS / f"pretrain/{pretraining}.py", "pretrain")
    for name in finetuning:
        config = load_config(CONFIGS / f"finetune/{name}.py", "finetune")
        parts = [part for part in ("lidar", "image", "camera") if config.get(part) is not None]
        assert parts, name
        for part in parts:
            assert plain(config[part]) == plain(start[part]), (name, part)
        for setting in ("sweeps", "features"):
            assert config.data.get(setting) == start.data.get(setting), (name, setting)


def test_a_segmenter_is_scored_with_the_features_that_it_was_trained_with(
    tiny_index: Path, tmp_path: Path
) -> None:
    features = {"data.features": ("intensity", "ring"), "lidar.in_channels": 5}
    checkpoint = finetune(finetune_config(tiny_index, 1, **features), tmp_path / "run")
    assert evaluate_checkpoint(checkpoint, tiny_index, "sim_val", tmp_path / "scores")["frames"] == 3
    with pytest.raises(ValueError, match="one sweep"):
        finetune(finetune_config(tiny_index, 1, **{"data.sweeps": 2}), tmp_path / "other")


def test_an_unknown_task_is_refused(tiny_index: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`task` is .boxes., expected one of .lidarseg., .detection."):
        finetune(detection_config(tiny_index, 1, task="boxes"), tmp_path)
