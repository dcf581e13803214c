"""Image backbones of the transformers library: ResNet, Swin, ConvNeXt, DINOv2, DINOv3 and others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pc3d.models.image.common import FreezableImageEncoder, resize_to_multiple

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TransformersEncoder(FreezableImageEncoder):
    """One stage of a `transformers.AutoBackbone`, on images normalised as for ImageNet.

    Args:
        model: a local folder or a hub name, with its weights; or a configuration without weights
            (randomly initialised), such as `{"model_type": "resnet", "depths": [2, 2, 2, 2]}`.
        stage: name of the stage whose map is given, such as `stage3`; None for the last.
        frozen: keep evaluation mode, no gradient.

    Raises:
        ValueError: no such stage or kind of model. OSError: no such folder or name.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, model: str | Mapping[str, Any], stage: str | None = None, frozen: bool = False
    ) -> None:
        super().__init__()
        self.backbone = _load(model, stage)
        # Not persistent: they are constants, and no part of the exported weights.
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)
        self.channels = int(self.backbone.channels[-1])
        self.stride = self._probe()
        self.freeze(frozen)

    def _probe(self) -> int:
        """The stride, by one pass; parameters after the stage (they see no gradient) are frozen."""
        patch = getattr(self.backbone.config, "patch_size", 16)
        side = 16 * (patch if isinstance(patch, int) else max(patch))
        self.backbone.eval()
        features = self.backbone(torch.zeros(1, 3, side, side)).feature_maps[-1]
        parameters = list(self.backbone.parameters())
        gradients = torch.autograd.grad(features.sum(), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.requires_grad_(gradient is not None)
        return round(side / features.shape[-1])

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in 0..1 to (N, channels, H', W').

        Sides that the stride does not divide are stretched to the next multiple.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            images = (resize_to_multiple(images, self.stride) - self.mean) / self.std
            return self.backbone(images).feature_maps[-1]


def _load(model: str | Mapping[str, Any], stage: str | None) -> Any:
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING

    config = _configuration(model)
    if type(config) not in MODEL_FOR_BACKBONE_MAPPING:
        raise ValueError(f"transformers has no backbone of type {config.model_type!r}")
    if stage is not None:
        if stage not in config.stage_names:
            known = ", ".join(config.stage_names)
            raise ValueError(f"{config.model_type} has no stage {stage!r}; known: {known}")
        config = type(config).from_dict({**config.to_dict(), "out_features": [stage], "out_indices": None})
    # Not AutoBackbone.from_pretrained: it asks the hub whether even a local folder exists there.
    backbone: Any = MODEL_FOR_BACKBONE_MAPPING[type(config)]
    return backbone.from_pretrained(model, config=config) if isinstance(model, str) else backbone(config)


def _configuration(model: str | Mapping[str, Any]) -> Any:
    from transformers import AutoConfig

    if isinstance(model, str):
        try:
            return AutoConfig.from_pretrained(model)
        except OSError as error:
            raise OSError(
                f"no image backbone {model!r}: no folder with config.json, no name that the hub answers to"
            ) from error
    arguments = dict(model)
    if "model_type" not in arguments:
        raise ValueError(f"the image backbone's configuration names no model_type: {arguments}")
    kind = arguments.pop("model_type")
    known = AutoConfig.for_model(kind).to_dict()
    unknown = sorted(set(arguments) - set(known))
    if unknown:  # transformers would take them in silence
        raise ValueError(f"{kind} has no {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    return AutoConfig.for_model(kind, **arguments)
