"""Image backbones of the transformers library: ResNet, Swin, ConvNeXt, DINOv2, DINOv3 and others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pc3d.models.image.common import LevelImageEncoder, resize_to_multiple
from pc3d.models.image.dilation import dilate_resnet
from pc3d.models.image.resnet_names import load_resnet

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TransformersEncoder(LevelImageEncoder):
    """Stages of a `transformers.AutoBackbone`, on images normalised as for ImageNet.

    Args:
        model: a local folder or a hub name, with its weights; or a configuration without weights
            (randomly initialised), such as `{"model_type": "resnet", "depths": [2, 2, 2, 2]}`.
        stage: name of the stage whose map is given, such as `stage3`; None for the last.
        stages: names of several, the finest first, instead of `stage`; their maps are the levels.
        frozen: keep evaluation mode, no gradient.
        weights: checkpoint of a ResNet with the names of MoCo, torchvision, DINO or transformers, which
            `load_resnet` reads.
        output_stride: of a ResNet; strides that would lead beyond it become dilation, see `dilate_resnet`
            (SLidR: 4; None: 32 after the last stage).
        final_norm: of a ViT; whether the maps pass the layer norm after the last block (SuperFlow, ScaLR:
            False); None: as its configuration says, which is yes for DINOv2.

    Raises:
        ValueError: no such stage or kind of model, both `stage` and `stages`, `weights` that do not fit, or
            an option that this kind of model does not have.
        OSError: no such folder or name.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: str | Mapping[str, Any],
        stage: str | None = None,
        frozen: bool = False,
        stages: Sequence[str] | None = None,
        weights: str | Path | None = None,
        output_stride: int | None = None,
        final_norm: bool | None = None,
    ) -> None:
        super().__init__()
        if stages is not None and (stage is not None or not stages):
            raise ValueError(f"stage {stage!r} and stages {tuple(stages)}: give one stage or some stages")
        self.backbone = _load(model, [stage] if stage is not None else stages, final_norm)
        if output_stride is not None:
            dilate_resnet(self.backbone, output_stride)
        if weights is not None:
            if self.backbone.config.model_type != "resnet":
                kind = self.backbone.config.model_type
                raise ValueError(f"weights are those of a ResNet; of a {kind}, `model` names the folder")
            load_resnet(self.backbone, Path(weights))
        # Not persistent: they are constants, and no part of the exported weights.
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)
        self.set_levels(self.backbone.channels, self._probe())
        self.freeze(frozen)

    @torch.enable_grad()
    def _probe(self) -> list[int]:
        """The strides, by one pass; parameters after the last stage (they see no gradient) are frozen."""
        patch = getattr(self.backbone.config, "patch_size", 16)
        side = 16 * (patch if isinstance(patch, int) else max(patch))
        self.backbone.eval()
        maps = self.backbone(torch.zeros(1, 3, side, side)).feature_maps
        parameters = list(self.backbone.parameters())
        total = torch.stack([features.sum() for features in maps]).sum()
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.requires_grad_(gradient is not None)
        return [round(side / features.shape[-1]) for features in maps]

    def _maps(self, images: Tensor) -> list[Tensor]:
        images = (resize_to_multiple(images, self.level_strides[-1]) - self.mean) / self.std
        return list(self.backbone(images).feature_maps)


def _load(
    model: str | Mapping[str, Any], stages: Sequence[str] | None, final_norm: bool | None = None
) -> Any:
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING

    config = _configuration(model)
    if type(config) not in MODEL_FOR_BACKBONE_MAPPING:
        raise ValueError(f"transformers has no backbone of type {config.model_type!r}")
    if final_norm is not None:
        if not hasattr(config, "apply_layernorm"):
            raise ValueError(f"final_norm: a {config.model_type} has no layer norm that can be left out")
        config.apply_layernorm = final_norm
    if stages is not None:
        for stage in stages:
            if stage not in config.stage_names:
                known = ", ".join(config.stage_names)
                raise ValueError(f"{config.model_type} has no stage {stage!r}; known: {known}")
        chosen = sorted(set(stages), key=config.stage_names.index)
        config = type(config).from_dict({**config.to_dict(), "out_features": chosen, "out_indices": None})
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
