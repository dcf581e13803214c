"""The Python API: a pretrained backbone in somebody's own code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import MINK, PILLARS

import pc3d
from pc3d.api.hub import local_path
from pc3d.data.errors import DataError
from pc3d.engine.finetuner import build_segmenter
from pc3d.models.bev_models import build_bev_model
from pc3d.models.image import build_image_encoder
from pc3d.models.lidar import LidarEncoder, build_lidar_encoder
from pc3d.models.weights import save_backbone

RESNET = {
    "type": "TransformersEncoder",
    "model": {
        "model_type": "resnet",
        "embedding_size": 8,
        "depths": [1] * 4,
        "hidden_sizes": [16, 24, 32, 40],
    },
    "stages": ["stage2", "stage4"],
}


def saved(path: Path, config: dict[str, Any], features: tuple[str, ...] = ("intensity",)) -> LidarEncoder:
    encoder = build_lidar_encoder(config).eval()
    about = {"lidar": json.dumps(config), "frames": json.dumps({"features": features})}
    save_backbone(encoder, path, about)
    return encoder


def clouds(columns: int = 4) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    scale = [40, 40, 6] + [1] * (columns - 3)
    shift = [20, 20, 4] + [0] * (columns - 3)
    return [(random.random((count, columns)) * scale - shift).astype(np.float32) for count in (80, 50)]


@pytest.mark.parametrize("config", [MINK, PILLARS], ids=lambda c: c["type"])
def test_encode(tmp_path: Path, config: dict[str, Any]) -> None:
    network = saved(tmp_path / "backbone.safetensors", config)
    encoder = pc3d.load_backbone(tmp_path)
    assert not encoder.training
    found = encoder.encode(clouds())
    assert [len(points) for points in found.points] == [80, 50]
    assert found.points[0].shape[1] == encoder.point_channels
    assert found.bev is not None
    assert found.bev.shape == (2, encoder.bev_channels, encoder.grid.rows, encoder.grid.cols)
    assert found.voxels is not None
    assert int(found.voxels.coords[:, 0].max()) == 1
    assert len(found.voxels.index) == 130
    # Each cloud alone is the same; tensors of double precision are taken, too.
    alone = encoder.encode([torch.from_numpy(clouds()[1]).double()], bev=False)
    assert alone.bev is None
    torch.testing.assert_close(alone.points[0], found.points[1], rtol=1e-4, atol=1e-5)
    for name, tensor in network.state_dict().items():
        assert torch.equal(encoder.network.state_dict()[name], tensor)


def test_it_trains_in_a_plain_loop(tmp_path: Path) -> None:
    saved(tmp_path / "backbone.safetensors", PILLARS)
    encoder = pc3d.load_backbone(tmp_path / "backbone.safetensors").train()
    head = torch.nn.Linear(encoder.point_channels, 3)
    optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.1)
    labels = torch.randint(0, 3, (130,), generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(5):
        features = torch.cat(encoder.encode(clouds()).points)
        loss = torch.nn.functional.cross_entropy(head(features), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < losses[0]
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_wrong_columns_are_an_error(tmp_path: Path) -> None:
    saved(tmp_path / "a.safetensors", {**PILLARS, "in_channels": 5}, ("intensity", "time"))
    encoder = pc3d.load_backbone(tmp_path / "a.safetensors")
    assert encoder.columns == ("x", "y", "z", "intensity", "time")
    with pytest.raises(
        ValueError, match=r"cloud 1 has shape \(50, 4\), expected \(N, 5\): x y z intensity time"
    ):
        encoder.encode([clouds(5)[0], clouds()[1]])
    with pytest.raises(ValueError, match="no cloud"):
        encoder.encode([])
    broken = clouds(5)
    broken[0][3, 1] = np.nan
    with pytest.raises(ValueError, match="cloud 0 has 1 points that are not finite"):
        encoder.encode(broken)
    far = [cloud + np.float32(1000) * np.eye(5, dtype=np.float32)[0] for cloud in clouds(5)]
    with pytest.raises(DataError, match="no active voxel"):
        encoder.encode(far)


def test_an_intensity_of_another_scale_is_a_warning(tmp_path: Path) -> None:
    saved(tmp_path / "a.safetensors", PILLARS)
    encoder = pc3d.load_backbone(tmp_path / "a.safetensors")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="intensity")
        encoder.encode(clouds())
    raw = [cloud * np.array([1, 1, 1, 255], np.float32) for cloud in clouds()]
    with pytest.warns(UserWarning, match="intensity is 0.* to 2.*, expected 0 to 1") as caught:
        encoder.encode(raw)
    assert caught[0].filename == __file__


def test_images(tmp_path: Path) -> None:
    network = build_image_encoder(RESNET).eval()
    save_backbone(network, tmp_path / "image_backbone.safetensors", {"image": json.dumps(RESNET)})
    encoder = pc3d.load_backbone(tmp_path, part="image")
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (64, 96, 3), dtype=np.uint8) for _ in range(2)]
    with torch.no_grad():
        fine, coarse = encoder.encode(pictures)
        again = encoder.encode([torch.from_numpy(p).permute(2, 0, 1) / 255 for p in pictures])
    assert (fine.shape, coarse.shape) == ((2, 24, 8, 12), (2, 40, 2, 3))
    torch.testing.assert_close(again[1], coarse)
    with pytest.raises(ValueError, match=r"values 0 to 2.*, expected 0 to 1"):
        encoder.encode([torch.from_numpy(pictures[0]).permute(2, 0, 1).float()])
    with pytest.raises(ValueError, match=r"picture 0 is torch.uint8 of shape \(3, 64, 96\)"):
        encoder.encode([pictures[0].transpose(2, 0, 1)])
    with pytest.raises(ValueError, match="unknown part 'radar'; known: lidar, image"):
        pc3d.load_backbone(tmp_path, part="radar")  # type: ignore[call-overload]


def test_segmentation(tmp_path: Path) -> None:
    head = {"num_classes": 3}
    model = build_segmenter(MINK, head).eval()
    about = {"lidar": json.dumps(MINK), "head": json.dumps(head)}
    save_backbone(model, tmp_path / "segmenter.safetensors", about)
    labels = pc3d.predict(tmp_path, clouds())
    assert [len(found) for found in labels] == [80, 50]
    assert labels[0].dtype == torch.int64
    assert set(torch.cat(labels).tolist()) <= {0, 1, 2}


def test_detection(tmp_path: Path) -> None:
    network, head = {"lidar": PILLARS, "fused_channels": 4}, {"shared_channels": 4, "head_channels": 4}
    model = build_bev_model("detection", network, head).eval()
    about = {"task": "detection", "network": json.dumps(network), "head": json.dumps(head)}
    save_backbone(model, tmp_path / "detector.safetensors", about)
    loaded = pc3d.load_model(tmp_path)
    assert (loaded.task, loaded.names[0]) == ("detection", model.head.detection[0])
    found = pc3d.predict(loaded, clouds())
    assert len(found) == 2
    assert found[0].boxes.shape[1] == 9


def test_a_backbone_predicts_nothing(tmp_path: Path) -> None:
    saved(tmp_path / "backbone.safetensors", PILLARS)
    with pytest.raises(DataError, match="not a fine-tuned model but a backbone"):
        pc3d.predict(tmp_path / "backbone.safetensors", clouds())
    with pytest.raises(DataError, match="no checkpoint"):
        pc3d.load_backbone(tmp_path / "nothing.safetensors")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a hub that cannot be reached, with one repository."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--somebody--drives"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(commit)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    return snapshot


def test_a_backbone_of_a_hub(hub: Path) -> None:
    network = saved(hub / "backbone.safetensors", PILLARS)
    saved(hub / "other.safetensors", MINK)
    loaded = pc3d.load_backbone("hf://somebody/drives").network
    assert torch.equal(loaded.state_dict()["linear.weight"], network.state_dict()["linear.weight"])
    assert (
        type(pc3d.load_backbone("hf://somebody/drives@main/other.safetensors").network).__name__ == "MinkUNet"
    )
    with pytest.raises(
        DataError, match=r"backbone.safetensors of the hub cannot be had(?s:.*)hf://somebody/else"
    ):
        pc3d.load_backbone("hf://somebody/else")
    with pytest.raises(DataError, match="no name of a repository"):
        local_path("hf://somebody", "a")


def test_import_is_light() -> None:
    code = (
        "import time; start = time.perf_counter(); import pc3d, sys; spent = time.perf_counter() - start\n"
        "heavy = {'torch', 'numpy', 'transformers', 'spconv'} & sys.modules.keys()\n"
        "print(spent, sorted(heavy), 'load_backbone' in dir(pc3d))"
    )
    spent, *rest = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split(" ", 1)
    assert rest == ["[] True\n"]
    assert float(spent) < 0.2
    with pytest.raises(AttributeError, match=re.escape("module 'pc3d' has no attribute 'load'")):
        pc3d.load  # noqa: B018
    assert set(pc3d.__all__) == set(import_module("pc3d.api").__all__)
