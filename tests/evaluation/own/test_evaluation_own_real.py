"""pc3d's scores on real samples: KITTI's boxes, SemanticKITTI's points."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_models import MINK

from pc3d.data.build import build_index
from pc3d.data.detection import box_rows
from pc3d.engine.finetuner import build_segmenter
from pc3d.evaluation.downstream import check_evaluation, evaluate_checkpoint
from pc3d.evaluation.own.detection_scores import DetectionScoring
from pc3d.evaluation.own.evaluate_boxes import evaluate_boxes
from pc3d.models.weights import save_backbone


def test_kittis_boxes_found_are_all_right_and_what_nobody_labelled_does_not_count(
    real_data: Path, tmp_path: Path
) -> None:
    root = real_data / "kitti_object"
    if not root.is_dir():
        pytest.skip(f"no KITTI object sample at {root}")
    index = build_index("kitti_object", root, tmp_path / "index", "the test")
    check_evaluation(index, "train", "detection")
    found = []
    behind = [-20.0, 3, -1, 4, 2, 1.5, 0, 0, 0]
    for row in index.key_rows("train").tolist():
        boxes = index[row].boxes
        assert boxes is not None
        rows, kinds = box_rows(boxes), [name.lower() for name in boxes.names]
        own = [row for row, kind in enumerate(kinds) if kind in ("car", "pedestrian", "cyclist")]
        labels = [("car", "pedestrian", "cyclist").index(kinds[row]) for row in own]
        scores = np.linspace(0.5, 0.6, len(own) + 1)
        found.append((index[row].token, np.vstack([rows[own], behind]), scores, [*labels, 0]))
    result = evaluate_boxes(index, tmp_path / "scores", found, DetectionScoring(max_distance=80.0))
    text = "".join(path.read_text() for path in sorted((root / "training" / "label_2").glob("*.txt")))
    lines = text.splitlines()
    for name, count in result["true_boxes"].items():
        assert count == sum(line.lower().startswith(f"{name} ") for line in lines)
        if count:
            assert result["class_ap_3d"][name] == result["class_ap_bev"][name] == 1
            assert result["class_ap"][name] == pytest.approx(1)
    assert sum(result["true_boxes"].values()) >= 2


def test_semantic_kittis_formula_on_its_own_files(real_data: Path, tmp_path: Path) -> None:
    """The confusion of an untrained model adds up to the label files, read by the data set's own map."""
    root = real_data / "semantic_kitti"
    if not root.is_dir():
        pytest.skip(f"no SemanticKITTI sample at {root}")
    index = build_index("semantic_kitti", root, tmp_path / "index", "the test")
    path = tmp_path / "segmenter.safetensors"
    head = {"num_classes": 19}
    described = {"lidar": json.dumps(MINK), "head": json.dumps(head), "frames": "{}"}
    save_backbone(build_segmenter(MINK, head), path, described)
    split = index.splits[0]
    result = evaluate_checkpoint(path, index, split, tmp_path / "scores")
    official = yaml.safe_load((root / "semantic-kitti.yaml").read_text())
    files = sorted(root.glob("sequences/*/labels/*.label"))
    raw = np.concatenate([np.fromfile(file, "<u4") for file in files]) & 0xFFFF
    classes = np.vectorize(official["learning_map"].__getitem__)(raw)
    confusion = np.load(tmp_path / "scores" / "confusion.npy")
    assert (confusion.sum(1) == np.bincount(classes, minlength=20)[1:]).all()
    tp = confusion.diagonal()
    iou = tp / (confusion.sum(1) + confusion.sum(0) - tp + 1e-15)
    assert result["miou_all"] == pytest.approx(iou.mean())
