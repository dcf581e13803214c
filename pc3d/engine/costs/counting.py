"""FLOPs and saved activations of a forward pass, by part of the model, counted while it runs.

What is counted are products: of matrices, convolutions, attention, and sparse convolutions by the active
pairs of their rulebooks. A multiplication and its addition are two FLOPs. Not counted: elementwise
operations, normalisation, voxels, pooling, sampling, sorting, nearest neighbours and the optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from pc3d.ops import sparse

aten = torch.ops.aten
_FACTORS = {
    aten.mm: (0, 1),
    aten.bmm: (0, 1),
    aten.addmm: (1, 2),
    aten.baddbmm: (1, 2),
    aten.convolution: (0, 1),
}
"""Which arguments of a product are multiplied: each that has a gradient costs the product again, backward."""
_ATTENTION = (
    aten._scaled_dot_product_flash_attention_for_cpu,
    aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_efficient_attention,
    aten._scaled_dot_product_cudnn_attention,
)


@dataclass
class PartCount:
    """What a part of the model did in a step.

    Attributes:
        forward: FLOPs of the forward pass. backward: of the backward pass: once more for each factor of a
            product that has a gradient, so twice the forward pass where data and weights have one, nothing
            where the part is frozen. What flash attention computes anew is not in it.
        pairs: active pairs of its sparse convolutions, all layers together.
        saved: bytes of tensors that were kept for the backward pass, parameters and inputs left out.
    """

    forward: int = 0
    backward: int = 0
    pairs: int = 0
    saved: int = 0


class _Products(TorchDispatchMode):
    """Reports (forward, backward) FLOPs of each dense product; nothing while `paused`."""

    def __init__(self, found: Callable[[int, int], None]) -> None:
        super().__init__()
        self.found, self.paused = found, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if self.paused or (packet not in _FACTORS and packet not in _ATTENTION):
            return out
        if packet in _ATTENTION:
            flops = sdpa_flop_count(*(x.shape for x in args[:3]))
            again = 2 if any(x.requires_grad for x in args[:3]) else 0
        else:
            flops = flop_registry[packet](*args, **(kwargs or {}), out_val=out)
            again = sum(args[place].requires_grad for place in _FACTORS[packet])
        self.found(flops, flops * again if torch.is_grad_enabled() else 0)
        return out


@contextmanager
def counted(
    labels: Mapping[nn.Module, str], rest: str, known: Iterator[Tensor]
) -> Iterator[dict[str, PartCount]]:
    """Count a forward pass that runs within; there is no backward pass after it.

    What would be saved for the backward pass is dropped once it is counted, so that a step needs the memory
    of a forward pass only.

    Args:
        labels: the part that each module is of; sparse layers must be among them.
        rest: the part of what runs outside of them.
        known: tensors whose memory counts elsewhere: weights, buffers, the batch.

    Yields:
        The counts by part, which fill while the pass runs.
    """
    names = [name for name in dict.fromkeys(labels.values()) if name != rest]
    counts = {name: PartCount() for name in (*names, rest)}
    inside, storages = [rest], {StorageWeakRef(x.untyped_storage()) for x in known}

    def found(forward: int, backward: int) -> None:
        counts[inside[-1]].forward += forward
        counts[inside[-1]].backward += backward

    products = _Products(found)

    def pack(saved: Tensor) -> None:
        storage = saved.untyped_storage()
        if (reference := StorageWeakRef(storage)) not in storages:
            storages.add(reference)
            counts[inside[-1]].saved += storage.nbytes()

    def leave(layer: nn.Module, args: Any, out: Any) -> None:
        if isinstance(layer, sparse.SPARSE_LAYERS):
            pairs, grown = sparse.active_pairs(layer, out), (args[0].features, layer.weight)
            flops = 2 * pairs * layer.in_channels * layer.out_channels
            again = sum(x.requires_grad for x in grown) if torch.is_grad_enabled() else 0
            found(flops, flops * again)
            counts[inside[-1]].pairs += pairs
            products.paused = False
        inside.pop()

    def enter(label: str, layer: nn.Module, args: Any) -> None:
        inside.append(label)
        if isinstance(layer, sparse.SPARSE_LAYERS):
            products.paused = True  # spconv multiplies in pieces

    hooks = [m.register_forward_pre_hook(partial(enter, label)) for m, label in labels.items()]
    hooks += [m.register_forward_hook(leave) for m in labels]
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, _dropped), products:
            yield counts
    finally:
        for hook in hooks:
            hook.remove()


def _dropped(_: None) -> Tensor:
    raise RuntimeError("this pass was counted: it has no backward pass")
