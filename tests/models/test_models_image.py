"""Image encoders: maps, strides, freezing, and that the embedded teacher sees."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pc3d.models.image import build_image_encoder
from pc3d.models.image.efficientnet import load_network

TINY: dict[str, tuple[dict[str, Any], str | None, int, int]] = {
    "resnet": (
        {
            "model_type": "resnet",
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [8, 12, 16, 20],
            "embedding_size": 8,
            "layer_type": "basic",
        },
        "stage3",
        16,
        16,
    ),
    "dinov2": (
        {
            "model_type": "dinov2",
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
        },
        None,
        24,
        14,
    ),
    "swin": (
        {"model_type": "swin", "embed_dim": 6, "depths": [1, 1, 1], "num_heads": [1, 1, 1]},
        "stage2",
        12,
        8,
    ),
}


@pytest.mark.parametrize("name", list(TINY))
def test_transformers_backbones_without_weights(name: str) -> None:
    model, stage, channels, stride = TINY[name]
    encoder = build_image_encoder({"type": "TransformersEncoder", "model": model, "stage": stage})
    assert (encoder.channels, encoder.stride, encoder.frozen) == (channels, stride, False)
    maps = encoder(torch.rand(2, 3, 61, 90))
    assert maps.shape == (2, channels, -(-61 // stride), -(-90 // stride))
    maps.square().sum().backward()
    trained = [p for p in encoder.parameters() if p.requires_grad]
    assert trained
    assert all(p.grad is not None for p in trained)


def test_transformers_backbone_from_a_folder(tmp_path: Path) -> None:
    from transformers import AutoBackbone, AutoConfig

    arguments = dict(TINY["resnet"][0])
    saved = AutoBackbone.from_config(AutoConfig.for_model(arguments.pop("model_type"), **arguments))
    saved.save_pretrained(tmp_path)
    encoder = build_image_encoder(
        {"type": "TransformersEncoder", "model": str(tmp_path), "stage": "stage2", "frozen": True}
    )
    state = encoder.backbone.state_dict()
    assert all(torch.equal(state[key], value) for key, value in saved.state_dict().items())
    assert (encoder.channels, encoder.stride) == (12, 8)


def test_images_are_normalised_as_for_imagenet() -> None:
    model, stage, _, _ = TINY["resnet"]
    encoder = build_image_encoder({"type": "TransformersEncoder", "model": model, "stage": stage}).eval()
    seen: list[torch.Tensor] = []
    encoder.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    encoder(mean.expand(1, 3, 32, 32))
    assert seen[0].abs().max() < 1e-6


@pytest.mark.parametrize("kind", ["transformers", "efficientnet"])
def test_a_frozen_encoder_stays_frozen(kind: str) -> None:
    config: dict[str, Any] = {"type": "EfficientNetLite0"}
    if kind == "transformers":
        config = {"type": "TransformersEncoder", "model": TINY["resnet"][0], "frozen": True}
    encoder = build_image_encoder(config)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder.train()
    assert not any(module.training for module in encoder.modules())
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    assert not encoder(images).requires_grad
    assert not any(p.requires_grad for p in encoder.parameters())
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_mistakes_in_the_configuration_are_named() -> None:
    with pytest.raises(ValueError, match="known: EfficientNetLite0, FPN, TransformersEncoder"):
        build_image_encoder({"type": "vgg"})
    with pytest.raises(ValueError, match="has no stage 'stage9'; known: stem, stage1"):
        build_image_encoder({"type": "TransformersEncoder", "model": TINY["resnet"][0], "stage": "stage9"})
    with pytest.raises(ValueError, match="names no model_type"):
        build_image_encoder({"type": "TransformersEncoder", "model": {"depths": [1]}})
    with pytest.raises(ValueError, match=r"resnet has no depth; known: .*depths"):
        build_image_encoder({"type": "TransformersEncoder", "model": {"model_type": "resnet", "depth": 1}})
    with pytest.raises(ValueError, match="no backbone of type 'bert'"):
        build_image_encoder({"type": "TransformersEncoder", "model": {"model_type": "bert"}})
    with pytest.raises(OSError, match="no image backbone '/nowhere/at/all'"):
        build_image_encoder({"type": "TransformersEncoder", "model": "/nowhere/at/all"})
    with pytest.raises(ValueError, match="missing a required argument: 'model'"):
        build_image_encoder({"type": "TransformersEncoder"})
    with pytest.raises(ValueError, match="expected one or more of"):
        build_image_encoder({"type": "EfficientNetLite0", "levels": (16, 64)})


@pytest.mark.parametrize(("levels", "channels"), [((8,), 40), ((16,), 112), ((16, 8), 152), ((32,), 320)])
def test_efficientnet_levels(levels: tuple[int, ...], channels: int) -> None:
    encoder = build_image_encoder({"type": "EfficientNetLite0", "levels": levels, "pretrained": False})
    stride = min(levels)
    assert (encoder.channels, encoder.stride) == (channels, stride)
    assert encoder(torch.rand(2, 3, 64, 96)).shape == (2, channels, 64 // stride, 96 // stride)


def test_efficientnet_can_be_trained() -> None:
    encoder = build_image_encoder({"type": "EfficientNetLite0", "levels": (8, 16), "frozen": False})
    assert encoder.training
    encoder(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_a_cell_sees_the_pixels_it_covers() -> None:
    """The gradient of a cell is centred on it, within a quarter of the cell."""
    encoder = build_image_encoder({"type": "EfficientNetLite0", "frozen": False}).eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 192, 192, generator=generator, requires_grad=True)
    encoder(images)[:, :, 6, 6].square().sum().backward()
    weight = images.grad.square().sum((0, 1))
    pixels = torch.arange(192) + 0.5
    for axis in (0, 1):
        centre = float((weight.sum(1 - axis) * pixels).sum() / weight.sum())
        assert abs(centre - 6.5 * 16) < 4


def test_the_embedded_teacher_knows_what_it_sees(real_data: Path) -> None:
    path = next((real_data / "nuscenes/samples/CAM_FRONT").glob("*.jpg"))
    rgb = Image.open(path).convert("RGB").resize((398, 224), Image.Resampling.BICUBIC).crop((87, 0, 311, 224))
    image = torch.from_numpy(np.asarray(rgb).copy()).permute(2, 0, 1)[None] / 255
    network = load_network().eval()
    with torch.no_grad():
        top = network((image * 255 - 127) / 128)[0].topk(5).indices.tolist()
        assert {874, 829, 569} <= set(top)  # trolleybus, streetcar, garbage truck
        # The encoder's map is the classifier's own: what follows it gives the same answer.
        encoder = build_image_encoder({"type": "EfficientNetLite0", "levels": (32,)})
        features = network._swish(network._bn1(network._conv_head(encoder(image)))).mean((2, 3))
        assert network._fc(features)[0].topk(5).indices.tolist() == top


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("efficientnet"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install pc3d\[teacher\]"):
        build_image_encoder({"type": "EfficientNetLite0"})
