"""`pc3d probe` on a drive of one's own: own classes, drives in splits, two data sets side by side."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_drive import CLASSES, LABELS, write_drive
from small_models import PILLARS

from pc3d.cli import dispatch
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.records import Sweep
from pc3d.evaluation.protocol.data import draw_points, spread_key_frames
from pc3d.models.lidar import build_lidar_encoder
from pc3d.models.weights import save_backbone


def halves(number: int, sweep: Sweep) -> Sweep:
    return replace(sweep, split="train" if number < 2 else "val", scene=f"drive {number // 2}")


def unlabelled(number: int, sweep: Sweep) -> Sweep:
    return replace(halves(number, sweep), lidarseg_path=sweep.lidarseg_path if number % 2 else None)


def test_own_classes_from_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = write_drive(tmp_path, change=halves)
    file = tmp_path / "runs" / "mine" / "backbone.safetensors"
    file.parent.mkdir(parents=True)
    save_backbone(build_lidar_encoder(PILLARS), file, {"lidar": json.dumps(PILLARS)})
    out = tmp_path / "probe.json"
    dispatch(["probe", str(index.folder), "--checkpoint", str(file), "--json", str(out)])
    table = json.loads(out.read_text())
    assert table["settings"]["classes"] == CLASSES["classes"]
    raw = [np.fromfile(tmp_path / f"data/{n}.label", "<u4") & 0xFFFF for n in range(4)]
    block = table["all"]
    assert block["train_points"] == sum(min(300, int((ids != 0).sum())) for ids in raw[:2])
    assert block["val_points"] == sum(min(300, int((ids != 0).sum())) for ids in raw[2:])
    assert set(block["rows"]["mine"]["knn"]["iou"]) == set(CLASSES["classes"])
    # The labels are random: nothing can be told, whatever the features.
    assert all(row["logistic"]["accuracy"] < 0.4 for row in block["rows"].values())
    assert "| hand-made beside mine |" in capsys.readouterr().out


def test_labels_are_told_where_they_can_be(tmp_path: Path) -> None:
    """Raw columns name the class of points whose label is their height."""
    index = write_drive(tmp_path, change=halves)
    for number in range(4):
        z = np.fromfile(tmp_path / f"data/{number}.bin", "<f4").reshape(-1, 4)[:, 2]
        ids = np.array([40, 50, 70])[np.digitize(z, [-0.7, 0.7])]
        ids.astype("<u4").tofile(tmp_path / f"data/{number}.label")
    out = tmp_path / "probe.json"
    dispatch(["probe", str(index.folder), "--json", str(out)])
    rows = json.loads(out.read_text())["all"]["rows"]
    assert list(rows) == sorted(["z, intensity, range", "hand-made", "hand-made without intensity"])
    assert rows["z, intensity, range"]["logistic"]["accuracy"] > 0.9
    assert rows["z, intensity, range"]["knn"]["accuracy"] > 0.85
    assert rows["z, intensity, range"]["logistic"]["iou"]["car"] is None


def test_key_frames_without_labels_are_left_out(tmp_path: Path) -> None:
    index = write_drive(tmp_path, change=unlabelled)
    assert spread_key_frames(index, "train", 5) == ["sweep-1"]
    assert spread_key_frames(index, "val", 5) == ["sweep-3"]


def _refused(folder: Path, *arguments: Any) -> str:
    with pytest.raises((DataError, ValueError)) as error:
        dispatch(["probe", str(folder), *map(str, arguments)])
    return str(error.value)


def test_what_own_data_lack_is_said(tmp_path: Path) -> None:
    one = write_drive(tmp_path / "one")
    assert "which split is the train part? The index has val" in _refused(one.folder)
    assert "4 sweeps are in both parts" in _refused(one.folder, "--train", "val")
    both = write_drive(tmp_path / "both", change=halves)
    assert "pc3d knows no common ones" in _refused(both.folder, "--common")
    bare = write_drive(tmp_path / "bare", classes=None, change=halves)
    assert "has no classes of points" in _refused(bare.folder)
    silent = write_drive(tmp_path / "silent", change=lambda n, s: replace(halves(n, s), lidarseg_path=None))
    assert "has point labels" in _refused(silent.folder)
    other = {**CLASSES, "classes": [*CLASSES["classes"], "sign"]}
    more = write_drive(tmp_path / "more", classes=other, change=halves)
    said = _refused(both.folder, "--val-index", more.folder)
    assert "the validation part road, building, plant, car, walker, sign" in said
    assert "--common" in said


def test_one_data_set_fitted_and_another_scored(
    tmp_path: Path, tiny_index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Own classes called as the common ones go beside a set that has these."""
    common = {
        **CLASSES,
        "name": "common",
        "classes": list(SweepIndex.open(tiny_index).metadata["classes"]["classes"]),
        "labels": {str(raw): "ignore" if raw == 0 else "car" for raw in LABELS} | {"40": "driveable_surface"},
    }
    own = write_drive(tmp_path, classes=common, change=halves)
    data = draw_points(own, spread_key_frames(own, "val", 2), 100, common=True)
    assert set(np.unique(data.labels)) == {3, 10}
    sizes = ["--sweeps", "1", "2", "--points", "100"]
    dispatch(["probe", str(tiny_index), "--val-index", str(own.folder), "--common", *sizes])
    assert "(100 training, 200 validation points)" in capsys.readouterr().out
