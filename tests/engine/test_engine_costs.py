"""What a step costs, against torch's own counter, plain loops and numbers counted by hand."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from engine_configs import finetune_config, pretrain_config
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pc3d.engine.costs.counting import PartCount, counted
from pc3d.engine.costs.shipped import hours_of, read_costs, schedule_samples, write_costs
from pc3d.engine.costs.step import step_costs
from pc3d.ops.sparse import active_pairs, inverse_conv, sparse_tensor, strided_conv, submanifold_conv


def count(model: nn.Module, *inputs: object, labels: dict[nn.Module, str] | None = None) -> dict:
    known = [*model.parameters(), *model.buffers(), *(x for x in inputs if isinstance(x, torch.Tensor))]
    with counted(labels or {}, "rest", iter(known)) as counts:
        model(*inputs)
    return counts


def test_a_network_counted_by_hand() -> None:
    """Two images of 3 x 10 x 12; the convolution gives 8 channels, pooled to 8 numbers, then 5."""
    convolution, linear = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 5)
    model = nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    counts = count(model, torch.rand(2, 3, 10, 12), labels={convolution: "image"})
    products = 2 * 10 * 12 * 8 * 3 * 3 * 3  # of the convolution: images, pixels, outputs, inputs, kernel
    # No gradient of the images: backward only that of the kernel. The map is kept once, as ReLU's output.
    assert counts["image"] == PartCount(forward=2 * products, backward=2 * products, pairs=0, saved=0)
    kept = 4 * (2 * 8 * 10 * 12 + 2 * 8)
    assert counts["rest"] == PartCount(forward=2 * 2 * 8 * 5, backward=4 * 2 * 8 * 5, pairs=0, saved=kept)


def test_a_grouped_convolution_by_hand() -> None:
    convolution = nn.Conv2d(6, 4, 3, padding=1, groups=2)
    counts = count(convolution, torch.rand(1, 6, 5, 7).requires_grad_())
    assert counts["rest"].forward == 2 * 5 * 7 * 4 * 3 * 9
    assert counts["rest"].backward == 2 * counts["rest"].forward


class Dense(nn.Module):
    """Dense products with a gradient and a frozen part; no groups: torch counts too much backward."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Conv2d(3, 6, 3, stride=2).requires_grad_(False)
        self.conv = nn.Conv2d(6, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.embed, self.out = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.conv(self.frozen(images))
        x = self.up(self.conv(self.frozen(images))).flatten(2).mT
        x = self.embed(x)
        return self.out((x @ x.mT).softmax(-1) @ x).sum()


def test_dense_products_are_those_of_torchs_counter() -> None:
    model, images = Dense(), torch.rand(2, 3, 9, 11)
    counts = count(model, images, labels={model.frozen: "frozen"})
    with FlopCounterMode(display=False) as forward:
        loss = model(images)
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    assert sum(part.forward for part in counts.values()) == forward.get_total_flops()
    assert sum(part.backward for part in counts.values()) == backward.get_total_flops() > 0
    assert counts["frozen"].forward > 0 == counts["frozen"].backward


@pytest.mark.parametrize("keys", [5, 9])
def test_attention_is_its_products(keys: int) -> None:
    query, rest = torch.rand(2, 4, 5, 8, requires_grad=True), torch.rand(2, 4, keys, 8, requires_grad=True)
    with counted({}, "rest", iter([])) as counts:
        nn.functional.scaled_dot_product_attention(query, rest, rest)
    assert counts["rest"].saved > 0
    with FlopCounterMode(display=False) as forward, sdpa_kernel(SDPBackend.MATH):
        out = nn.functional.scaled_dot_product_attention(query, rest, rest)
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    assert counts["rest"].forward == forward.get_total_flops()
    assert counts["rest"].backward == backward.get_total_flops()


SPARSE = {
    "submanifold": (submanifold_conv(3, 5, "k"), 3, 1, 1),
    "submanifold 5": (submanifold_conv(3, 5, "k", kernel=5), 5, 1, 2),
    "strided": (strided_conv(3, 5, "k"), 2, 2, 0),
    "padded": (strided_conv(3, 5, "k", kernel=3, stride=2, padding=1), 3, 2, 1),
}


def loop_pairs(voxels: set[tuple[int, ...]], kernel: int, stride: int, padding: int, same: bool) -> int:
    """(input voxel, output voxel) pairs of a sparse convolution, one by one."""
    pairs = 0
    for sample, *voxel in voxels:
        for offset in product(range(kernel), repeat=3):
            moved = [v + padding - o for v, o in zip(voxel, offset, strict=True)]
            sides = [(side + 2 * padding - kernel) // stride + 1 for side in (6, 8, 10)]
            out = [m // stride for m in moved]
            fits = all(m % stride == 0 and 0 <= o < s for m, o, s in zip(moved, out, sides, strict=True))
            pairs += fits and (not same or (sample, *out) in voxels)
    return pairs


@pytest.mark.parametrize("kind", SPARSE)
def test_sparse_products_are_the_active_pairs(kind: str) -> None:
    layer, kernel, stride, padding = SPARSE[kind]
    coords = (torch.rand(2, 6, 8, 10, generator=torch.Generator().manual_seed(0)) < 0.2).nonzero()
    pairs = loop_pairs(set(map(tuple, coords.tolist())), kernel, stride, padding, stride == 1)
    x = sparse_tensor(torch.rand(len(coords), 3), coords, (6, 8, 10), 2)
    with counted({layer: "sparse"}, "rest", iter([x.features])) as counts:
        out = layer(x)
    assert active_pairs(layer, out) == counts["sparse"].pairs == pairs > 100
    assert counts["sparse"].forward == 2 * pairs * 3 * 5 == counts["sparse"].backward  # none of the input
    assert counts["rest"].forward == 0
    with FlopCounterMode(display=False) as theirs:  # spconv's own products
        layer(sparse_tensor(torch.rand(len(coords), 3), coords, (6, 8, 10), 2))
    assert theirs.get_total_flops() == 2 * pairs * 3 * 5
    if kind != "strided":
        return
    back = inverse_conv(5, 4, "k")
    with counted({back: "sparse"}, "rest", iter([])) as counts:
        back(out)
    assert counts["sparse"].forward == 2 * pairs * 5 * 4
    assert counts["sparse"].backward == 2 * counts["sparse"].forward


def test_a_counted_pass_has_no_backward_pass() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    with counted({}, "rest", iter(model.parameters())):
        loss = model(torch.rand(4, 2)).sum()
    with pytest.raises(RuntimeError, match="has no backward pass"):
        loss.backward()
    model(torch.rand(4, 2)).sum().backward()


def test_frozen_and_momentum_parts_have_no_backward_pass(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    config = pretrain_config(tiny_index, tiny_regions, 4, "sim_fac")
    (fac,) = step_costs(config, "pretrain").values()
    encoder, copy = fac.parts["LiDAR encoder"], fac.parts["momentum copy"]
    assert encoder.parameters == encoder.trained == copy.parameters > 0 == copy.trained
    assert copy.forward > 0 == copy.backward == copy.saved
    assert encoder.forward < encoder.backward <= 2 * encoder.forward
    assert fac.flops == fac.forward + encoder.backward + fac.parts["objectives or head"].backward
    (probe,) = step_costs(finetune_config(tiny_index, 4, "sim_linear_probe", **QUARTER), "finetune").values()
    encoder, head = probe.parts["LiDAR encoder"], probe.parts["objectives or head"]
    assert (encoder.trained, encoder.backward) == (0, 0)
    # The weights, and of those that are trained a gradient and AdamW's two moments, 4 bytes each.
    assert probe.state >= 4 * (encoder.parameters + 4 * head.parameters)
    assert probe.state < 4 * (encoder.parameters + 4 * head.parameters) * 1.1  # the statistics of batch norms
    write_costs(tmp_path / "costs.json", "a", {"": fac}, "how")
    write_costs(tmp_path / "costs.json", "b", {"": probe}, "how")
    assert read_costs(tmp_path / "costs.json") == ("how", {"a": {"": fac}, "b": {"": probe}})


QUARTER = {"data.fraction": 100, "data.points": {"max_points": 4000}}


def test_more_samples_than_frames(tiny_index: Path) -> None:
    with pytest.raises(ValueError, match=r"data have 6 frames, a batch 7: set data\.batch_size lower"):
        step_costs(finetune_config(tiny_index, 4, **QUARTER, **{"data.batch_size": 7}), "finetune")


def test_hours() -> None:
    assert schedule_samples({"epochs": 50}, 28130, 32) == 50 * 879 * 32
    assert schedule_samples({"iterations": 300}, 28130, 32) == 9600
    assert hours_of(7200, 4.0) == 0.5
    with pytest.raises(ValueError, match="expected more than 0"):
        hours_of(7200, 0.0)
