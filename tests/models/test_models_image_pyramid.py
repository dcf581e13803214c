"""Levels of the image encoders, and the feature pyramid network against a plain loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pc3d.models.image import ImageEncoder, build_image_encoder
from pc3d.models.image.fpn import FPN

RESNET = {
    "model_type": "resnet",
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 12, 16, 20],
    "embedding_size": 8,
}
SWIN = {"model_type": "swin", "embed_dim": 6, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]}
VIT = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32}
DINOV2 = {"model_type": "dinov2", **VIT, "patch_size": 8}
DINOV3 = {"model_type": "dinov3_vit", **VIT, "patch_size": 8, "num_register_tokens": 4}
PYRAMID = ["stage2", "stage3", "stage4"]


class Fixed(ImageEncoder):
    """Gives the maps that it is made of."""

    def __init__(self, maps: list[Tensor], strides: tuple[int, ...]) -> None:
        super().__init__()
        self.maps, self.strides, self.frozen = maps, strides, False

    @property
    def level_channels(self) -> tuple[int, ...]:
        return tuple(level.shape[1] for level in self.maps)

    @property
    def level_strides(self) -> tuple[int, ...]:
        return self.strides

    def forward(self, images: Tensor) -> Tensor:
        raise AssertionError("the pyramid reads levels")

    def pyramid(self, images: Tensor) -> list[Tensor]:
        return self.maps


def without_gradient(encoder: ImageEncoder) -> list[str]:
    encoder(torch.rand(2, 3, 64, 64)).square().sum().backward()
    return [name for name, p in encoder.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.parametrize(
    ("model", "stages", "channels", "strides"),
    [
        (RESNET, PYRAMID, (12, 16, 20), (8, 16, 32)),
        (SWIN, PYRAMID, (12, 24, 48), (8, 16, 32)),
        (SWIN, ["stage3", "stage1"], (6, 24), (4, 16)),
        (DINOV2, ["stage1", "stage2"], (24, 24), (8, 8)),
        (DINOV3, ["stage1", "stage2"], (24, 24), (8, 8)),
    ],
)
def test_levels_of_transformers_backbones(
    model: dict[str, Any], stages: list[str], channels: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    encoder = build_image_encoder({"type": "TransformersEncoder", "model": model, "stages": stages})
    assert (encoder.level_channels, encoder.level_strides) == (channels, strides)
    assert (encoder.channels, encoder.stride) == (sum(channels), strides[0])
    height, width = (-(-side // strides[-1]) * strides[-1] for side in (50, 90))
    shapes = [level.shape for level in encoder.pyramid(torch.rand(2, 3, 50, 90))]
    assert shapes == [(2, c, height // s, width // s) for c, s in zip(channels, strides, strict=True)]
    assert encoder(torch.rand(2, 3, 50, 90)).shape == (2, sum(channels), *shapes[0][2:])
    assert without_gradient(encoder) == []


@pytest.mark.parametrize(
    ("kind", "channels"), [("swin", (192, 384, 768)), ("resnet", (512, 1024, 2048))], ids=str
)
def test_levels_of_swin_t_and_resnet_50(kind: str, channels: tuple[int, ...]) -> None:
    config = {"type": "TransformersEncoder", "model": {"model_type": kind}, "stages": PYRAMID}
    encoder = build_image_encoder(config)
    assert (encoder.level_channels, encoder.level_strides) == (channels, (8, 16, 32))


def test_one_level_is_the_map() -> None:
    encoder = build_image_encoder({"type": "TransformersEncoder", "model": SWIN, "stage": "stage3"}).eval()
    images = torch.rand(1, 3, 64, 64)
    (level,) = encoder.pyramid(images)
    assert torch.equal(level, encoder(images))
    assert (encoder.level_channels, encoder.level_strides) == ((24,), (16,))


def test_levels_of_efficientnet() -> None:
    config = {"type": "EfficientNetLite0", "levels": (8, 32), "pretrained": False}
    encoder = build_image_encoder(config)
    images = torch.rand(1, 3, 64, 90)
    maps = encoder.pyramid(images)
    assert [level.shape for level in maps] == [(1, 40, 8, 12), (1, 320, 2, 3)]
    assert (encoder.level_channels, encoder.level_strides) == ((40, 320), (8, 32))
    assert torch.equal(encoder(images)[:, :40], maps[0])


@pytest.mark.parametrize("model", [DINOV2, DINOV3], ids=lambda model: model["model_type"])
def test_class_and_register_tokens_are_no_cells(model: dict[str, Any]) -> None:
    """Through the residual path a cell of an untrained transformer sees its own patch most."""
    encoder = build_image_encoder({"type": "TransformersEncoder", "model": model}).eval()
    for row, col in ((0, 0), (2, 1), (3, 3)):
        images = torch.rand(1, 3, 32, 32, requires_grad=True)
        encoder(images)[0, :, row, col].square().sum().backward()
        seen = images.grad.square().sum((0, 1)).reshape(4, 8, 4, 8).sum((1, 3))
        assert divmod(int(seen.argmax()), 4) == (row, col)


def test_fpn_is_the_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [
        torch.randn(2, width, 16 // s, 24 // s, generator=generator) for width, s in ((3, 2), (5, 4), (4, 8))
    ]
    fpn = FPN(Fixed(maps, (2, 4, 8)), channels=6)
    assert (fpn.channels, fpn.stride, fpn.level_channels, fpn.level_strides) == (6, 2, (6,), (2,))
    total = np.zeros((2, 6, 8, 12))
    for level, lateral in zip(maps, fpn.laterals, strict=True):
        weight, bias = lateral.weight.detach().double().numpy(), lateral.bias.detach().double().numpy()
        projected = np.einsum("oc,nchw->nohw", weight[:, :, 0, 0], level.double().numpy())
        projected += bias[:, None, None]
        factor = 8 // level.shape[2]
        total += projected.repeat(factor, axis=2).repeat(factor, axis=3)
    weight = fpn.smooth.weight.detach().double().numpy()
    padded = np.pad(total, ((0, 0), (0, 0), (1, 1), (1, 1)))
    expected = np.zeros((2, 6, 8, 12)) + fpn.smooth.bias.detach().double().numpy()[:, None, None]
    for dy in range(3):
        for dx in range(3):
            window = padded[:, :, dy : dy + 8, dx : dx + 12]
            expected += np.einsum("oc,nchw->nohw", weight[:, :, dy, dx], window)
    np.testing.assert_allclose(fpn(torch.zeros(2, 3, 16, 24)).detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("model", "stride"), [(RESNET, 8), (SWIN, 8)], ids=["resnet", "swin"])
def test_every_parameter_of_an_fpn_trains(model: dict[str, Any], stride: int) -> None:
    backbone = {"type": "TransformersEncoder", "model": model, "stages": PYRAMID}
    fpn = build_image_encoder({"type": "FPN", "backbone": backbone, "channels": 10})
    assert fpn(torch.rand(1, 3, 50, 90)).shape == (1, 10, 64 // stride, 96 // stride)
    assert without_gradient(fpn) == []


def test_the_neck_trains_on_a_frozen_backbone() -> None:
    backbone = {"type": "TransformersEncoder", "model": RESNET, "stages": PYRAMID, "frozen": True}
    fpn = build_image_encoder({"type": "FPN", "backbone": backbone}).train()
    assert not fpn.frozen
    assert not any(module.training for module in fpn.backbone.modules())
    assert without_gradient(fpn) == []
    trained = {name.split(".")[0] for name, p in fpn.named_parameters() if p.requires_grad}
    assert trained == {"laterals", "smooth"}


def test_a_frozen_fpn_is_frozen_to_the_ground() -> None:
    backbone = {"type": "TransformersEncoder", "model": RESNET, "stages": PYRAMID}
    fpn = build_image_encoder({"type": "FPN", "backbone": backbone, "frozen": True}).train()
    assert not any(module.training for module in fpn.modules())
    assert not any(p.requires_grad for p in fpn.parameters())
    assert not fpn(torch.rand(1, 3, 64, 64, requires_grad=True)).requires_grad


def test_mistakes_in_the_levels_are_named() -> None:
    config = {"type": "TransformersEncoder", "model": RESNET}
    with pytest.raises(ValueError, match="has no stage 'stage9'; known: stem, stage1"):
        build_image_encoder({**config, "stages": ["stage1", "stage9"]})
    for wrong in ({"stage": "stage1", "stages": ["stage2"]}, {"stages": []}):
        with pytest.raises(ValueError, match="give one stage or some stages"):
            build_image_encoder({**config, **wrong})
    with pytest.raises(ValueError, match="image encoder FPN: missing a required argument: 'backbone'"):
        build_image_encoder({"type": "FPN"})
