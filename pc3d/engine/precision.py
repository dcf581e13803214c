"""Numbers of a run: the type of its forward pass, products of float32, and what of them is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pc3d.models.image.common import LevelImageEncoder
from pc3d.models.lidar.bev_backbone import BevBackbone
from pc3d.models.lidar.minkunet import Down, Up
from pc3d.models.lidar.second import SECOND
from pc3d.ops.sparse import ConvNormReLU
from pc3d.ops.triton_kernels import use_triton

HALVES: dict[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}
PRECISIONS = ("float32", *HALVES)
PRODUCTS = ("highest", "high", "medium")
"""Of `torch.set_float32_matmul_precision`: `high` is TF32 on the GPUs that have it."""


@contextmanager
def forward_precision(model: nn.Module, precision: str) -> Iterator[None]:
    """The context of a forward pass: autocast for half precision, nothing for float32."""
    device = next(model.parameters()).device.type
    with torch.autocast(device, HALVES.get(precision, torch.bfloat16), enabled=precision in HALVES):
        yield


def set_products(runtime: Mapping[str, Any]) -> None:
    """Set how products and convolutions of float32 are computed in this process, by settings of `runtime`.

    Geometry stays in full precision (`pc3d.ops.precision`).
    """
    torch.set_float32_matmul_precision(runtime.get("matmul_precision", "highest"))
    torch.backends.cudnn.benchmark = runtime.get("cudnn_benchmark", False)
    use_triton(runtime.get("triton", False))


class Float32Linear(nn.Linear):
    """A linear layer outside of autocast."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def keep_linear_float32(model: nn.Module) -> None:
    """Make the linear layers `Float32Linear`, in place.

    On a CPU, oneDNN keeps a bfloat16 product with its buffers for each number of rows that it has met, and
    every sweep has another number of points: memory grew by 15 to 35 MB a step.
    """
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Float32Linear


def use_half_teachers(model: nn.Module) -> None:
    """Let frozen image encoders run in bfloat16, in place: their maps are rounded, nothing else."""
    for module in model.modules():
        if isinstance(module, LevelImageEncoder) and module.frozen:
            module.in_bfloat16 = True


def use_half_sparse(model: nn.Module) -> None:
    """Let sparse convolutions run in float16 on CUDA, in place; batch norms stay in float32."""
    for module in model.modules():
        if isinstance(module, ConvNormReLU):
            module.half_precision = True


def compile_maps(model: nn.Module) -> None:
    """Let torch compile the dense layers over BEV maps, in place: their shapes repeat.

    The first steps take minutes. On one core of a CPU a backbone of 64 channels then takes 0.87 of the time.
    """
    for module in model.modules():
        if isinstance(module, BevBackbone):
            module.compile()


# ---------------------------------------------------------------- activation checkpointing


def recompute_activations(model: nn.Module) -> None:
    """Keep the inputs of the encoders' levels only, in place; the backward pass computes the rest again.

    Batch norms count a batch once, and draws repeat. Levels of U-Nets, of SECOND and of BEV backbones, and
    trained backbones of transformers.
    """
    for module in model.modules():
        if isinstance(module, Down | Up):
            _recompute(module)
        elif isinstance(module, SECOND | BevBackbone):
            for level in module.levels:
                _recompute(level)
        elif getattr(module, "supports_gradient_checkpointing", False):  # of transformers
            enable: Callable[..., None] = module.gradient_checkpointing_enable  # type: ignore[assignment]
            enable({"use_reentrant": False})


def _recompute(module: nn.Module) -> None:
    plain: Callable[..., Any] = module.forward

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _without_counting(module)

    def forward(*args: Any) -> Any:
        if not (module.training and torch.is_grad_enabled()):
            return plain(*args)
        return checkpoint(plain, *args, use_reentrant=False, context_fn=contexts)

    module.forward = forward  # type: ignore[method-assign]


@contextmanager
def _without_counting(module: nn.Module) -> Iterator[None]:
    """Batch norms normalise by their batch and leave their running statistics."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    counts = [(norm, norm.num_batches_tracked) for norm in norms if norm.training]
    kept = [(norm, norm.momentum, n, n.clone()) for norm, n in counts if n is not None]
    for norm, *_ in kept:
        norm.momentum = 0.0  # as much is saved for the backward pass as in the first one
    try:
        yield
    finally:
        for norm, momentum, counted, before in kept:
            norm.momentum = momentum
            counted.copy_(before)
