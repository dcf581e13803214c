"""Random points that an objective compares."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_rows(
    eligible: Tensor, sample: Tensor, batch_size: int, count: int, generator: torch.Generator
) -> Tensor:
    """At most `count` random eligible rows of each sample, without repeats.

    Args:
        eligible: (num_rows,) bool.
        sample: (num_rows,) int64 sample of each row, 0..batch_size-1.
        generator: on the CPU, so that the draw is the same on every device.

    Returns:
        (M,) int64 rows, by sample, in random order within one.
    """
    order = torch.randperm(len(eligible), generator=generator).to(eligible.device)
    order = order[eligible[order]]
    return torch.cat([order[sample[order] == b][:count] for b in range(batch_size)])
