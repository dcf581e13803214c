"""Metres stay metres: geometry in full precision, whatever the precision of the networks around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: computes outside of autocast and TF32, on float32 where an argument is of half precision.

    bfloat16 holds 50 m to within 0.125 m, and autocast rounds the matrices of every product. Whatever makes
    positions of poses, points, pixels or cells wears this, and so do the layers that read or give metres.
    """

    @wraps(function)
    def exact(*args: P.args, **kwargs: P.kwargs) -> R:
        with ExitStack() as stack:
            for device in ("cpu", "cuda"):
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            if torch.cuda.is_available() or torch.get_float32_matmul_precision() != "highest":
                stack.enter_context(_whole_float32())
            wide = {name: _widened(value) for name, value in kwargs.items()}
            return function(*map(_widened, args), **wide)  # type: ignore[arg-type]

    return exact


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Products and convolutions of float32 without TF32, whose 10 bits hold 50 m to within 0.03 m."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(
            enabled=torch.backends.cudnn.enabled,
            benchmark=torch.backends.cudnn.benchmark,
            deterministic=torch.backends.cudnn.deterministic,
            allow_tf32=False,
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@full_precision
def layer_in_full(layer: nn.Module, x: Tensor) -> Tensor:
    """`layer(x)` in float32: for what enters a network in metres, and for what leaves it as such."""
    return layer(x)


def _widened(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value
