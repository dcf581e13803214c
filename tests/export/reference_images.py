"""ResNet and Swin in float64 by torchvision's names, written from the papers and the names' source."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, gelu, layer_norm, linear, max_pool2d

State = dict[str, Tensor]


def resnet_stages(
    state: State, images: Tensor, dilation: tuple[bool, bool, bool] = (False,) * 3
) -> list[Tensor]:
    """Outputs of the four stages; `dilation` as torchvision's `replace_stride_with_dilation`."""
    state = {name: tensor.double() for name, tensor in state.items()}

    def layer(x: Tensor, conv: str, norm: str, stride: int = 1, reach: int = 1) -> Tensor:
        weight = state[f"{conv}.weight"]
        padding = reach * (weight.shape[-1] // 2)
        leaves = (state[f"{norm}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias"))
        return batch_norm(conv2d(x, weight, None, stride, padding, reach), *leaves)

    x = layer(images.double(), "conv1", "bn1", 2).relu()
    x = max_pool2d(x, 3, 2, 1)
    outputs, reach = [], 1
    for number in (1, 2, 3, 4):
        dilated = number > 1 and dilation[number - 2]
        before, stride = reach, 1 if number == 1 or dilated else 2
        reach = reach * 2 if dilated else reach
        block = 0
        while f"layer{number}.{block}.conv1.weight" in state:
            name = f"layer{number}.{block}"
            step, wide = (stride, before) if block == 0 else (1, reach)
            deep = f"{name}.conv3.weight" in state
            y = layer(x, f"{name}.conv1", f"{name}.bn1", 1 if deep else step).relu()
            y = layer(y, f"{name}.conv2", f"{name}.bn2", step if deep else 1, wide)
            if deep:
                y = layer(y.relu(), f"{name}.conv3", f"{name}.bn3")
            if f"{name}.downsample.0.weight" in state:
                x = layer(x, f"{name}.downsample.0", f"{name}.downsample.1", step)
            x, block = (x + y).relu(), block + 1
        outputs.append(x)
    return outputs


def swin_last_stage(state: State, images: Tensor, depths: list[int], heads: list[int], window: int) -> Tensor:
    """(N, H, W, C) behind the last norm; sides of all maps are multiples of the window, and larger."""
    state = {name: tensor.double() for name, tensor in state.items() if tensor.is_floating_point()}

    def norm(x: Tensor, name: str) -> Tensor:
        return layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def dense(x: Tensor, name: str) -> Tensor:
        return linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    patch = state["features.0.0.weight"]
    x = conv2d(images.double(), patch, state["features.0.0.bias"], stride=patch.shape[-1]).permute(0, 2, 3, 1)
    x = norm(x, "features.0.2")
    for level, depth in enumerate(depths):
        if level:
            parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
            merge = f"features.{2 * level}"
            x = dense(norm(torch.cat(parts, dim=-1), f"{merge}.norm"), f"{merge}.reduction")
        for block in range(depth):
            name = f"features.{2 * level + 1}.{block}"
            shift = window // 2 if block % 2 else 0
            y = norm(x, f"{name}.norm1")
            x = x + dense(
                _attention(state, f"{name}.attn", dense, y, heads[level], window, shift), f"{name}.attn.proj"
            )
            x = x + dense(gelu(dense(norm(x, f"{name}.norm2"), f"{name}.mlp.0")), f"{name}.mlp.3")
    return norm(x, "norm")


def _attention(state: State, name: str, dense, x: Tensor, heads: int, window: int, shift: int) -> Tensor:
    """Every cell looks at those of its window, one by one, after the map was rolled by `shift`."""
    _, height, width, channels = x.shape
    x = x.roll((-shift, -shift), (1, 2))
    rows, cols = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")

    def region(at: Tensor, side: int) -> Tensor:  # what came around from the other side is apart
        return (at >= side - shift).long() if shift else torch.zeros_like(at)

    group = torch.stack((rows // window, cols // window, region(rows, height), region(cols, width)))
    group = group.flatten(1).T
    same = (group[:, None] == group[None]).all(dim=-1)
    steps = [
        (at.flatten()[:, None] - at.flatten()[None]).clamp(1 - window, window - 1) for at in (rows, cols)
    ]
    row = (steps[0] + window - 1) * (2 * window - 1) + steps[1] + window - 1
    bias = state[f"{name}.relative_position_bias_table"][row].permute(2, 0, 1)
    q, k, v = dense(x.flatten(1, 2), f"{name}.qkv").chunk(3, dim=-1)
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-1, -2) / (channels // heads) ** 0.5 + bias
    out = scores.masked_fill(~same, -torch.inf).softmax(dim=-1) @ v
    return out.transpose(1, 2).flatten(2).reshape(x.shape).roll((shift, shift), (1, 2))
