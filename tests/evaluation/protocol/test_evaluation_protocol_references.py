"""The table of backbones beside references, and the command that prints it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import MINK, PILLARS
from torch import Tensor
from torch.nn.functional import avg_pool2d

from pc3d.cli import dispatch
from pc3d.data.errors import DataError
from pc3d.data.frame_types import FrameConfig
from pc3d.data.index import SweepIndex
from pc3d.data.pairing import PairingConfig
from pc3d.evaluation.protocol.data import ProbeData, draw_points, spread_key_frames
from pc3d.evaluation.protocol.features import (
    beside,
    hand_made,
    of_encoder,
    of_teacher,
    raw,
    without_intensity,
)
from pc3d.evaluation.protocol.networks import Backbone, Teacher
from pc3d.evaluation.protocol.probes import probe
from pc3d.evaluation.protocol.references import markdown, reference_table
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar import build_lidar_encoder
from pc3d.models.weights import save_backbone

ROWS = [
    "z, intensity, range",
    "hand-made",
    "hand-made without intensity",
    "random network",
    "random network, estimated statistics",
    "mine",
    "mine, estimated statistics",
    "hand-made beside random network",
    "hand-made beside random network, estimated statistics",
    "hand-made beside mine",
    "hand-made beside mine, estimated statistics",
]


class Colours(ImageEncoder):
    """Means of the colour over 8 by 8 pixels."""

    channels, stride, frozen = 3, 8, True

    def forward(self, images: Tensor) -> Tensor:
        return avg_pool2d(images, 8)


@dataclass(frozen=True)
class Pair:
    train: ProbeData
    val: ProbeData
    backbone: Backbone
    table: Mapping[str, Any]


def weights(folder: Path, config: Mapping[str, Any] = MINK, **metadata: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(3)
    path = folder / "backbone.safetensors"
    save_backbone(build_lidar_encoder(config), path, {"lidar": json.dumps(config), **metadata})
    return path


@pytest.fixture(scope="module")
def pair(tiny_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    index = SweepIndex.open(tiny_index)
    train = draw_points(index, spread_key_frames(index, "sim_train", 2), 80)
    val = draw_points(index, spread_key_frames(index, "sim_val", 1), 80)
    backbone = Backbone.of(weights(tmp_path_factory.mktemp("run")))
    teacher = Teacher(Colours(), FrameConfig(image_size=(112, 224)))
    return Pair(train, val, backbone, reference_table(train, val, {"mine": backbone}, teacher))


def scores(pair: Pair, train: np.ndarray, val: np.ndarray) -> Any:
    return probe(train, pair.train.labels, val, pair.val.labels, 16, pair.train.classes)


def mious(row: Mapping[str, Any]) -> tuple[float, float]:
    return row["logistic"]["miou"], row["knn"]["miou"]


def test_rows_are_the_probes_of_the_features_that_they_name(pair: Pair) -> None:
    rows = pair.table["all"]["rows"]
    assert list(rows) == ROWS
    torch.manual_seed(0)
    untrained = build_lidar_encoder(MINK)
    encoder, train, val = pair.backbone.encoder, pair.train, pair.val
    ours = hand_made(train), hand_made(val)
    network = of_encoder(train, encoder), of_encoder(val, encoder)
    expected = {
        "z, intensity, range": (raw(train), raw(val)),
        "hand-made": ours,
        "hand-made without intensity": (without_intensity(ours[0]), without_intensity(ours[1])),
        "random network": (of_encoder(train, untrained), of_encoder(val, untrained)),
        "mine": network,
        "mine, estimated statistics": (
            of_encoder(train, encoder, "estimated"),
            of_encoder(val, encoder, "estimated", estimate_on=train),
        ),
        "hand-made beside mine": (beside(ours[0], network[0]), beside(ours[1], network[1])),
    }
    for name, (x, y) in expected.items():
        assert mious(rows[name]) == pytest.approx(mious(scores(pair, x.values, y.values))), name
        assert rows[name]["columns"] == x.values.shape[1]
    assert rows["hand-made beside mine"]["columns"] == 16 + 8


def test_the_points_that_a_camera_sees_are_a_block_of_their_own(pair: Pair) -> None:
    block = pair.table["seen"]
    assert list(block["rows"]) == [*ROWS, "teacher", "hand-made beside teacher"]
    shown = FrameConfig(image_size=(112, 224))
    x, y = (of_teacher(data, Colours(), shown) for data in (pair.train, pair.val))
    assert (block["train_points"], block["val_points"]) == (x.seen.sum(), y.seen.sum())
    assert 10 < block["val_points"] < len(pair.val)
    labels = pair.train.labels[x.seen], pair.val.labels[y.seen]
    for name, (a, b) in {"teacher": (x, y), "z, intensity, range": (raw(pair.train), raw(pair.val))}.items():
        alone = probe(a.values[x.seen], labels[0], b.values[y.seen], labels[1], 16)
        assert mious(block["rows"][name]) == pytest.approx(mious(alone)), name


def test_a_table_is_json_and_markdown(pair: Pair) -> None:
    assert json.loads(json.dumps(pair.table, allow_nan=False)) == pair.table
    settings = pair.table["settings"]
    assert (settings["c"], settings["k"], settings["classes"]) == (1.0, 20, list(pair.train.classes))
    assert settings["train"]["points"] == len(pair.train)
    text = markdown(pair.table)
    row = pair.table["all"]["rows"]["hand-made"]
    first, second = (100 * value for value in mious(row))
    assert f"| hand-made | 16 | {first:.1f} | {second:.1f} |" in text
    assert text.count("| mine |") == 2
    row["logistic"]["fit"]["converged"] = False
    try:
        assert f"| {first:.1f} * |" in markdown(pair.table)
        assert "did not converge" in markdown(pair.table)
    finally:
        row["logistic"]["fit"]["converged"] = True


def test_each_config_has_its_random_network(pair: Pair) -> None:
    pillars = Backbone(build_lidar_encoder(PILLARS), PILLARS, FrameConfig())
    again = Backbone(pair.backbone.encoder, dict(pair.backbone.config), FrameConfig())
    table = reference_table(pair.train, pair.val, {"a": pair.backbone, "b": pillars, "c": again})
    rows = table["all"]["rows"]
    assert {name for name in rows if name.startswith("random") and "estimated" not in name} == {
        "random network like a",
        "random network like b",
    }
    assert rows["c"] == rows["a"]
    other = pair.backbone.random(1).encoder.state_dict()
    same = pair.backbone.random(0).encoder.state_dict()
    torch.manual_seed(0)
    expected = build_lidar_encoder(MINK).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in same.items())
    assert any(not torch.equal(value, expected[name]) for name, value in other.items())


def test_frames_are_those_of_the_checkpoint_or_of_its_run(tmp_path: Path) -> None:
    assert Backbone.of(weights(tmp_path / "alone")).frames == FrameConfig()
    told = Backbone.of(weights(tmp_path / "told", frames='{"sweeps": 3}'))
    assert told.frames == FrameConfig(sweeps=3)
    run = weights(tmp_path / "run")
    (tmp_path / "run" / "config.py").write_text(
        "data = dict(sweeps=2, cameras=2, batch_size=4, augmentation=dict(flip=0.5), features=['time'])\n"
    )
    assert Backbone.of(run).frames == FrameConfig(sweeps=2, features=["time"])  # type: ignore[arg-type]


def test_the_teacher_of_a_config() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    teacher = Teacher.of("sim_slidr")
    assert teacher.encoder.frozen
    assert teacher.frames.image_size == (224, 448)
    assert teacher.frames.num_cameras is None  # training draws two
    for config in ("sim_prc", "sim_calico"):
        with pytest.raises(DataError, match="no image teacher"):
            Teacher.of(config)


def test_what_cannot_be_compared(pair: Pair) -> None:
    with pytest.raises(DataError, match="2 sweeps are in both parts"):
        reference_table(pair.train, pair.train, {})
    renamed = ProbeData(pair.val.index, pair.val.tokens, pair.val.rows, pair.val.labels, ("road", "car"))
    with pytest.raises(DataError, match=r"has the classes barrier, .*, the validation part road, car"):
        reference_table(pair.train, renamed, {})
    with pytest.raises(ValueError, match="named 'hand-made' as a reference"):
        reference_table(pair.train, pair.val, {"hand-made": pair.backbone})
    blind = Teacher(Colours(), FrameConfig(pairing=PairingConfig(min_depth=1e4)))
    with pytest.raises(DataError, match="no camera sees any of the 160 points"):
        reference_table(pair.train, pair.val, {}, blind)


def test_the_command(tiny_index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = weights(tmp_path / "slidr")
    sizes = ["--points", "60", "--sweeps", "2", "1", "--seed", "4"]
    out = tmp_path / "probe.json"
    dispatch(["probe", str(tiny_index), "--checkpoint", str(run), *sizes, "--json", str(out)])
    table = json.loads(out.read_text())
    assert markdown(table) in capsys.readouterr().out
    assert "hand-made beside slidr" in table["all"]["rows"]
    index = SweepIndex.open(tiny_index)
    train = draw_points(index, spread_key_frames(index, "sim_train", 2), 60, seed=4)
    val = draw_points(index, spread_key_frames(index, "sim_val", 1), 60, seed=4)
    assert table == reference_table(train, val, {"slidr": Backbone.of(run)}, seed=4)


def test_the_command_refuses(tiny_index: Path, tmp_path: Path) -> None:
    run = str(weights(tmp_path / "a"))
    for arguments, says in (
        (["--checkpoint", run, run], "two checkpoints are named 'a'"),
        (["--checkpoint", "x=nowhere.safetensors"], "no checkpoint"),
        (["--points", "0"], "at least 1 each"),
        (["--val-root", "x"], "--val-root goes with --val-index"),
        (["--train", "sim_val"], "sweeps are in both parts"),
        (["--train", "sim_trian"], "did you mean 'sim_train'"),
        (["--teacher", "sim_prc"], "no image teacher"),
    ):
        with pytest.raises(ValueError, match=says):
            dispatch(["probe", str(tiny_index), "--sweeps", "1", "1", *arguments])
