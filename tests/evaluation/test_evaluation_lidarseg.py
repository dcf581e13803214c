"""The submission writer and the official evaluator behind its adapter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from nuscenes import NuScenes
from nuscenes.eval.lidarseg import evaluate as official_module
from nuscenes.eval.lidarseg.evaluate import LidarSegEval
from nuscenes.eval.lidarseg.utils import get_samples_in_eval_set
from nuscenes.eval.lidarseg.validate_submission import validate_submission

from pc3d.data.classes import load_class_set
from pc3d.data.errors import DataError
from pc3d.data.label_maps import NUSCENES_LIDARSEG_CLASSES
from pc3d.data.labels import load_label_file
from pc3d.evaluation.lidarseg import LidarsegWriter, evaluate_lidarseg, split_samples
from pc3d.evaluation.metrics import confusion_matrix, summary

NUSCENES = load_class_set("nuscenes")

VERSION = "v1.0-hand"
POINTS = 400


def _truth(nusc: NuScenes, split: str) -> dict[str, np.ndarray]:
    """Label 0..15 or -1 of each point, by LiDAR token."""
    tokens = [nusc.get("sample", sample)["data"]["LIDAR_TOP"] for sample in split_samples(nusc, split)]
    paths = {token: Path(nusc.dataroot) / nusc.get("lidarseg", token)["filename"] for token in tokens}
    return {token: load_label_file(p, p.stat().st_size, NUSCENES) for token, p in paths.items()}


def _noisy(truth: dict[str, np.ndarray], share: float, classes: int = 16) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        token: np.where(rng.random(len(y)) < share, rng.integers(0, classes, len(y)), y.clip(min=0))
        for token, y in truth.items()
    }


def _submit(folder: Path, split: str, predictions: dict[str, np.ndarray]) -> None:
    writer = LidarsegWriter(folder, split)
    for token, labels in predictions.items():
        writer.write(token, labels)


@pytest.fixture(scope="module")
def nusc(hand_nuscenes: Path) -> NuScenes:
    return NuScenes(VERSION, str(hand_nuscenes), verbose=False)


def test_the_truth_scores_one(hand_nuscenes: Path, nusc: NuScenes, tmp_path: Path) -> None:
    _submit(tmp_path, "hand_val", _noisy(_truth(nusc, "hand_val"), 0.0))
    scores = evaluate_lidarseg(hand_nuscenes, VERSION, "hand_val", tmp_path)
    assert scores["miou"] == scores["miou_truth"] == scores["fwiou"] == 1.0
    assert np.isnan(scores["iou"].pop("trailer"))
    assert set(scores["iou"].values()) == {1.0}


@pytest.mark.parametrize("classes", [16, 8])
def test_own_metrics_agree_with_the_official_ones(
    hand_nuscenes: Path, nusc: NuScenes, tmp_path: Path, classes: int
) -> None:
    # 16: trailers are predicted and do not occur, the case in which the two means differ.
    truth = _truth(nusc, "mini_val")
    predictions = _noisy(truth, 0.6, classes)
    _submit(tmp_path, "mini_val", predictions)
    official = evaluate_lidarseg(hand_nuscenes, VERSION, "mini_val", tmp_path)
    own = summary(
        sum(confusion_matrix(truth[token], predictions[token], 16) for token in truth),
        NUSCENES_LIDARSEG_CLASSES,
    )
    for name in ("miou", "miou_truth", "fwiou"):
        assert own[name] == pytest.approx(official[name], abs=1e-9)
    assert own["iou"] == pytest.approx(official["iou"], abs=1e-9, nan_ok=True)
    if classes == 16:
        assert official["iou"]["trailer"] == 0.0
        assert official["miou"] == pytest.approx(official["miou_truth"] * 15 / 16)
    else:
        assert np.isnan(official["iou"]["trailer"])
        assert official["miou"] == pytest.approx(official["miou_truth"])


def test_adapter_equals_the_untouched_evaluator(hand_nuscenes: Path, nusc: NuScenes, tmp_path: Path) -> None:
    assert split_samples(nusc, "mini_val") == get_samples_in_eval_set(nusc, "mini_val")
    _submit(tmp_path, "mini_val", _noisy(_truth(nusc, "mini_val"), 0.4))
    validate_submission(nusc, str(tmp_path), "mini_val")
    official = LidarSegEval(nusc, str(tmp_path), "mini_val").evaluate()
    adapted = evaluate_lidarseg(hand_nuscenes, VERSION, "mini_val", tmp_path)
    assert adapted["miou"] == official["miou"]
    assert adapted["fwiou"] == official["freq_weighted_iou"]
    assert official_module.get_samples_in_eval_set is get_samples_in_eval_set


def test_submission_files(tmp_path: Path) -> None:
    path = LidarsegWriter(tmp_path, "val", use_camera=True).write("abc", np.array([0, 15, 3]))
    assert path == tmp_path / "lidarseg" / "val" / "abc_lidarseg.bin"
    assert path.read_bytes() == bytes([1, 16, 4])
    meta = json.loads((tmp_path / "val" / "submission.json").read_text())["meta"]
    assert meta == {
        "use_camera": True,
        "use_lidar": True,
        "use_radar": False,
        "use_map": False,
        "use_external": False,
    }


@pytest.mark.parametrize(
    "labels", [np.array([-1, 2]), np.array([16]), np.zeros((2, 2), int), np.array([0.5])]
)
def test_writer_refuses(tmp_path: Path, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="labels of abc"):
        LidarsegWriter(tmp_path, "val").write("abc", labels)


def test_missing_predictions_are_one_clear_error(hand_nuscenes: Path, nusc: NuScenes, tmp_path: Path) -> None:
    predictions = _noisy(_truth(nusc, "mini_val"), 0.0)
    token = sorted(predictions)[0]
    _submit(tmp_path, "mini_val", {token: predictions[token]})
    with pytest.raises(DataError, match="no prediction for 3 of the 4 sweeps"):
        evaluate_lidarseg(hand_nuscenes, VERSION, "mini_val", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"), [(bytes(POINTS), "span 0..0"), (b"\1" * 7, f"7 predictions for {POINTS} points")]
)
def test_malformed_predictions(
    hand_nuscenes: Path, nusc: NuScenes, tmp_path: Path, content: bytes, message: str
) -> None:
    predictions = _noisy(_truth(nusc, "hand_val"), 0.0)
    _submit(tmp_path, "hand_val", predictions)
    (tmp_path / "lidarseg" / "hand_val" / f"{sorted(predictions)[0]}_lidarseg.bin").write_bytes(content)
    with pytest.raises(DataError, match=message):
        evaluate_lidarseg(hand_nuscenes, VERSION, "hand_val", tmp_path)


@pytest.mark.parametrize(
    ("split", "message"),
    [("nonsense", "nonsense"), ("val", "scenes of split 'val' are not there"), ("hand_empty", "0 scenes")],
)
def test_wrong_split(hand_nuscenes: Path, tmp_path: Path, split: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate_lidarseg(hand_nuscenes, VERSION, split, tmp_path)


def test_wrong_version(hand_nuscenes: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no lidarseg\.json"):
        evaluate_lidarseg(hand_nuscenes, "v1.0-none", "val", tmp_path)


def test_simulated_data_set(tiny_nuscenes: Path, tmp_path: Path) -> None:
    nusc = NuScenes("v1.0-sim", str(tiny_nuscenes), verbose=False)
    truth = _truth(nusc, "sim_val")
    _submit(tmp_path, "sim_val", {token: labels.clip(min=0) for token, labels in truth.items()})
    scores = evaluate_lidarseg(tiny_nuscenes, "v1.0-sim", "sim_val", tmp_path)
    assert scores["miou"] == scores["fwiou"] == 1.0
