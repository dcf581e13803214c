"""Classes of one's own from the index to the score: heads, checkpoints, and what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from engine_configs import CONFIGS, finetune_config
from mmengine.config import Config

from pc3d.data.batch import Needs
from pc3d.data.build import build_index
from pc3d.data.classes import ClassSet, common_detection
from pc3d.data.collate import collate
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.selection import Selection
from pc3d.engine.checkpoints import classes_of_model, load_bev_model, load_segmenter
from pc3d.engine.config import load_config
from pc3d.engine.data import build_dataset
from pc3d.engine.data_classes import classes_of, follow_index
from pc3d.engine.finetuner import finetune
from pc3d.evaluation.downstream import evaluate_checkpoint
from pc3d.evaluation.own.scored_classes import may_move
from pc3d.geometry.grid import BevGrid
from pc3d.models.heads.center_point import CenterHead

OWN: dict[str, Any] = {
    "name": "own",
    "classes": ["ground", "wall", "plant", "vehicle", "person"],
    "colours": {"ground": [10, 200, 200]},
    "labels": dict.fromkeys(range(32), "ignore")
    | {24: "ground", 25: "ground", 26: "ground", 27: "plant", 28: "wall", 30: "plant"}
    | {15: "vehicle", 16: "vehicle", 17: "vehicle", 23: "vehicle", 2: "person", 3: "person"},
    "detection": ["person", "vehicle"],
    "boxes": {"vehicle.car": "vehicle", "vehicle.truck": "vehicle", "human.pedestrian.adult": "person"},
}
GRID = {"x_min": -51.2, "x_max": 51.2, "y_min": -51.2, "y_max": 51.2, "cell": 1.6}
LIDAR = {
    "type": "PointPillars",
    "pillar_channels": 4,
    "bev_widths": (4, 4),
    "bev_layers": (1, 1),
    "bev_channels": 8,
}


def index_of(nuscenes: Path, folder: Path, **classes: Any) -> Path:
    """An index without images of the tiny drive."""
    (folder / "classes.yaml").write_text(yaml.safe_dump({**OWN, **classes}))
    options = {"version": "v1.0-sim", "classes": folder / "classes.yaml"}
    return build_index(
        "nuscenes", nuscenes, folder / "index", "again", Selection(cameras=()), **options
    ).folder


@pytest.fixture(scope="module")
def own_index(tiny_nuscenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return index_of(tiny_nuscenes, tmp_path_factory.mktemp("own-classes"))


def detection_config(index: Path, **more: Any) -> Config:
    settings = {
        "lidar": {"_delete_": True, **LIDAR, "grid": GRID},
        "network": {"fused_channels": 8},
        "head": {"_delete_": True, "shared_channels": 8, "head_channels": 8},
        "data.index": str(index),
        "data.workers": 0,
        "runtime.log_level": "WARNING",
        "schedule.iterations": 2,
        **more,
    }
    return load_config(CONFIGS / "finetune/sim_detection.py", "finetune", settings)


@pytest.fixture(scope="module")
def segmenter(own_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finetune(finetune_config(own_index, 2), tmp_path_factory.mktemp("own-segmenter") / "run")


@pytest.fixture(scope="module")
def detector(own_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finetune(detection_config(own_index), tmp_path_factory.mktemp("own-detector") / "run")


def test_a_segmenter_of_own_classes(
    segmenter: Path, own_index: Path, tiny_index: Path, tmp_path: Path
) -> None:
    model = load_segmenter(segmenter)
    assert model.num_classes == 5
    carried = classes_of_model(segmenter)
    assert carried is not None
    assert carried.to_dict() == SweepIndex.open(own_index).metadata["classes"]
    result = evaluate_checkpoint(segmenter, own_index, "sim_val", tmp_path / "own")
    assert list(result["iou"]) == OWN["classes"]
    assert result["evaluator"] == "pc3d"
    with pytest.raises(DataError, match=r"ground, wall, plant[\s\S]*barrier, bicycle"):
        evaluate_checkpoint(segmenter, tiny_index, "sim_val", tmp_path / "other")


def test_a_detector_of_own_classes(detector: Path, own_index: Path, tiny_index: Path, tmp_path: Path) -> None:
    model = load_bev_model(detector)
    head = model.head
    assert isinstance(head, CenterHead)
    assert head.detection == ("person", "vehicle")
    assert head.groups == [[0], [1]], "a group for each class"
    assert model.labels == {0, 1}  # type: ignore[attr-defined]
    assert json.loads(json.dumps(classes_of_model(detector).to_dict()))["detection"] == OWN["detection"]  # type: ignore[union-attr]
    result = evaluate_checkpoint(detector, own_index, "sim_val", tmp_path / "own")
    assert list(result["class_ap"]) == OWN["detection"]
    with pytest.raises(DataError, match=r"person, vehicle[\s\S]*car, truck"):
        evaluate_checkpoint(detector, tiny_index, "sim_val", tmp_path / "other")
    with torch.no_grad():
        outputs = head(torch.randn(1, model.network.channels, head.grid.rows, head.grid.cols) * 9)
    (found,) = head.decode(outputs)
    assert set(found.labels.tolist()) <= {0, 1}
    assert len(found.labels)


def test_boxes_have_the_labels_of_the_class_file(own_index: Path) -> None:
    settings = {"index": str(own_index), "split": "sim_train"}
    dataset = build_dataset(settings, Needs(boxes=True))
    batch = collate([dataset[0, 0], dataset[0, 1]])
    assert batch.now.boxes is not None
    assert batch.now.box_labels is not None
    for boxes, labels in zip(batch.now.boxes, batch.now.box_labels, strict=True):
        meant = [OWN["boxes"].get(name) for name in boxes.names]
        assert labels.tolist() == [-1 if name is None else OWN["detection"].index(name) for name in meant]
    balanced = build_dataset({**settings, "balance": True}, Needs(boxes=True))
    assert len(balanced)


def test_settings_that_name_other_classes_are_refused_first(own_index: Path) -> None:
    for settings, said in (
        ({"head.groups": [["vehicle"], ["persn"]]}, r"`head.groups` cannot .*; did you mean 'person'"),
        ({"head.groups": [["car"]]}, r"of person, vehicle"),
        (
            {"data.paste": {"database": "x", "counts": {"car": 2}}},
            r"names 'car', the index has person, vehicle",
        ),
        ({"head.decoding": {"nms": "circle"}}, r"needs `radii` in metres of the classes person, vehicle"),
        (
            {"head": {"_delete_": True, "type": "TransFusionHead", "classes": ["cyclist"]}},
            r"of person, vehicle",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            detection_config(own_index, **settings)
    detection_config(own_index, **{"head.groups": [["vehicle", "person"]]})


def test_a_head_follows_the_data_and_says_what_does_not_fit(own_index: Path, tiny_index: Path) -> None:
    own = build_dataset({"index": str(own_index), "split": "sim_train"}, Needs())
    common = build_dataset({"index": str(tiny_index), "split": "sim_train"}, Needs())
    config = detection_config(own_index)
    assert follow_index(config, own).head.detection == ("person", "vehicle")
    assert "detection" not in follow_index(config, common).head, "those that it has by itself"
    segmentation = finetune_config(own_index, 1)
    assert follow_index(segmentation, own).head.num_classes == 5
    assert follow_index(segmentation, common).head.num_classes == 16
    wrong = Config({**segmentation.to_dict(), "head": {"num_classes": 16}})
    with pytest.raises(DataError, match=r"`head.num_classes` is 16, but .* 5 classes[\s\S]*leave"):
        follow_index(wrong, own)
    wrong = Config({**config.to_dict(), "head": {"detection": ["car"]}})
    with pytest.raises(DataError, match=r"`head.detection` is \['car'\].* person, vehicle"):
        follow_index(wrong, own)


def test_mixtures_have_the_same_classes(
    own_index: Path, tiny_index: Path, tiny_nuscenes: Path, tmp_path: Path
) -> None:
    other = index_of(
        tiny_nuscenes, tmp_path, name="other", boxes={"vehicle.bus.rigid": "vehicle"}, colours={}
    )

    def mixed(*indices: Path) -> Any:
        return build_dataset({"sources": [{"index": str(i), "split": "sim_train"} for i in indices]}, Needs())

    shared = classes_of(mixed(own_index, other), "detection")
    assert shared is not None
    assert shared.name == "own + other"
    assert shared.detection == ("person", "vehicle")
    assert not shared.boxes
    assert not shared.labels
    assert not shared.classes
    with pytest.raises(DataError, match=r"own \(5: ground.*\); .*nuscenes \(16[\s\S]*--classes common"):
        classes_of(mixed(own_index, tiny_index), "lidarseg")
    assert classes_of(mixed(own_index, tiny_index), "map") is None


def test_groups_and_movers_of_other_classes() -> None:
    grid = BevGrid(**GRID)
    assert CenterHead(4, grid).groups == [[0], [1, 2], [3, 4], [5], [6, 7], [8, 9]]
    other_order = tuple(reversed(common_detection()))
    assert len(CenterHead(4, grid, detection=other_order).groups) == 6
    assert CenterHead(4, grid, detection=("a", "b", "c")).groups == [[0], [1], [2]]
    assert may_move(ClassSet.from_dict(OWN)) == (3, 4), "boxes have classes of that name"
    assert may_move(ClassSet.from_dict({**OWN, "movable": ["plant"]})) == (2,)
