"""From the host to a device without a wait: constants that are copied once, rows that are copied aside."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor


def constant(values: Sequence[float], like: Tensor) -> Tensor:
    """(N,) tensor of these numbers, of the type and on the device of `like`; not to be changed.

    `new_tensor` copies them at each call, and a GPU's host waits for that.
    """
    return _constant(tuple(values), like.dtype, like.device)


@lru_cache(maxsize=1024)
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on `device`; on CUDA through pinned memory, so that nobody waits for the copy."""
    if device.type == "cuda" and torch.cuda.is_available():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
