"""Published ResNet weights against a plain torch form of torchvision's network, under its own names."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, max_pool2d

from pc3d.data.errors import DataError
from pc3d.models.image import build_image_encoder

RESNET50, RESNET18 = (3, 4, 6, 3), (2, 2, 2, 2)
MODELS: dict[tuple[int, ...], dict[str, Any]] = {
    RESNET50: {"model_type": "resnet"},
    RESNET18: {
        "model_type": "resnet",
        "depths": [2, 2, 2, 2],
        "hidden_sizes": [64, 128, 256, 512],
        "layer_type": "basic",
    },
}
LEVELS = ["stage1", "stage2", "stage3", "stage4"]


def convolutions(depths: tuple[int, ...]) -> dict[str, tuple[int, int, int]]:
    """Output channels, input channels and kernel of torchvision's convolutions, by name."""
    bottleneck = depths == RESNET50
    shapes = {"conv1": (64, 3, 7)}
    width = 64
    for stage, depth in enumerate(depths, start=1):
        inner = 64 * 2 ** (stage - 1)
        outer = inner * 4 if bottleneck else inner
        for block in range(depth):
            name = f"layer{stage}.{block}"
            if bottleneck:
                shapes[f"{name}.conv1"] = (inner, width, 1)
                shapes[f"{name}.conv2"] = (inner, inner, 3)
                shapes[f"{name}.conv3"] = (outer, inner, 1)
            else:
                shapes[f"{name}.conv1"] = (inner, width, 3)
                shapes[f"{name}.conv2"] = (outer, inner, 3)
            if width != outer:
                shapes[f"{name}.downsample.0"] = (outer, width, 1)
            width = outer
    return shapes


def norm_of(convolution: str) -> str:
    return convolution.replace("downsample.0", "downsample.1").replace("conv", "bn")


def torchvision_state(depths: tuple[int, ...], counted: bool = True) -> dict[str, Tensor]:
    """Random weights with torchvision's names and shapes; `counted` as its newer versions write them."""
    g = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}
    for name, (out, into, kernel) in convolutions(depths).items():
        scale = (2 / (into * kernel**2)) ** 0.5
        state[f"{name}.weight"] = torch.randn(out, into, kernel, kernel, generator=g) * scale
        norm = norm_of(name)
        state[f"{norm}.weight"] = torch.rand(out, generator=g) * 0.5 + 0.5
        state[f"{norm}.bias"] = torch.randn(out, generator=g) * 0.1
        state[f"{norm}.running_mean"] = torch.randn(out, generator=g) * 0.1
        state[f"{norm}.running_var"] = torch.rand(out, generator=g) + 0.5
        if counted:
            state[f"{norm}.num_batches_tracked"] = torch.tensor(7)
    return state


def torchvision_maps(
    state: dict[str, Tensor], depths: tuple[int, ...], x: Tensor, dilated: tuple[int, ...] = ()
) -> list[Tensor]:
    """Maps of the four stages (He et al., CVPR 2016; the stride in the 3x3 convolution).

    Stages `dilated` have dilation instead of a stride (DRN; Yu et al., CVPR 2017): 1, 2, 2, ... in the
    first of them, 2, 4, 4, ... in the next.
    """

    def conv(x: Tensor, name: str, stride: int = 1, dilation: int = 1) -> Tensor:
        weight, norm = state[f"{name}.weight"], norm_of(name)
        x = conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2 * dilation, dilation=dilation)
        moments = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        return batch_norm(x, *moments, state[f"{norm}.weight"], state[f"{norm}.bias"])

    x = max_pool2d(conv(x, "conv1", 2).relu(), 3, 2, 1)
    maps = []
    for stage, depth in enumerate(depths, start=1):
        for block in range(depth):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            stride = 1 if stage in dilated else stride
            beyond = sum(other <= stage for other in dilated) - (block == 0 and stage in dilated)
            shortcut = (
                conv(x, f"{name}.downsample.0", stride) if f"{name}.downsample.0.weight" in state else x
            )
            if depths == RESNET50:
                x = conv(conv(x, f"{name}.conv1").relu(), f"{name}.conv2", stride, 2**beyond).relu()
                x = (conv(x, f"{name}.conv3") + shortcut).relu()
            else:
                x = conv(conv(x, f"{name}.conv1", stride).relu(), f"{name}.conv2")
                x = (x + shortcut).relu()
        maps.append(x)
    return maps


def encoder(path: Path, depths: tuple[int, ...] = RESNET50, **changes: Any) -> Any:
    config = {"type": "TransformersEncoder", "model": MODELS[depths], "weights": str(path), "stages": LEVELS}
    return build_image_encoder({**config, **changes}).eval()


def assert_same_network(path: Path, state: dict[str, Tensor], depths: tuple[int, ...] = RESNET50) -> None:
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        found = encoder(path, depths).pyramid(images)
        expected = torchvision_maps(state, depths, (images - mean) / std)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("stride", "dilated"), [(4, (2, 3, 4)), (8, (3, 4)), (16, (4,)), (32, ())])
def test_dilation_instead_of_strides(tmp_path: Path, stride: int, dilated: tuple[int, ...]) -> None:
    """MoCo's names as before, against the plain form; 56 x 104 cells of 224 x 416 pixels at stride 4."""
    state = torchvision_state(RESNET50)
    path = tmp_path / "moco.pth.tar"
    torch.save({"state_dict": {f"module.encoder_q.{name}": t for name, t in state.items()}}, path)
    network = encoder(path, stages=None, output_stride=stride)
    assert (network.stride, network.channels) == (stride, 2048)
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = network(images)
        expected = torchvision_maps(state, RESNET50, (images - network.mean) / network.std, dilated)[-1]
    assert found.shape == (1, 2048, 64 // stride, 96 // stride)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    if stride == 4:
        narrow = {"model_type": "resnet", "embedding_size": 4, "hidden_sizes": [4, 4, 4, 4]}
        teacher = build_image_encoder({"type": "TransformersEncoder", "model": narrow, "output_stride": 4})
        assert teacher(torch.rand(1, 3, 224, 416)).shape[2:] == (56, 104)


def test_what_has_no_output_stride_is_named() -> None:
    def build(kind: dict[str, Any], **options: Any) -> None:
        build_image_encoder({"type": "TransformersEncoder", "model": kind, **options})

    with pytest.raises(ValueError, match="not for a resnet of basic layers"):
        build(MODELS[RESNET18], output_stride=8)
    with pytest.raises(ValueError, match="output_stride is 6; this ResNet knows 4, 8, 16, 32"):
        build(MODELS[RESNET50], output_stride=6)
    swin = {"model_type": "swin", "embed_dim": 6, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]}
    with pytest.raises(ValueError, match=r"not for a swin$"):
        build(swin, output_stride=8)
    with pytest.raises(ValueError, match="a swin has no layer norm"):
        build(swin, final_norm=False)


def test_maps_of_a_vit_before_its_last_norm() -> None:
    """With the norm they are the layer norm of those without."""
    vit = {"model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    plain, normed, default = (
        build_image_encoder({"type": "TransformersEncoder", "model": vit, "final_norm": norm}).eval()
        for norm in (False, True, None)
    )
    for other in (normed, default):
        other.load_state_dict(plain.state_dict())
    images = torch.rand(1, 3, 28, 42, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, after, usual = (network(images) for network in (plain, normed, default))
    want = torch.nn.functional.layer_norm(before.movedim(1, -1), (16,), eps=1e-6).movedim(-1, 1)
    torch.testing.assert_close(after, want)
    assert torch.equal(after, usual)
    assert not torch.allclose(before, after, atol=0.1)


def test_moco_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state, other = torchvision_state(RESNET50), torchvision_state(RESNET50, counted=False)
    head = {"fc.0.weight": torch.rand(2048, 2048), "fc.2.bias": torch.rand(128)}
    trained = {f"module.encoder_q.{name}": tensor for name, tensor in {**state, **head}.items()}
    copy = {f"module.encoder_k.{name}": t + 1 for name, t in other.items() if "layer1" in name}
    content = {**copy, **trained, "module.queue": torch.rand(128, 64)}
    torch.save({"epoch": 200, "arch": "resnet50", "state_dict": content}, tmp_path / "moco.pth.tar")
    with caplog.at_level(logging.WARNING):
        assert_same_network(tmp_path / "moco.pth.tar", state)
    (message,) = [record.getMessage() for record in caplog.records]
    for unused in ("fc.0.weight (2048, 2048)", "fc.2.bias (128,)", "encoder_k", "queue"):
        assert unused in message
    assert "layer1.0" not in message


@pytest.mark.parametrize("depths", [RESNET50, RESNET18], ids=["resnet50", "resnet18"])
def test_torchvision_file(tmp_path: Path, depths: tuple[int, ...], caplog: pytest.LogCaptureFixture) -> None:
    state = torchvision_state(depths, counted=False)  # as the old files, which do not count batches
    torch.save({**state, "fc.weight": torch.rand(1000, 8), "fc.bias": torch.rand(1000)}, tmp_path / "r.pth")
    with caplog.at_level(logging.WARNING):
        assert_same_network(tmp_path / "r.pth", state, depths)
    assert "fc.weight (1000, 8), fc.bias (1000,)" in caplog.text


def test_safetensors_and_dino_behind_a_prefix(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = torchvision_state(RESNET50)
    save_file({f"backbone.{name}": t for name, t in state.items()}, tmp_path / "dino.safetensors")
    assert_same_network(tmp_path / "dino.safetensors", state)
    assert caplog.text == ""


def test_names_of_transformers_stay(tmp_path: Path) -> None:
    torch.save(torchvision_state(RESNET18), tmp_path / "a.pth")
    first = encoder(tmp_path / "a.pth", RESNET18)
    classifier = {f"resnet.{name}": tensor for name, tensor in first.backbone.state_dict().items()}
    save_file({**classifier, "classifier.1.bias": torch.zeros(3)}, tmp_path / "b.safetensors")
    second = encoder(tmp_path / "b.safetensors", RESNET18)
    for name, tensor in first.backbone.state_dict().items():
        assert torch.equal(second.backbone.state_dict()[name], tensor)


def test_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "r.pth"
    state = torchvision_state(RESNET18)
    del state["layer3.1.bn2.running_var"]
    state["layer4.0.conv2.weight"] = torch.rand(3, 3)
    torch.save(state, path)
    with pytest.raises(ValueError, match="does `model` name the depth") as error:
        encoder(path, RESNET18)
    missing = "encoder.stages.2.layers.1.layer.1.normalization.running_var (256,)"
    assert f"missing in the file: {missing}" in str(error.value)
    assert "layers.0.layer.1.convolution.weight: model (512, 512, 3, 3), file (3, 3)" in str(error.value)
    with pytest.raises(ValueError, match=r"missing in the file: encoder\.stages\.0\.layers\.2"):
        encoder(path, RESNET50)
    torch.save({"weight": torch.rand(3)}, path)
    with pytest.raises(ValueError, match=r"holds no layer1\.0\.conv1\.weight or .*expected the checkpoint"):
        encoder(path, RESNET18)
    both = {f"{role}.{name}": t for role in ("student", "teacher") for name, t in state.items()}
    torch.save(both, path)
    with pytest.raises(ValueError, match=r"several networks, behind student\., teacher\."):
        encoder(path, RESNET18)


def test_only_tensors_are_read_and_only_into_resnets(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no checkpoint"):
        encoder(tmp_path / "none.pth")
    torch.save({**torchvision_state(RESNET18), "args": Path("a")}, tmp_path / "objects.pth")
    with pytest.raises(DataError, match="pickled objects"):
        encoder(tmp_path / "objects.pth", RESNET18)
    swin = {"model_type": "swin", "embed_dim": 6, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]}
    with pytest.raises(
        ValueError, match="weights are those of a ResNet; of a swin, `model` names the folder"
    ):
        encoder(tmp_path / "objects.pth", model=swin)
