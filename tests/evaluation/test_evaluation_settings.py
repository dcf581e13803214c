"""Evaluations with other settings have other files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_models import MINK

from pc3d.data.errors import DataError
from pc3d.engine.finetuner import build_segmenter
from pc3d.evaluation.downstream import evaluate_checkpoint
from pc3d.evaluation.settings import evaluation_folder, write_metrics
from pc3d.evaluation.temporal_voting import VotingConfig
from pc3d.evaluation.test_time_augmentation import AugmentedCopies
from pc3d.models.weights import save_backbone
from pc3d.storage.whole import file_sha256

TOOL = Path(__file__).resolve().parents[2] / "tools" / "evaluate.py"


def write_segmenter(folder: Path, seed: int = 0) -> Path:
    head = {"num_classes": 16}
    path = folder / "segmenter.safetensors"
    metadata = {"lidar": json.dumps(MINK), "head": json.dumps(head), "frames": "{}"}
    save_backbone(build_segmenter(MINK, head, seed=seed), path, metadata)
    return path


def read(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"split": "val"}, "evaluation"),
        ({"split": "sim_val"}, "evaluation"),
        ({"split": "sim_train"}, "evaluation-sim_train"),
        ({"split": "val", "tta": AugmentedCopies(8)}, "evaluation-tta8"),
        ({"split": "val", "voting": VotingConfig(1)}, "evaluation-voting1"),
        ({"split": "val", "voting": VotingConfig(2, 0.3, "average", 1.5)}, None),
        ({"split": "val", "voting": VotingConfig(1), "tracks": True}, "evaluation-voting1-tracks"),
        (
            {"split": "train", "tta": AugmentedCopies(4), "voting": VotingConfig(1)},
            "evaluation-train-tta4-voting1",
        ),
    ],
)
def test_names_of_folders(arguments: dict, name: str | None) -> None:
    assert evaluation_folder(**arguments) == (name or "evaluation-voting2-voxel0.3-average-half-life1.5")


def test_other_settings_are_not_overwritten(tmp_path: Path, tiny_index: Path) -> None:
    checkpoint = write_segmenter(tmp_path)
    folder = tmp_path / "evaluation"
    evaluate_checkpoint(checkpoint, tiny_index, "sim_val", folder)
    first = read(folder)
    settings = first["settings"]
    assert settings["split"] == "sim_val"
    assert settings["tta"] is None
    assert settings["checkpoint"] == {"file": checkpoint.name, "sha256": file_sha256(checkpoint)}
    assert str(tmp_path) not in json.dumps(settings)

    evaluate_checkpoint(checkpoint, tiny_index, "sim_val", folder)  # the same once more
    assert read(folder) == first
    for options in ({"tta": AugmentedCopies(2)}, {"voting": VotingConfig(1)}):
        with pytest.raises(DataError, match=r"(?s)other settings: (tta|voting) none .*--overwrite"):
            evaluate_checkpoint(checkpoint, tiny_index, "sim_val", folder, **options)
    with pytest.raises(DataError, match=r"split sim_val \(now sim_train\)"):
        evaluate_checkpoint(checkpoint, tiny_index, "sim_train", folder)
    assert read(folder) == first

    evaluate_checkpoint(checkpoint, tiny_index, "sim_train", folder, overwrite=True)
    assert read(folder)["settings"]["split"] == "sim_train"


def test_other_weights(tmp_path: Path, tiny_index: Path) -> None:
    """The run has gone on: its metrics are replaced; those in a folder of one's own are not."""
    checkpoint = write_segmenter(tmp_path)
    beside, elsewhere = tmp_path / "evaluation", tmp_path / "scores" / "first"
    for folder in (beside, elsewhere):
        evaluate_checkpoint(checkpoint, tiny_index, "sim_val", folder)
    write_segmenter(tmp_path, seed=1)
    evaluate_checkpoint(checkpoint, tiny_index, "sim_val", beside)
    assert read(beside)["settings"] != read(elsewhere)["settings"]
    with pytest.raises(DataError, match="other weights"):
        evaluate_checkpoint(checkpoint, tiny_index, "sim_val", elsewhere)


@pytest.mark.parametrize("text", ['{"miou": 0.5}', "[]", "{"])
def test_metrics_that_do_not_say_how_they_were_made(tmp_path: Path, tiny_index: Path, text: str) -> None:
    checkpoint = write_segmenter(tmp_path)
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation/metrics.json").write_text(text)
    with pytest.raises(DataError, match="--overwrite"):
        evaluate_checkpoint(checkpoint, tiny_index, "sim_val", tmp_path / "evaluation")
    assert (tmp_path / "evaluation/metrics.json").read_text() == text


def test_metrics_keep_their_order(tmp_path: Path) -> None:
    write_metrics(tmp_path, {"b": 1, "a": float("nan")}, {"split": "val"})
    assert list(read(tmp_path)) == ["b", "a", "settings"]


@pytest.mark.long
def test_the_tool_leaves_each_its_folder(tmp_path: Path, tiny_index: Path) -> None:
    checkpoint = write_segmenter(tmp_path)
    command = [sys.executable, str(TOOL), str(checkpoint), "--index", str(tiny_index)]
    for options in ([], ["--tta", "2"], ["--temporal-voting", "1"], ["--split", "sim_train"]):
        subprocess.run([*command, *options], check=True, capture_output=True)
    folders = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert folders == ["evaluation", "evaluation-sim_train", "evaluation-tta2", "evaluation-voting1"]
    done = subprocess.run(
        [*command, "--tta", "2", "--out", str(tmp_path / "evaluation")], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
