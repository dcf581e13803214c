"""Image backbones for torchvision, timm, and as a folder that transformers loads.

ResNets have torchvision's names in both (`models/resnet.py` of torchvision; timm shares them). Swins follow
`models/swin_transformer.py` of torchvision and timm. What transformers holds in memory has other names from
version to version, so all of them start from what `save_pretrained` writes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from pc3d.data.errors import fail
from pc3d.export.base import Exported, Options, Source, Target
from pc3d.export.image_swin import INPUTS, MEAN, STD, swin
from pc3d.models.image import FPN, TransformersEncoder
from pc3d.models.image.resnet_names import torchvision_name

RESNETS = {
    ("basic", (2, 2, 2, 2)): "resnet18",
    ("basic", (3, 4, 6, 3)): "resnet34",
    ("bottleneck", (3, 4, 6, 3)): "resnet50",
    ("bottleneck", (3, 4, 23, 3)): "resnet101",
    ("bottleneck", (3, 8, 36, 3)): "resnet152",
}
HIDDEN = {"basic": [64, 128, 256, 512], "bottleneck": [256, 512, 1024, 2048]}


def export_torchvision(source: Source, options: Options) -> Exported:
    """A ResNet or Swin by torchvision's names.

    Raises:
        DataError: another network, or one that torchvision cannot be given.
    """
    return _export(source, "torchvision")


def export_timm(source: Source, options: Options) -> Exported:
    """A ResNet or Swin by timm's names.

    Raises:
        DataError: another network, or one that timm cannot be given.
    """
    return _export(source, "timm")


def export_transformers(source: Source, options: Options) -> Exported:
    """The network as a folder that its class of transformers loads with `from_pretrained`.

    Raises:
        DataError: it is no network of transformers, or has strides that its config does not tell.
    """
    encoder, left_out = _unwrapped(source)
    if _dilated(encoder.backbone):
        fail(
            "strides of this ResNet became dilation (output_stride), which no config of transformers tells",
            source.path,
            "export it to torchvision, which has replace_stride_with_dilation",
        )
    snippet = f"""\
backbone = transformers.{type(encoder.backbone).__name__}.from_pretrained("transformers")
mean, std = {MEAN}, {STD}
"""

    def write(out: Path) -> list[Path]:
        folder = out / "transformers"
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out) as made:
            _save(encoder.backbone, made)
            for file in sorted(Path(made).iterdir()):
                os.replace(file, folder / file.name)
        return [folder]

    return Exported({}, snippet, left_out, INPUTS, write)


def _export(source: Source, library: str) -> Exported:
    encoder, left_out = _unwrapped(source)
    config, tensors = encoder.backbone.config, _on_disk(encoder.backbone)
    if config.model_type == "resnet":
        return _resnet(source, encoder.backbone, tensors, left_out, library)
    if config.model_type == "swin":
        return swin(source, config, tensors, left_out, library)
    fail(
        f"the network is a {config.model_type}; for {library} there are ResNets and Swins",
        source.path,
        "export it to transformers",
    )


def _unwrapped(source: Source) -> tuple[TransformersEncoder, dict[str, str]]:
    """The encoder, without a pyramid over it."""
    network, left_out = source.network, dict(source.others)
    if isinstance(network, FPN):
        network = network.backbone
        left_out["laterals, smooth"] = "the pyramid over the backbone has no counterpart"
    if not isinstance(network, TransformersEncoder):
        fail(
            f"the image network is a {type(network).__name__}, whose names are its own package's",
            source.path,
            "export a TransformersEncoder",
        )
    return network, left_out


def _on_disk(backbone: Any) -> dict[str, Tensor]:
    """The tensors as transformers writes them."""
    with TemporaryDirectory() as folder:
        _save(backbone, folder)
        return {name: t.clone() for name, t in load_file(Path(folder) / "model.safetensors").items()}


def _save(backbone: Any, folder: str) -> None:
    """`save_pretrained` without its progress bar."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        backbone.save_pretrained(folder)
    finally:
        if shown:
            logging.enable_progress_bar()


def _dilated(backbone: nn.Module) -> bool:
    return any(isinstance(m, nn.Conv2d) and max(m.dilation) > 1 for m in backbone.modules())


def _strides(backbone: Any) -> list[bool]:
    """For each of the last three stages of a ResNet whether its stride became dilation."""
    return [
        not any(isinstance(m, nn.Conv2d) and m.stride == (2, 2) for m in stage.layers[0].modules())
        for stage in backbone.encoder.stages[1:]
    ]


def _resnet(
    source: Source, backbone: Any, tensors: Mapping[str, Tensor], left_out: dict[str, str], library: str
) -> Exported:
    config = backbone.config
    name = RESNETS.get((config.layer_type, tuple(config.depths)))
    plain = not (config.downsample_in_first_stage or config.downsample_in_bottleneck)
    if name is None or config.hidden_sizes != HIDDEN[config.layer_type] or not plain:
        fail(
            f"no ResNet of {library} has {config.layer_type} layers {config.depths} of widths "
            f"{config.hidden_sizes}"
            + ("" if plain else ", or strides in the first stage or in the first convolution of a block"),
            source.path,
            "export it to transformers",
        )
    dilated = _strides(backbone)
    if any(dilated) and library == "timm":
        fail(
            "strides of this ResNet became dilation (output_stride), which was not compared with timm's",
            source.path,
            "export it to torchvision, which has replace_stride_with_dilation",
        )
    option = f", replace_stride_with_dilation={dilated}" if any(dilated) else ""
    calls = {
        "timm": f'timm.create_model("{name}", num_classes=0)',
        "torchvision": f"torchvision.models.{name}(weights=None{option})",
    }
    snippet = f"""\
network = {calls[library]}
result = network.load_state_dict(torch.load("{library}.pth", weights_only=True), strict=False)
assert not result.unexpected_keys and all(key.startswith("fc.") for key in result.missing_keys)
mean, std = {MEAN}, {STD}
"""
    renamed = {torchvision_name(key): tensor for key, tensor in tensors.items()}
    return Exported(renamed, snippet, {**left_out, "fc": "pretraining has no classifier"}, INPUTS)


TARGETS: dict[str, Target] = {
    name: Target(title, "image", export, "py", lambda tensors: tensors, loading)
    for name, title, export, loading in (
        ("torchvision", "torchvision: ResNet, Swin", export_torchvision, "as below"),
        ("timm", "timm: ResNet, Swin", export_timm, "as below"),
        ("transformers", "transformers: a folder for from_pretrained", export_transformers, "as below"),
    )
}
