"""Finer maps of a ResNet with the weights it has: strides of its last stages become dilation."""

from __future__ import annotations

from typing import Any

from torch import nn


def dilate_resnet(backbone: Any, output_stride: int) -> None:
    """Keep the map of a `transformers.ResNetBackbone` at `output_stride`, in place.

    A stage whose stride would lead beyond it takes stride 1, and its 3x3 convolutions, but for those of
    the stages before and of its own first block, look twice as far: torchvision's
    `replace_stride_with_dilation` (all three stages for stride 4, as SLidR's teacher has it). Names and
    shapes of the weights stay.

    Args:
        output_stride: a power of two, from the stride of the first stage up.

    Raises:
        ValueError: no bottleneck ResNet, or such a stride cannot be had.
    """
    config = backbone.config
    if config.model_type != "resnet" or config.layer_type != "bottleneck":
        layers = f" of {config.layer_type} layers" if hasattr(config, "layer_type") else ""
        raise ValueError(
            f"output_stride is for a ResNet of bottleneck layers, not for a {config.model_type}{layers}"
        )
    strides = [2 if config.downsample_in_first_stage else 1, *[2] * (len(config.depths) - 1)]
    reached, dilation = 4, 1
    known = [4 * 2 ** sum(stride == 2 for stride in strides[: n + 1]) for n in range(len(strides))]
    if output_stride not in known:
        raise ValueError(f"output_stride is {output_stride}; this ResNet knows {', '.join(map(str, known))}")
    for stage, stride in zip(backbone.encoder.stages, strides, strict=True):
        before = dilation
        if reached * stride > output_stride:
            dilation *= stride
            _set_stride(stage.layers[0])
        else:
            reached *= stride
        for number, block in enumerate(stage.layers):
            _set_dilation(block, before if number == 0 else dilation)


def _convolutions(block: nn.Module) -> list[nn.Conv2d]:
    return [module for module in block.modules() if isinstance(module, nn.Conv2d)]


def _set_stride(block: nn.Module) -> None:
    for convolution in _convolutions(block):
        convolution.stride = (1, 1)


def _set_dilation(block: nn.Module, dilation: int) -> None:
    for convolution in _convolutions(block):
        if convolution.kernel_size == (3, 3):
            convolution.dilation = convolution.padding = (dilation, dilation)
