"""Swins by the names of torchvision and timm, from those that transformers writes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pc3d.data.errors import fail
from pc3d.export.base import Exported, Source

MEAN, STD = "[0.485, 0.456, 0.406]", "[0.229, 0.224, 0.225]"
INPUTS = (
    f"pc3d normalises inside of the network: feed RGB in 0..1, less {MEAN}, over {STD}.",
    "pc3d stretches images whose sides the network's stride does not divide; there, pad or resize alike.",
)
SWIN_SIZES = {
    "torchvision": (
        "Equal in all stages where each map is larger than a window (sides above 224 x 224: transformers "
        "still shifts the windows of a map that is one window)."
    ),
    "timm": (
        "Equal where all maps have sides that are multiples of the window and larger than it (448 x 448, "
        "448 x 896; not 256 x 704): timm shifts before it pads."
    ),
}
SWIN_LAYERS = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.proj",
    "attention.self.relative_position_bias_table": "attn.relative_position_bias_table",
}
SWIN_MLP = {
    "timm": {"intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2"},
    "torchvision": {"intermediate.dense": "mlp.0", "output.dense": "mlp.3"},
}
SWIN_EMBEDDING = {
    "timm": {"projection": "patch_embed.proj", "norm": "patch_embed.norm"},
    "torchvision": {"projection": "features.0.0", "norm": "features.0.2"},
}
_BLOCK = re.compile(r"encoder\.layers\.(\d+)\.blocks\.(\d+)\.(.+)")
_DOWN = re.compile(r"encoder\.layers\.(\d+)\.downsample\.(.+)")
_EMBEDDING = re.compile(r"embeddings\.(?:patch_embeddings\.)?(projection|norm)\.(\w+)")


def swin(
    source: Source, config: Any, tensors: Mapping[str, Tensor], left_out: dict[str, str], library: str
) -> Exported:
    """A Swin by the names of `library`.

    Args:
        config: of transformers. tensors: as it writes them. left_out: parts of the encoder that stay behind.

    Raises:
        DataError: it has settings that the library's Swin lacks.
    """
    _check_swin(source, config, library)
    timm = library == "timm"
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("swin.")
        if match := _EMBEDDING.fullmatch(name):
            found[f"{SWIN_EMBEDDING[library][match[1]]}.{match[2]}"] = tensor
        elif match := _DOWN.fullmatch(name):
            level = int(match[1])
            merge = f"layers.{level + 1}.downsample" if timm else f"features.{2 * level + 2}"
            found[f"{merge}.{match[2]}"] = tensor
        elif match := _BLOCK.fullmatch(name):
            level, block, rest = int(match[1]), match[2], match[3]
            theirs = f"layers.{level}.blocks.{block}" if timm else f"features.{2 * level + 1}.{block}"
            found |= _block_tensor(theirs, rest, tensor, SWIN_MLP[library])
    last = f"hidden_states_norms.stage{len(config.depths)}"
    final = last if f"{last}.weight" in tensors else "swin.layernorm"
    found |= {f"norm.{leaf}": tensors[f"{final}.{leaf}"] for leaf in ("weight", "bias")}
    if not timm:
        index = relative_positions(config.window_size)
        tables = [name for name in found if name.endswith("bias_table")]
        found |= {name.replace("bias_table", "index"): index.clone() for name in tables}
    others = {name.rpartition(".")[0] for name in tensors if "hidden_states_norms" in name} - {last}
    left_out |= dict.fromkeys(sorted(others), "the target has one norm, behind its last stage")
    found = _stacked(found)
    if final != last:
        left_out["norm"] = "taken from the start of training: the last stage was not trained"
    notes = (*INPUTS, SWIN_SIZES[library])
    return Exported(found, _swin_snippet(config, library), left_out, notes)


def _block_tensor(theirs: str, rest: str, tensor: Tensor, mlp: Mapping[str, str]) -> dict[str, Tensor]:
    """A tensor of a block by its name; those of query, key and value still apart."""
    for ours, name in {**SWIN_LAYERS, **mlp}.items():
        if rest == ours or rest.startswith(f"{ours}."):
            return {f"{theirs}.{name}{rest[len(ours) :]}": tensor}
    *_, part, leaf = rest.split(".")
    return {f"{theirs}.attn.qkv.{leaf}.{part}": tensor}


def _stacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value, in this order, as one layer."""
    stacked: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        whole, _, part = name.rpartition(".")
        if ".qkv." not in name:
            stacked[name] = tensor
        elif part == "query":
            stacked[whole] = torch.cat([tensors[f"{whole}.{p}"] for p in ("query", "key", "value")])
    return stacked


def relative_positions(window: int) -> Tensor:
    """(window^4,) row in the table of biases for each pair of cells of a window (Liu et al., ICCV 2021)."""
    cells = torch.cartesian_prod(torch.arange(window), torch.arange(window))
    steps = cells[:, None] - cells[None] + window - 1
    return (steps[..., 0] * (2 * window - 1) + steps[..., 1]).flatten()


def _check_swin(source: Source, config: Any, library: str) -> None:
    absolute = config.use_absolute_embeddings
    if absolute or not config.qkv_bias or config.mlp_ratio != 4.0 or config.hidden_act != "gelu":
        fail(
            f"this Swin has settings that {library}'s lacks (absolute embeddings, qkv_bias, mlp_ratio, "
            "hidden_act)",
            source.path,
            "export it to transformers",
        )


def _swin_snippet(config: Any, library: str) -> str:
    dim, depths, heads = config.embed_dim, list(config.depths), list(config.num_heads)
    window, patch = config.window_size, config.patch_size
    if library == "timm":
        build = (
            f"timm.models.swin_transformer.SwinTransformer(img_size=448, patch_size={patch}, "
            f"embed_dim={dim}, depths={depths}, num_heads={heads}, window_size={window}, num_classes=0)"
        )
    else:
        build = (
            f"torchvision.models.swin_transformer.SwinTransformer(patch_size=[{patch}, {patch}], "
            f"embed_dim={dim}, depths={depths}, num_heads={heads}, window_size=[{window}, {window}])"
        )
    return f"""\
network = {build}
result = network.load_state_dict(torch.load("{library}.pth", weights_only=True), strict=False)
assert not result.unexpected_keys and all(key.startswith("head.") for key in result.missing_keys)
mean, std = {MEAN}, {STD}
"""
