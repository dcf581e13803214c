"""Published networks for tests: their names, their shapes, and what they compute, in float64 and dense.

Written from the source files of the projects (`published-weights.md` names them), apart from the importer: a
volume is (X, Y, Z, C) in the coordinate order of the published pipeline, and a convolution is a loop over
the offsets of its kernel in the order of its library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

State = dict[str, Tensor]
Offset = tuple[int, int, int]
BASIC_34 = (2, 3, 4, 6, 2, 2, 2, 2)
PLANES = (32, 64, 128, 256, 256, 128, 96, 96)
NARROW = (4, 6, 8, 10, 10, 8, 6, 4)


def minkowski_offsets(size: int) -> list[Offset]:
    """MinkowskiEngine 0.5: centred where odd, from 0 where even; x runs fastest."""
    steps = range(-(size // 2), size // 2 + 1) if size % 2 else range(size)
    return [(x, y, z) for z in steps for y in steps for x in steps]


def torchsparse_offsets(size: int) -> list[Offset]:
    """torchsparse: as MinkowskiEngine where odd; where even, z runs fastest."""
    if size % 2:
        return minkowski_offsets(size)
    steps = range(size)
    return [(x, y, z) for x in steps for y in steps for z in steps]


OFFSETS: dict[str, Callable[[int], list[Offset]]] = {
    "minkowski": minkowski_offsets,
    "torchsparse": torchsparse_offsets,
}


def correlate(volume: Tensor, taps: list[tuple[Offset, Tensor]], stride: int | Offset = 1) -> Tensor:
    """out[p] = sum over taps of volume[p * stride + offset] @ weight, ceil(n / stride) long; zero outside."""
    strides = (stride,) * 3 if isinstance(stride, int) else stride
    reach = max(max(map(abs, offset)) for offset, _ in taps)
    padded = torch.nn.functional.pad(volume, (0, 0, *(reach, reach + max(strides)) * 3))
    sizes = [-(-n // s) for n, s in zip(volume.shape[:3], strides, strict=True)]
    out = 0.0
    for offset, weight in taps:
        x, y, z = (
            slice(reach + o, reach + o + n * s, s) for o, n, s in zip(offset, sizes, strides, strict=True)
        )
        out = out + padded[x, y, z] @ weight
    return out


def spread(volume: Tensor, taps: list[tuple[Offset, Tensor]]) -> Tensor:
    """Transposed convolution of stride 2 and size 2: out[2 p + offset] = volume[p] @ weight."""
    x, y, z, _ = volume.shape
    out = volume.new_zeros(2 * x, 2 * y, 2 * z, taps[0][1].shape[1])
    for (dx, dy, dz), weight in taps:
        out[dx::2, dy::2, dz::2] = volume @ weight
    return out


@dataclass(frozen=True)
class UNetScheme:
    """Names of a published MinkUNet: stem (conv, norm), levels (conv, norm, block i), inside a block."""

    library: str
    stem: list[tuple[str, str]]
    levels: list[tuple[str, str, Callable[[int], str]]]
    inside: dict[str, str]
    stem_size: int = 3


def slidr(stem_size: int = 3) -> UNetScheme:
    strides = (1, 2, 4, 8)
    down = [(f"conv{i + 1}p{s}s2", f"bn{i + 1}.bn", f"block{i + 1}") for i, s in enumerate(strides)]
    up = [(f"convtr{i + 4}p{16 // s}s2", f"bntr{i + 4}.bn", f"block{i + 5}") for i, s in enumerate(strides)]
    return UNetScheme(
        "minkowski",
        [("conv0p1s1", "bn0.bn")],
        [(conv, norm, lambda j, b=block: f"{b}.{j}") for conv, norm, block in down + up],
        {f"conv{i}": f"conv{i}" for i in (1, 2, 3)}
        | {f"norm{i}": f"norm{i}.bn" for i in (1, 2, 3)}
        | {"downsample": "downsample.0", "downsample_norm": "downsample.1.bn"},
        stem_size,
    )


def superflow() -> UNetScheme:
    return UNetScheme(
        "torchsparse",
        [(f"conv0.{i}.conv", f"conv0.{i}.norm") for i in (0, 1)],
        [(f"conv{i}.conv", f"conv{i}.norm", lambda j, i=i: f"block{i}.{j}") for i in range(1, 9)],
        {name: name for i in (1, 2, 3) for name in (f"conv{i}", f"norm{i}")}
        | {"downsample": "downsample.conv", "downsample_norm": "downsample.norm"},
    )


def _sequential(library: str, bn: str) -> dict[str, str]:
    inside = {f"conv{i}": f"net.{3 * (i - 1)}" for i in (1, 2, 3)}
    inside |= {f"norm{i}": f"net.{3 * (i - 1) + 1}{bn}" for i in (1, 2, 3)}
    return inside | {"downsample": "downsample.0", "downsample_norm": f"downsample.1{bn}"}


def mmdet3d() -> UNetScheme:
    encoder = [
        (f"encoder.{i}.0.net.0", f"encoder.{i}.0.net.1", lambda j, i=i: f"encoder.{i}.{j + 1}")
        for i in range(4)
    ]
    decoder = [
        (f"decoder.{i}.0.net.0", f"decoder.{i}.0.net.1", lambda j, i=i: f"decoder.{i}.1.{j}")
        for i in range(4)
    ]
    stem = [(f"conv_input.{i}.net.0", f"conv_input.{i}.net.1") for i in (0, 1)]
    return UNetScheme("torchsparse", stem, encoder + decoder, _sequential("torchsparse", ""))


def spvnas(library: str = "torchsparse", stem_layers: int = 2) -> UNetScheme:
    bn = ".bn" if library == "minkowski" else ""
    down = [
        (f"stage{i}.0.net.0", f"stage{i}.0.net.1{bn}", lambda j, i=i: f"stage{i}.{j + 1}")
        for i in range(1, 5)
    ]
    up = [(f"up{i}.0.net.0", f"up{i}.0.net.1{bn}", lambda j, i=i: f"up{i}.1.{j}") for i in range(1, 5)]
    stem = [(f"stem.{3 * i}", f"stem.{3 * i + 1}{bn}") for i in range(stem_layers)]
    return UNetScheme(library, stem, down + up, _sequential(library, bn))


def random_norm(name: str, channels: int, generator: torch.Generator) -> State:
    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(channels, generator=generator)

    return {
        f"{name}.weight": uniform(0.5, 1.5),
        f"{name}.bias": uniform(-0.5, 0.5),
        f"{name}.running_mean": uniform(-0.5, 0.5),
        f"{name}.running_var": uniform(0.5, 2.0),
        f"{name}.num_batches_tracked": torch.tensor(7),
    }


def unet_state(
    scheme: UNetScheme,
    in_channels: int,
    planes: tuple[int, ...] = NARROW,
    layers: tuple[int, ...] = (2,) * 8,
    init: int = 4,
    bottleneck: bool = False,
    seed: int = 0,
) -> State:
    """A published MinkUNet: every name with its shape, random values."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}

    def conv(name: str, norm: str, size: int, before: int, after: int) -> None:
        shape = (before, after) if size == 1 else (size**3, before, after)
        kernel = torch.randn(shape, generator=generator) / (before * (size**3 if size > 2 else 1)) ** 0.5
        state[f"{name}.kernel"] = kernel
        state.update(random_norm(norm, after, generator))

    channels = in_channels
    for name, norm in scheme.stem:
        conv(name, norm, scheme.stem_size, channels, init)
        channels = init
    grow = 4 if bottleneck else 1
    skips = [init, *(grow * width for width in planes[:3])]
    for level, (name, norm, block) in enumerate(scheme.levels):
        width = planes[level]
        conv(name, norm, 2, channels, channels if level < 4 else width)
        if level >= 4:
            channels = width + skips.pop()
        for j in range(layers[level]):
            inside = {key: f"{block(j)}.{value}" for key, value in scheme.inside.items()}
            sizes = (1, 3, 1) if bottleneck else (3, 3)
            before = channels
            for i, size in enumerate(sizes, 1):
                after = grow * width if i == len(sizes) else width
                conv(inside[f"conv{i}"], inside[f"norm{i}"], size, before, after)
                before = after
            if channels != grow * width:
                conv(inside["downsample"], inside["downsample_norm"], 1, channels, grow * width)
            channels = grow * width
    return state


def normed(state: State, name: str, x: Tensor, active: Tensor, eps: float = 1e-5) -> Tensor:
    """Batch norm with running statistics at the active voxels, zero elsewhere."""
    weight, bias, mean, var = (
        state[f"{name}.{leaf}"].double() for leaf in ("weight", "bias", "running_mean", "running_var")
    )
    return ((x - mean) / (var + eps).sqrt() * weight + bias) * active


def unet_forward(
    scheme: UNetScheme, state: State, volume: Tensor, active: Tensor, eps: float = 1e-5
) -> Tensor:
    """(X, Y, Z, C) decoder output of the published network; sides are multiples of sixteen."""
    offsets = OFFSETS[scheme.library]

    def taps(name: str, size: int) -> list[tuple[Offset, Tensor]]:
        kernel = state[f"{name}.kernel"].double()
        if size == 1:
            return [((0, 0, 0), kernel)]
        return list(zip(offsets(size), kernel, strict=True))

    def block(x: Tensor, name: str, at: Tensor) -> Tensor:
        inside = {key: f"{name}.{value}" for key, value in scheme.inside.items()}
        deep = f"{inside['conv3']}.kernel" in state
        sizes = (1, 3, 1) if deep else (3, 3)
        y = x
        for i, size in enumerate(sizes, 1):
            y = normed(state, inside[f"norm{i}"], correlate(y, taps(inside[f"conv{i}"], size)), at, eps)
            y = y.relu() if i < len(sizes) else y
        if f"{inside['downsample']}.kernel" in state:
            short = correlate(x, taps(inside["downsample"], 1))
            x = normed(state, inside["downsample_norm"], short, at, eps)
        return (x + y).relu()

    def blocks(x: Tensor, name: Callable[[int], str], at: Tensor) -> Tensor:
        j = 0
        while any(key.startswith(f"{name(j)}.") for key in state):
            x, j = block(x, name(j), at), j + 1
        return x

    x = volume
    for name, norm in scheme.stem:
        x = normed(state, norm, correlate(x, taps(name, scheme.stem_size)), active, eps).relu()
    skips, masks = [x], [active]
    for name, norm, inner in scheme.levels[:4]:
        fine = masks[-1]
        coarse = torch.nn.functional.max_pool3d(fine.permute(3, 0, 1, 2)[None], 2)[0].permute(1, 2, 3, 0)
        x = normed(state, norm, correlate(skips[-1], taps(name, 2), stride=2), coarse, eps).relu()
        skips.append(blocks(x, inner, coarse))
        masks.append(coarse)
    x = skips.pop()
    masks.pop()
    for name, norm, inner in scheme.levels[4:]:
        at = masks.pop()
        x = normed(state, norm, spread(x, taps(name, 2)), at, eps).relu()
        x = blocks(torch.cat((x, skips.pop()), dim=-1), inner, at)
    return x


BEV_WIDTHS, BEV_LAYERS, BEV_NECK = (128, 256), (5, 5), (256, 256)


def bevfusion_state(
    widths: tuple[int, ...] = (16, 32, 64, 128),
    height: int = 128,
    flat: int = 256,
    bev_widths: tuple[int, ...] = BEV_WIDTHS,
    bev_layers: tuple[int, ...] = BEV_LAYERS,
    neck: tuple[int, ...] = BEV_NECK,
    names: tuple[str, str, str] = ("encoders.lidar.backbone", "decoder.backbone", "decoder.neck"),
    seed: int = 0,
) -> State:
    """LiDAR branch of BEVFusion in spconv 1.x: (kx, ky, kz, in, out)."""
    generator = torch.Generator().manual_seed(seed)
    sparse, backbone, deblocks = names
    state: State = {}

    def conv(name: str, norm: str, shape: tuple[int, ...], after: int, fan: int) -> None:
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) / fan**0.5
        state.update(random_norm(norm, after, generator))

    def sparse_conv(name: str, norm: str, before: int, after: int, size: Offset = (3, 3, 3)) -> None:
        conv(f"{sparse}.{name}", f"{sparse}.{norm}", (*size, before, after), after, 9 * before)

    sparse_conv("conv_input.0", "conv_input.1", 5, widths[0])
    for level, width in enumerate(widths):
        stage = f"encoder_layers.encoder_layer{level + 1}"
        for block, i in product((0, 1), (1, 2)):
            sparse_conv(f"{stage}.{block}.conv{i}", f"{stage}.{block}.bn{i}", width, width)
        if level < 3:
            sparse_conv(f"{stage}.2.0", f"{stage}.2.1", width, widths[level + 1])
    sparse_conv("conv_out.0", "conv_out.1", widths[3], height, (1, 1, 3))
    before = flat
    for i, width in enumerate(bev_widths):
        for j in range(bev_layers[i] + 1):
            name = f"{backbone}.blocks.{i}.{3 * j}"
            conv(name, f"{backbone}.blocks.{i}.{3 * j + 1}", (width, before, 3, 3), width, 9 * before)
            before = width
        shape = (neck[i], width, 1, 1) if i == 0 else (width, neck[i], 2, 2)
        conv(f"{deblocks}.deblocks.{i}.0", f"{deblocks}.deblocks.{i}.1", shape, neck[i], width)
    return state


def bevfusion_forward(state: State, volume: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
    """(X, Y, Z, 5) volume, empty on top, to the sparse output (X, Y, Z, C) and the map (C, X, Y)."""
    sparse, eps = "encoders.lidar.backbone", 1e-3

    def taps(name: str, padding: Offset) -> list[tuple[Offset, Tensor]]:
        weight = state[f"{sparse}.{name}.weight"].double()
        sizes = (range(size) for size in weight.shape[:3])
        return [(tuple(k - p for k, p in zip(i, padding, strict=True)), weight[i]) for i in product(*sizes)]

    def conv(x: Tensor, name: str, norm: str, at: Tensor) -> Tensor:
        return normed(state, f"{sparse}.{norm}", correlate(x, taps(name, (1, 1, 1))), at, eps)

    def strided(x: Tensor, at: Tensor, name: str, norm: str, padding: Offset, stride: Offset) -> tuple:
        sizes = state[f"{sparse}.{name}.weight"].shape[:3]
        shape = [
            (n + 2 * p - k) // s + 1 for n, p, k, s in zip(x.shape[:3], padding, sizes, stride, strict=True)
        ]
        inside = tuple(slice(n) for n in shape)
        ones = [(offset, torch.ones(1, 1).double()) for offset, _ in taps(name, padding)]
        at = (correlate(at, ones, stride)[inside] > 0).double()
        y = correlate(x, taps(name, padding), stride)[inside]
        return normed(state, f"{sparse}.{norm}", y, at, eps).relu(), at

    x = conv(volume, "conv_input.0", "conv_input.1", active).relu()
    for level in range(4):
        stage = f"encoder_layers.encoder_layer{level + 1}"
        for block in (0, 1):
            name = f"{stage}.{block}"
            y = conv(x, f"{name}.conv1", f"{name}.bn1", active).relu()
            x = (x + conv(y, f"{name}.conv2", f"{name}.bn2", active)).relu()
        if level < 3:
            padding = (1, 1, 0) if level == 2 else (1, 1, 1)
            x, active = strided(x, active, f"{stage}.2.0", f"{stage}.2.1", padding, (2, 2, 2))
    x, _ = strided(x, active, "conv_out.0", "conv_out.1", (0, 0, 0), (1, 1, 2))
    return x, _bev_forward(state, x, eps)


def _bev_forward(state: State, sparse_output: Tensor, eps: float) -> Tensor:
    x_size, y_size, z_size, channels = sparse_output.shape
    bev = sparse_output.permute(3, 2, 0, 1).reshape(1, channels * z_size, x_size, y_size)

    def norm(x: Tensor, name: str) -> Tensor:
        leaves = (
            state[f"{name}.{leaf}"].double() for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return torch.nn.functional.batch_norm(x, *leaves, eps=eps).relu()

    outputs = []
    for i in (0, 1):
        j = 0
        while f"decoder.backbone.blocks.{i}.{j}.weight" in state:
            weight = state[f"decoder.backbone.blocks.{i}.{j}.weight"].double()
            bev = torch.nn.functional.conv2d(bev, weight, stride=2 if i and not j else 1, padding=1)
            bev, j = norm(bev, f"decoder.backbone.blocks.{i}.{j + 1}"), j + 3
        weight = state[f"decoder.neck.deblocks.{i}.0.weight"].double()
        up = (
            torch.nn.functional.conv_transpose2d(bev, weight, stride=2)
            if i
            else torch.nn.functional.conv2d(bev, weight)
        )
        outputs.append(norm(up, f"decoder.neck.deblocks.{i}.1"))
    return torch.cat(outputs, dim=1)[0]
