"""Image backbones in torchvision, timm and transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_cases import SWIN
from reference_images import resnet_stages, swin_last_stage
from small_exports import close, exported, randomise
from torch import Tensor

from pc3d.data.errors import DataError
from pc3d.export import export_checkpoint, image, image_swin
from pc3d.models.image import build_image_encoder
from pc3d.models.image.base import ImageEncoder
from pc3d.models.weights import save_backbone

RESNET = {
    "model_type": "resnet",
    "embedding_size": 8,
    "depths": [2, 1, 1, 1],
    "hidden_sizes": [16, 24, 32, 40],
}
STAGES = ["stage1", "stage2", "stage3", "stage4"]


def made(path: Path, model: dict[str, Any], **settings: Any) -> ImageEncoder:
    """A random image encoder in evaluation mode, and its checkpoint."""
    config = {"type": "TransformersEncoder", "model": model, **settings}
    torch.manual_seed(0)
    encoder = build_image_encoder(config).eval()
    randomise(encoder)
    for part in encoder.modules():
        if isinstance(part, torch.nn.LayerNorm):
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
            torch.nn.init.uniform_(part.bias, -0.5, 0.5)
    save_backbone(encoder, path, {"image": json.dumps(config), "lidar": "{}"})
    return encoder


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ResNet of the tests' widths, as if torchvision had it."""
    monkeypatch.setitem(image.RESNETS, ("bottleneck", (2, 1, 1, 1)), "resnet50")
    monkeypatch.setitem(image.HIDDEN, "bottleneck", RESNET["hidden_sizes"])


def pictures(side: int) -> tuple[Tensor, Tensor]:
    """RGB in 0..1, and as the target is fed."""
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(5))
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in (json.loads(image_swin.MEAN), json.loads(image_swin.STD))
    )
    return images, (images - mean) / std


@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize("layers", ["bottleneck", "basic"])
def test_resnet(tmp_path: Path, library: str, layers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(image.RESNETS, ("basic", (2, 1, 1, 1)), "resnet18")
    monkeypatch.setitem(image.HIDDEN, "basic", RESNET["hidden_sizes"])
    encoder = made(tmp_path / "a.safetensors", {**RESNET, "layer_type": layers}, stages=STAGES)
    state = exported(tmp_path / "a.safetensors", library)
    images, fed = pictures(64)
    with torch.no_grad():
        maps = encoder.pyramid(images)
    for got, want in zip(maps, resnet_stages(state, fed), strict=True):
        close(got, want)


def test_a_resnet_with_dilation(tmp_path: Path) -> None:
    encoder = made(tmp_path / "a.safetensors", RESNET, stages=STAGES, output_stride=8)
    state = exported(tmp_path / "a.safetensors", "torchvision")
    text = (tmp_path / "torchvision/torchvision.py").read_text()
    assert "replace_stride_with_dilation=[False, True, True]" in text
    images, fed = pictures(64)
    with torch.no_grad():
        maps = encoder.pyramid(images)
    for got, want in zip(maps, resnet_stages(state, fed, (False, True, True)), strict=True):
        close(got, want)
    for target in ("timm", "transformers"):
        with pytest.raises(
            DataError, match=r"strides of this ResNet became dilation(?s:.*)export it to torchvision"
        ):
            export_checkpoint(tmp_path / "a.safetensors", target, tmp_path)


def timm_as_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of timm's Swin as torchvision has them."""
    found = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "patch_embed":
            parts = ["features", "0", {"proj": "0", "norm": "2"}[parts[1]], parts[2]]
        elif parts[0] == "layers" and parts[2] == "downsample":  # it begins the level
            parts = ["features", str(2 * int(parts[1])), *parts[3:]]
        elif parts[0] == "layers":
            parts = ["features", str(2 * int(parts[1]) + 1), *parts[3:]]
            parts = [{"fc1": "0", "fc2": "3"}.get(part, part) for part in parts]
        found[".".join(parts)] = tensor
    return found


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_swin(tmp_path: Path, library: str) -> None:
    encoder = made(tmp_path / "a.safetensors", SWIN, stages=["stage1", "stage2"])
    state = exported(tmp_path / "a.safetensors", library)
    images, fed = pictures(32)
    names = timm_as_torchvision(state) if library == "timm" else state
    want = swin_last_stage(names, fed, SWIN["depths"], SWIN["num_heads"], SWIN["window_size"])
    with torch.no_grad():
        close(encoder.pyramid(images)[-1], want.permute(0, 3, 1, 2))


def test_the_positions_of_a_window() -> None:
    """The row of each pair in the table of biases, by a plain loop."""
    want = [(a // 3 - b // 3 + 2) * 5 + (a % 3 - b % 3 + 2) for a in range(9) for b in range(9)]
    assert image_swin.relative_positions(3).tolist() == want


@pytest.mark.parametrize("model", [RESNET, SWIN])
def test_a_folder_for_transformers(tmp_path: Path, model: dict[str, Any]) -> None:
    encoder = made(tmp_path / "a.safetensors", model, stages=["stage2"])
    (folder, snippet), _ = export_checkpoint(tmp_path / "a.safetensors", "transformers", tmp_path / "out")
    kind = type(encoder.backbone)
    loaded, info = kind.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert f"transformers.{kind.__name__}.from_pretrained" in snippet.read_text()
    images, fed = pictures(32)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(fed).feature_maps[0], encoder.pyramid(images)[0])


def test_what_has_no_counterpart_is_said(tmp_path: Path) -> None:
    made(tmp_path / "a.safetensors", SWIN, stages=["stage1"])
    _, found = export_checkpoint(tmp_path / "a.safetensors", "timm", tmp_path)
    assert found.left_out == {
        "hidden_states_norms.stage1": "the target has one norm, behind its last stage",
        "norm": "taken from the start of training: the last stage was not trained",
    }


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({**RESNET, "depths": [1, 1, 1, 1]}, r"no ResNet of timm has bottleneck layers \[1, 1, 1, 1\]"),
        (
            {**RESNET, "downsample_in_bottleneck": True},
            "strides in the first stage or in the first convolution",
        ),
        ({**SWIN, "qkv_bias": False}, "settings that timm's lacks"),
        ({"model_type": "convnext", "hidden_sizes": [8] * 4, "depths": [1] * 4}, "the network is a convnext"),
    ],
)
def test_networks_that_the_target_lacks(tmp_path: Path, model: dict[str, Any], says: str) -> None:
    made(tmp_path / "a.safetensors", model)
    with pytest.raises(DataError, match=f"{says}(?s:.*)where: (?s:.*)remedy: export it to transformers"):
        export_checkpoint(tmp_path / "a.safetensors", "timm", tmp_path)


def test_a_lidar_checkpoint_is_no_image_network(tmp_path: Path) -> None:
    made(tmp_path / "a.safetensors", RESNET)
    save_backbone(torch.nn.Linear(2, 2), tmp_path / "b.safetensors", {"lidar": "{}"})
    with pytest.raises(DataError, match="holds no image network"):
        export_checkpoint(tmp_path / "b.safetensors", "timm", tmp_path)
