"""Published ResNet weights, whose names are torchvision's, in the ResNet of transformers."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pc3d.models.checkpoint import behind_prefix, prefixes, read_tensors
from pc3d.models.weights import LoadReport, load_tensors, read_weights

_KINDS = {"conv": "convolution", "bn": "normalization"}
_STEM = re.compile(r"(conv|bn)1\.(.+)")
_LAYER = re.compile(r"layer(\d+)\.(\d+)\.(conv|bn)(\d+)\.(.+)")
_SHORTCUT = re.compile(r"layer(\d+)\.(\d+)\.downsample\.([01])\.(.+)")
# One tensor of each network, in torchvision's and in transformers' names.
_MARKERS = ("layer1.0.conv1.weight", "encoder.stages.0.layers.0.layer.0.convolution.weight")


def transformers_name(name: str) -> str:
    """Name in `transformers.ResNetBackbone` of a tensor of torchvision's ResNets; others stay as they are."""
    if match := _STEM.fullmatch(name):
        return f"embedder.embedder.{_KINDS[match[1]]}.{match[2]}"
    if match := _LAYER.fullmatch(name):
        stage, block, kind, number, rest = match.groups()
        layer = f"layer.{int(number) - 1}.{_KINDS[kind]}"
        return f"encoder.stages.{int(stage) - 1}.layers.{block}.{layer}.{rest}"
    if match := _SHORTCUT.fullmatch(name):
        stage, block, number, rest = match.groups()
        kind = "normalization" if number == "1" else "convolution"
        return f"encoder.stages.{int(stage) - 1}.layers.{block}.shortcut.{kind}.{rest}"
    return name


def torchvision_name(name: str) -> str:
    """Inverse of `transformers_name`."""
    kinds = {ours: theirs for theirs, ours in _KINDS.items()}
    if match := re.fullmatch(r"embedder\.embedder\.(\w+)\.(.+)", name):
        return f"{kinds[match[1]]}1.{match[2]}"
    layer = r"encoder\.stages\.(\d+)\.layers\.(\d+)\."
    if match := re.fullmatch(layer + r"layer\.(\d+)\.(\w+)\.(.+)", name):
        stage, block, number, kind, rest = match.groups()
        return f"layer{int(stage) + 1}.{block}.{kinds[kind]}{int(number) + 1}.{rest}"
    if match := re.fullmatch(layer + r"shortcut\.(\w+)\.(.+)", name):
        stage, block, kind, rest = match.groups()
        return f"layer{int(stage) + 1}.{block}.downsample.{0 if kind == 'convolution' else 1}.{rest}"
    return name


def load_resnet(backbone: nn.Module, path: Path) -> LoadReport:
    """Load a checkpoint into a `transformers.ResNetBackbone`.

    MoCo (`module.encoder_q.*`), torchvision's and DINO's names, and those of transformers, behind
    whatever prefix. Tensors that the backbone has no place for, such as the classifier, are logged.

    Args:
        backbone: unchanged where an error is raised.
        path: file of `torch.save`, of which nothing is executed, or a `.safetensors` file.

    Raises:
        ValueError: no ResNet or several in the file, or tensors that are missing or have another shape,
            all listed.
        DataError: the file cannot be read.
    """
    tensors = read_weights(path)[0] if path.suffix == ".safetensors" else read_tensors(path)
    own, others = behind_prefix(tensors, _prefix(tensors, path))
    state = backbone.state_dict()
    # Older files do not count the batches that batch norm saw, and nothing here reads the number.
    found = {name: torch.zeros_like(state[name]) for name in state if name.endswith("num_batches_tracked")}
    unused = [f"{part} ({what})" for part, what in others.items()]
    for name, tensor in own.items():
        if transformers_name(name) in state:
            found[transformers_name(name)] = tensor
        else:
            unused.append(f"{name} {tuple(tensor.shape)}")
    if unused:
        logging.getLogger(__name__).warning("not used of %s: %s", path, ", ".join(unused))
    return load_tensors(backbone, found, path, remedy="does `model` name the depth and width of the file?")


def _prefix(tensors: Mapping[str, Tensor], path: Path) -> str:
    """What stands before the names of the network; of MoCo's two, the encoder that was trained."""
    found = prefixes(tensors, _MARKERS)
    trained = [prefix for prefix in found if prefix.endswith("encoder_q.")] or found
    if len(trained) != 1:
        held = f"several networks, behind {', '.join(found)}" if found else f"no {' or '.join(_MARKERS)}"
        raise ValueError(f"{path} holds {held}: expected the checkpoint of one ResNet")
    return trained[0]
