"""Data without an official evaluator from a checkpoint to its scores, and what is refused before."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_drive import CLASSES, EGO_SE3_LIDAR, FRAMES, LABELS, write_drive
from small_models import MINK, PILLARS
from spoiled_truth import SPLIT, perturbed

from pc3d.cli import dispatch
from pc3d.data.classes import ClassSet
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.label_maps import NUSCENES_DETECTION_CLASSES
from pc3d.engine.finetuner import build_segmenter
from pc3d.evaluation.command_line import add_scoring, scoring_of
from pc3d.evaluation.detection import evaluate_predictions
from pc3d.evaluation.downstream import check_evaluation, evaluate_checkpoint, summary_text
from pc3d.evaluation.own.detection_scores import DetectionScoring, score_detections
from pc3d.evaluation.own.evaluate_boxes import evaluate_boxes
from pc3d.evaluation.own.scored_classes import evaluator_of, may_move
from pc3d.evaluation.own.truth import box_frame
from pc3d.evaluation.study import Study, Task, run_study
from pc3d.models.bev_models import build_bev_model
from pc3d.models.weights import save_backbone

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
TEN: dict[str, Any] = {
    **CLASSES,
    "detection": list(NUSCENES_DETECTION_CLASSES),
    "boxes": {"Car": "car", "Van": "car", "Walker": "pedestrian"},
}
"""The own classes with boxes of the ten that a detector knows when its checkpoint names none."""


def segmenter(folder: Path, num_classes: int, **metadata: str) -> Path:
    head = {"num_classes": num_classes}
    path = folder / "segmenter.safetensors"
    described = {"lidar": json.dumps(MINK), "head": json.dumps(head), "frames": "{}", **metadata}
    save_backbone(build_segmenter(MINK, head), path, described)
    return path


def detector(folder: Path) -> Path:
    network, head = {"lidar": PILLARS, "fused_channels": 8, "widths": [8, 8], "layers": [1, 1]}, {}
    path = folder / "detector.safetensors"
    described = {"network": json.dumps(network), "head": json.dumps(head), "frames": "{}"}
    save_backbone(build_bev_model("detection", network, head), path, {"task": "detection", **described})
    return path


def test_point_scores_equal_the_devkits_on_simulated_data(tmp_path: Path, tiny_index: Path) -> None:
    checkpoint = segmenter(tmp_path, 16)
    official = evaluate_checkpoint(checkpoint, tiny_index, SPLIT, tmp_path / "official")
    own = evaluate_checkpoint(checkpoint, tiny_index, SPLIT, tmp_path / "own", evaluator="pc3d")
    assert (official["evaluator"], own["evaluator"]) == ("nuscenes-devkit", "pc3d")
    for key in ("miou", "miou_truth", "fwiou"):
        assert own[key] == pytest.approx(official[key], rel=1e-6)
    for name, value in official["iou"].items():
        assert own["iou"][name] == pytest.approx(value, rel=1e-6, nan_ok=True)
    with pytest.raises(DataError, match=r"evaluator none \(now pc3d\)"):
        evaluate_checkpoint(checkpoint, tiny_index, SPLIT, tmp_path / "official", evaluator="pc3d")
    assert not (tmp_path / "own" / "lidarseg").exists()


def test_box_scores_equal_the_devkits_on_simulated_data(tmp_path: Path, tiny_index: Path) -> None:
    """Cars, which count up to 50 m in both; the submission is rounded, in the world, and upright there."""
    index = SweepIndex.open(tiny_index)
    found = perturbed(index)
    official = evaluate_predictions(index, SPLIT, tmp_path / "official", found)
    own = evaluate_boxes(index, tmp_path / "own", found)
    assert own["true_boxes"]["car"] == official["true_boxes"]["car"] > 5
    assert own["ap"]["car"] == pytest.approx(official["ap"]["car"], abs=1e-4)
    for error, value in own["class_errors"]["car"].items():
        assert value == pytest.approx(official["class_errors"]["car"][error], abs=1e-4)


def test_a_segmenter_is_scored_on_the_classes_of_the_index(tmp_path: Path) -> None:
    index = write_drive(tmp_path)
    result = evaluate_checkpoint(segmenter(tmp_path, 5), index, "val", tmp_path / "scores")
    raw = np.concatenate([np.fromfile(tmp_path / f"data/{n}.label", "<u4") for n in range(FRAMES)]) & 0xFFFF
    names = CLASSES["classes"]
    assert result["true_points"] == {
        name: int(sum((raw == number).sum() for number, of in LABELS.items() if of == name)) for name in names
    }
    counts = np.load(tmp_path / "scores" / "confusion.npy")
    assert counts.sum() == (raw != 0).sum()
    ious = [counts[k, k] / (counts[k].sum() + counts[:, k].sum() - counts[k, k]) for k in range(5)]
    assert list(result["iou"].values()) == pytest.approx(ious)
    assert result["miou"] == pytest.approx(np.mean(ious))
    written = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert (written["evaluator"], written["settings"]["evaluator"]) == ("pc3d", "pc3d")
    text = summary_text(result)
    assert "official" not in text
    assert "walker" in text


def test_a_detector_is_scored_on_the_classes_of_the_index(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_drive(tmp_path, TEN)
    arguments = [str(detector(tmp_path)), "--index", str(tmp_path / "index"), "--split", "val"]
    dispatch(["evaluate", *arguments, "--iou", "car=0.6"])
    shown = capsys.readouterr().out
    assert "scored by pc3d" in shown
    result = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    occurring = {name: count for name, count in result["true_boxes"].items() if count}
    assert occurring == {"car": 2 * FRAMES, "pedestrian": FRAMES}  # one is far away, one has no point
    assert result["class_ap"]["bus"] is None
    assert result["settings"]["scoring"]["iou"]["car"] == 0.6
    lines = [json.loads(line) for line in (tmp_path / "evaluation/detections.jsonl").read_text().splitlines()]
    assert [line["token"] for line in lines] == [f"sweep-{n}" for n in range(FRAMES)]
    assert {len(line["boxes"]) == len(line["scores"]) == len(line["names"]) for line in lines} == {True}
    pictures = sorted(path.name for path in (tmp_path / "evaluation/pictures").iterdir())
    assert pictures == [f"worst-{rank}-{view}.png" for rank in range(1, 5) for view in ("bev", "cameras")]
    with pytest.raises(DataError, match="other settings: scoring"):
        dispatch(["evaluate", *arguments])


def test_the_truth_scores_one_and_what_has_no_point_costs_nothing(tmp_path: Path) -> None:
    index = write_drive(tmp_path)
    classes = ClassSet.from_dict(CLASSES)
    frames = []
    for row in range(FRAMES):
        boxes = index[row].boxes
        assert boxes is not None
        rows = np.column_stack([boxes.centers, boxes.sizes, boxes.yaws, boxes.velocities])[:4]
        frames.append(box_frame(index[row], classes, (rows, [0.9, 0.8, 0.7, 0.6], [0, 0, 1, 1])))
    result = score_detections(frames, classes.detection)
    assert result["map_3d"] == result["map_bev"] == 1
    assert result["class_ap"]["car"] == pytest.approx(1)
    # About the vehicle, which the LiDAR is a metre ahead of.
    np.testing.assert_allclose(frames[0].truth[0, :3], [11, 0, EGO_SE3_LIDAR[2, 3] - 1])


def test_where_only_images_are_labelled_the_rest_does_not_count(tmp_path: Path) -> None:
    sweep = write_drive(tmp_path)[0]
    ahead, behind = [10.0, 0, -1, 4, 2, 1.5, -1, 0, 0], [-12.0, 3, -1, 4, 2, 1.5, 0, 0, 0]
    found = ([ahead, behind], [0.8, 0.9], [0, 0])
    classes = ClassSet.from_dict(CLASSES)
    everywhere = score_detections([box_frame(sweep, classes, found)], classes.detection)
    in_images = score_detections([box_frame(sweep, classes, found, ["front"])], classes.detection)
    assert everywhere["class_ap_3d"]["car"] == 0.25  # one of two cars, behind a wrong detection
    assert in_images["class_ap_3d"]["car"] == 0.5
    assert in_images["class_ap"]["car"] > everywhere["class_ap"]["car"]
    assert not box_frame(sweep, classes, found, ["another camera"]).found_ignored.any()


def test_what_overlaps_an_ignored_category_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    """As a van is for cars in KITTI; by distance it is wrong, as nuScenes counts."""
    sweep = write_drive(tmp_path)[0]
    assert sweep.boxes is not None
    boxes = sweep.boxes
    rows = np.column_stack([boxes.centers, boxes.sizes, boxes.yaws, boxes.velocities])[[0, 1, 4]]
    classes = ClassSet.from_dict(CLASSES)
    found = (rows, [0.7, 0.6, 0.9], [0, 0, 0])  # both cars, and what is labelled Misc
    result = score_detections([box_frame(sweep, classes, found)], classes.detection)
    assert result["class_ap_3d"]["car"] == 1
    assert result["class_ap"]["car"] < 1
    assert result["true_boxes"]["car"] == 2


def without(**changes: Any) -> Any:
    return lambda number, sweep: dataclasses.replace(sweep, **changes)


@pytest.mark.parametrize(
    ("task", "classes", "change", "message"),
    [
        ("lidarseg", None, without(), "the index has no classes of points"),
        ("detection", None, without(), "the index has no classes of boxes"),
        ("detection", {**CLASSES, "detection": [], "boxes": {}}, without(), "no classes of boxes"),
        (
            "lidarseg",
            CLASSES,
            without(lidarseg_path=None),
            "none of the 4 key frames .*'val' has point labels",
        ),
        ("detection", CLASSES, without(boxes=None), "none of the 4 key frames .* has boxes"),
        ("lidarseg", {**CLASSES, "labels": {"40": "road"}}, without(), "label 0 is none of the 1 categories"),
        (
            "lidarseg",
            {**CLASSES, "labels": dict.fromkeys(CLASSES["labels"], "ignore")},
            without(),
            "are ignored",
        ),
        ("detection", {**CLASSES, "boxes": {"car": "car"}}, without(), "categories: Car, Misc, Van, Walker"),
    ],
)
def test_what_could_not_be_scored_is_refused_before_training(
    tmp_path: Path, task: str, classes: Any, change: Any, message: str
) -> None:
    index = write_drive(tmp_path, classes, change)
    with pytest.raises(DataError, match=message):
        check_evaluation(index, "val", task)
    checkpoint = segmenter(tmp_path, 5) if task == "lidarseg" else detector(tmp_path)
    with pytest.raises(DataError, match=message):
        evaluate_checkpoint(checkpoint, index, "val", tmp_path / "scores")
    assert not (tmp_path / "scores").exists()


def test_a_missing_label_file_and_an_unknown_split_are_named(tmp_path: Path) -> None:
    index = write_drive(tmp_path)
    with pytest.raises(DataError, match="split"):
        check_evaluation(index, "train", "lidarseg")
    (tmp_path / "data/2.label").unlink()
    with pytest.raises(DataError, match=r"(?s)1 of the 4 label files .*2\.label"):
        check_evaluation(index, "val", "lidarseg")


def test_key_frames_without_labels_are_left_out(tmp_path: Path) -> None:
    def change(number: int, sweep: Any) -> Any:
        return sweep if number % 2 else dataclasses.replace(sweep, lidarseg_path=None)

    index = write_drive(tmp_path, CLASSES, change)
    assert evaluate_checkpoint(segmenter(tmp_path, 5), index, "val", tmp_path / "scores")["frames"] == 2


def test_a_model_of_other_classes_is_refused(tmp_path: Path) -> None:
    index = write_drive(tmp_path)
    with pytest.raises(DataError, match="the model has 4 classes, the evaluation 5"):
        evaluate_checkpoint(segmenter(tmp_path, 4), index, "val", tmp_path / "scores")
    other = {**CLASSES, "classes": ["a", "b", "c", "d", "e"], "labels": {}, "boxes": {}}
    checkpoint = segmenter(tmp_path, 5, classes=json.dumps(other))
    with pytest.raises(DataError, match=r"other classes \(a, b, c, d, e\) than .*\(road, building"):
        evaluate_checkpoint(checkpoint, index, "val", tmp_path / "scores")
    with pytest.raises(DataError, match=r"other classes \(car, truck.* than are scored \(car, walker"):
        evaluate_checkpoint(detector(tmp_path), index, "val", tmp_path / "scores")
    assert not (tmp_path / "scores").exists()
    with pytest.raises(ValueError, match="for detection that pc3d scores"):
        evaluate_checkpoint(checkpoint, index, "val", tmp_path / "scores", scoring=DetectionScoring())


def test_who_scores(tmp_path: Path, tiny_index: Path) -> None:
    index = SweepIndex.open(tiny_index)
    assert {evaluator_of(index, task) for task in ("lidarseg", "detection")} == {"nuscenes-devkit"}
    assert evaluator_of(index, "detection", "pc3d") == "pc3d"
    assert evaluator_of(write_drive(tmp_path / "a"), "detection") == "pc3d"
    renamed = write_drive(tmp_path / "b", {**TEN}, dataset="nuscenes", version="v1.0-mine")
    assert evaluator_of(renamed, "lidarseg") == "pc3d"  # five classes of its own
    assert evaluator_of(renamed, "detection") == "nuscenes-devkit"
    with pytest.raises(ValueError, match="unknown evaluator 'kitti'"):
        evaluator_of(index, "detection", "kitti")


def test_what_may_move_is_told_by_its_name_or_its_boxes() -> None:
    names = ("road", "other-vehicle", "person", "motorcyclist", "traffic-sign", "crate")
    assert may_move(ClassSet("mine", names, detection=("crate",))) == (1, 2, 3, 5)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], None),
        (["--iou", "car=0.6", "big dog=0.3"], DetectionScoring(iou={"car": 0.6, "big dog": 0.3})),
        (["--max-distance", "80"], DetectionScoring(max_distance=80)),
        (["--half-turn", "wall"], DetectionScoring(half_turn=("wall",))),
        (["--iou", "car"], "expected CLASS=IOU"),
        (["--iou", "car=7"], "the IoU of 'car' is 7"),
    ],
)
def test_arguments_of_the_scoring(arguments: list[str], expected: Any) -> None:
    parser = argparse.ArgumentParser()
    add_scoring(parser)
    args = parser.parse_args(arguments)
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            scoring_of(args)
    else:
        assert scoring_of(args) == expected


def test_a_study_that_would_show_what_is_not_scored_is_refused(tmp_path: Path) -> None:
    write_drive(tmp_path)
    task = Task(CONFIGS / "finetune" / "sim_detection.py", 1.0, metrics=("nds", "map"))
    overrides = {"data.index": str(tmp_path / "index")}
    study = Study({}, {"boxes": task}, [0], tmp_path / "study", "val", overrides)
    with pytest.raises(DataError, match="the study shows nds, which only the devkit gives"):
        run_study(study)
    assert not (tmp_path / "study").exists()


def test_frames_and_thresholds_are_those_of_the_official_analysis(tmp_path: Path, tiny_index: Path) -> None:
    """Of cars alone, up to 50 m in both."""
    index = SweepIndex.open(tiny_index)
    cars = [
        (token, boxes[labels == 0], scores[labels == 0], labels[labels == 0])
        for token, boxes, scores, labels in perturbed(index)
    ]
    evaluate_predictions(index, SPLIT, tmp_path / "official", cars)
    evaluate_boxes(index, tmp_path / "own", cars)
    official, own = (
        json.loads((tmp_path / name / "analysis.json").read_text()) for name in ("official", "own")
    )
    assert own["thresholds"]["car"] == pytest.approx(official["thresholds"]["car"], abs=1e-6)
    tokens = {index[row].sample_token: index[row].token for row in index.key_rows(SPLIT).tolist()}
    theirs = {tokens[frame["sample"]]: frame for frame in official["frames"]}
    assert any(frame["hits"] for frame in own["frames"])
    for frame in own["frames"]:
        assert (frame["hits"], frame["false"]) == tuple(
            theirs[frame["token"]][key] for key in ("hits", "false")
        )
