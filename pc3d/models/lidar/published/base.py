"""What a published format says of itself, and what it makes of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Converted:
    """A checkpoint in our terms.

    Attributes:
        lidar: configuration of the encoder (`build_lidar_encoder`).
        tensors: by our names, in our layout; what the format does not know keeps its published name.
        left_out: published names, or beginnings of names, that the encoder has no place for, and why.
        fresh: beginnings of our names that the checkpoint has no weights for.
        inputs: our name of the first layer's weight, whose last axis begins with the points' columns, and
            their number; None where columns cannot be left out.
    """

    lidar: dict[str, Any]
    tensors: dict[str, Tensor]
    left_out: dict[str, str] = field(default_factory=dict)
    fresh: tuple[str, ...] = ()
    inputs: tuple[str, int] | None = None

    def with_columns(self, count: int) -> Converted:
        """The first `count` columns alone, for points that have no others."""
        if self.inputs is None or count >= self.inputs[1]:
            return self
        name, had = self.inputs
        weight = self.tensors[name]
        cut = torch.cat((weight[..., :count], weight[..., had:]), dim=-1)
        left_out = {**self.left_out, f"{name}, columns {count} to {had - 1}": "in_channels says so"}
        lidar = {**self.lidar, "in_channels": count}
        return replace(
            self, lidar=lidar, tensors={**self.tensors, name: cut}, left_out=left_out, inputs=(name, count)
        )


@dataclass(frozen=True)
class PublishedFormat:
    """One family of checkpoints.

    Attributes:
        markers: names of which every checkpoint of the family has one, behind whatever prefix.
        convert: from the tensors behind the prefix, and the factor of the intensity.
        intensity_scale: the intensity that the published network was fed with, over ours (0..1); None where
            it hangs on the data set.
        note: what to know where a file has none of the markers.
    """

    markers: tuple[str, ...]
    convert: Callable[[Mapping[str, Tensor], float], Converted]
    intensity_scale: float | None
    note: str = ""


def rename(tensors: Mapping[str, Tensor], modules: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors with the longest known module at the beginning of their names replaced by ours."""
    renamed = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        ends = (n for n in range(len(parts) - 1, 0, -1) if ".".join(parts[:n]) in modules)
        end = next(ends, 0)
        ours = [modules[".".join(parts[:end])], *parts[end:]] if end else parts
        renamed[".".join(ours)] = tensor
    return renamed


def split_off(
    tensors: Mapping[str, Tensor], parts: Mapping[str, str]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What is not below one of `parts` (beginnings of names, and why they are not needed), and what is."""
    kept, counts = {}, dict.fromkeys(parts, 0)
    for name, tensor in tensors.items():
        part = next((part for part in parts if name == part or name.startswith(f"{part}.")), None)
        if part is None:
            kept[name] = tensor
        else:
            counts[part] += 1
    return kept, {f"{part}.*": f"{parts[part]}; {n} tensors" for part, n in counts.items() if n}


def scale_intensity(weight: Tensor, scale: float) -> Tensor:
    """A first layer (out, ..., in) that is fed with our intensity instead of `scale` times it.

    The intensity is the only input, or the fourth one.
    """
    weight = weight.clone()
    if weight.shape[-1] == 1:
        weight *= scale
    elif weight.shape[-1] > 3:
        weight[..., 3] *= scale
    return weight
