"""What the published MinkUNets have in common: the same network behind other names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pc3d.models.lidar.minkunet import BOTTLENECK_DEPTHS, LAYERS
from pc3d.models.lidar.published.base import Converted, rename, scale_intensity, split_off

LEVELS = tuple(f"{side}.{i}" for side in ("down", "up") for i in range(4))
MOST_BLOCKS = max(max(layers) for layers in LAYERS.values())
FRESH = ("bev_head.",)
"""No published MinkUNet has a BEV map."""


@dataclass(frozen=True)
class LevelNames:
    """Published module names of one level.

    Blocks are `blocks`, a dot, `block` and a number, `first` for the first one.
    """

    conv: str
    norm: str
    blocks: str
    first: int = 0
    block: str = ""


@dataclass(frozen=True)
class UNetNames:
    """Published module names of a MinkUNet.

    Attributes:
        stem: convolution and norm of each layer of the stem.
        levels: the four levels down, then the four up.
        block: inside a block, published name to ours.
    """

    stem: tuple[tuple[str, str], ...]
    levels: tuple[LevelNames, ...]
    block: Mapping[str, str]

    def modules(self) -> dict[str, str]:
        """Published module to ours."""
        table: dict[str, str] = {}
        for i, (conv, norm) in enumerate(self.stem):
            table |= {conv: f"stem.{i}.conv", norm: f"stem.{i}.norm"}
        for ours, names in zip(LEVELS, self.levels, strict=True):
            table |= {names.conv: f"{ours}.conv.conv", names.norm: f"{ours}.conv.norm"}
            for i in range(MOST_BLOCKS):
                theirs = f"{names.blocks}.{names.block}{names.first + i}"
                table |= {f"{theirs}.{a}": f"{ours}.blocks.{i}.{b}" for a, b in self.block.items()}
        return table


def convert_unet(
    tensors: Mapping[str, Tensor],
    names: UNetNames,
    layout: Callable[[Tensor], Tensor],
    intensity_scale: float,
    inputs: Mapping[str, Any],
    others: Mapping[str, str],
) -> Converted:
    """A published MinkUNet.

    Args:
        tensors: published names without prefix.
        names: its naming.
        layout: from a published kernel to ours; a kernel of size 1 to (out, in).
        intensity_scale: see `PublishedFormat`.
        inputs: how the network's points become voxels, for the configuration.
        others: parts beside the backbone, and why they are left out.

    Raises:
        ValueError: the tensors are those of no MinkUNet that pc3d has.
    """
    kept, left_out = split_off(tensors, others)
    ours = {}
    for name, tensor in rename(kept, names.modules()).items():
        module, _, leaf = name.rpartition(".")
        if leaf == "kernel":
            ours[f"{module}.weight"] = layout(tensor)
        else:
            ours[name] = tensor
    lidar = {"type": "MinkUNet", **_architecture(ours), **inputs}
    ours["stem.0.conv.weight"] = scale_intensity(ours["stem.0.conv.weight"], intensity_scale)
    return Converted(lidar, ours, left_out, FRESH)


def _architecture(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of `MinkUNet`, read from the shapes."""
    blocks = tuple(_count(tensors, f"{level}.blocks.") for level in LEVELS)
    deep = any(".conv3." in name for name in tensors)
    depth = next((d for d, n in LAYERS.items() if n == blocks and (d in BOTTLENECK_DEPTHS) == deep), None)
    if depth is None:
        kind = "bottleneck" if deep else "basic"
        known = ", ".join(map(str, LAYERS))
        raise ValueError(f"no MinkUNet has {blocks} {kind} blocks in its levels; known: depths {known}")
    first = [f"{level}.blocks.0.conv1.conv.weight" for level in LEVELS]
    if absent := [name for name in first if name not in tensors]:
        raise ValueError(f"the checkpoint lacks (by our names) {', '.join(absent)}")
    if absent := [name for level in LEVELS if (name := f"{level}.conv.conv.weight") not in tensors]:
        raise ValueError(f"the checkpoint lacks (by our names) {', '.join(absent)}")
    stem = [tensors[name] for i in range(9) if (name := f"stem.{i}.conv.weight") in tensors]
    in_channels = stem[0].shape[-1]
    return {
        "depth": depth,
        "widths": [len(tensors[name]) for name in first],
        "stem": len(stem[0]),
        "stem_kernels": [conv.shape[1] for conv in stem],
        "in_channels": in_channels,
        "columns": [3] if in_channels == 1 else list(range(in_channels)),
        **_widened(tensors),
    }


def _widened(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """What widens the levels on the way down, where it is not the blocks."""
    strided = (tensors[f"down.{i}.conv.conv.weight"].shape for i in range(4))
    return {"widen": "down"} if any(shape[0] != shape[-1] for shape in strided) else {}


def _count(tensors: Mapping[str, Tensor], beginning: str) -> int:
    """How many numbered modules stand behind the beginning of a name."""
    return len({name[len(beginning) :].split(".")[0] for name in tensors if name.startswith(beginning)})
