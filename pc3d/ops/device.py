"""From the host to a device without a wait: constants that are copied once, rows that are copied aside."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor


def chosen_device(name: str | None = None) -> torch.device:
    """The device of that name; None: the first GPU where there is one, else the CPU.

    Raises:
        ValueError: no such device, or none that torch can use here.
    """
    available = torch.cuda.is_available()
    if name is None:
        return torch.device("cuda" if available else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"unknown device {name!r}; expected cpu, cuda, or cuda:1 and so on") from None
    if device.type == "cuda" and not (available and (device.index or 0) < torch.cuda.device_count()):
        why = (
            f"there are {torch.cuda.device_count()}" if available else "torch finds no GPU here (pc3d doctor)"
        )
        raise ValueError(f"there is no device {name!r}: {why}; take another, or --device cpu")
    return device


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


def inverse(matrices: Tensor) -> Tensor:
    """(..., N, N) inverses; not finite where there is none, which `torch.linalg.inv` would wait to see."""
    return torch.linalg.inv_ex(matrices).inverse


class KnownNumber:
    """A scalar buffer as a number, which is read from a GPU only where it was changed behind our back."""

    def __init__(self) -> None:
        self._known: tuple[int, int, int] | None = None

    def of(self, buffer: Tensor) -> int:
        """The number in an int64 scalar."""
        place, version = id(buffer), buffer._version
        if self._known is None or self._known[:2] != (place, version):
            self._known = (place, version, int(buffer))
        return self._known[2]

    def add(self, buffer: Tensor, more: int) -> None:
        """Add to the scalar, in place."""
        total = self.of(buffer) + more
        buffer += more
        self._known = (id(buffer), buffer._version, total)
