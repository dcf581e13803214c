"""Kernels in Triton, each equal to a torch path; off unless `runtime.triton` asks for them.

Triton 3.7.1 comes with torch's CUDA build. `available` is asked before anything of it is imported.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch

_asked = False


def use_triton(wanted: bool) -> None:
    """Let the operations of this process use their Triton kernels on a GPU.

    Raises:
        ValueError: there is no Triton.
    """
    global _asked
    if wanted and find_spec("triton") is None:
        raise ValueError("runtime.triton=True, but there is no triton: it comes with torch's CUDA builds")
    _asked = wanted


def chosen(x: torch.Tensor) -> bool:
    """Whether an operation on this tensor takes its Triton kernel.

    Sums by atomics differ from run to run: `torch.use_deterministic_algorithms` has the torch path instead.
    """
    return _asked and x.is_cuda and not torch.are_deterministic_algorithms_enabled()
