"""Random choices of rows."""

from __future__ import annotations

import torch
from torch import Tensor


def even_places(total: int, count: int, device: torch.device | None = None) -> Tensor:
    """(count,) int64 places at equal steps through `total` rows, the first one among them."""
    return torch.arange(count, device=device) * total // count


def spans(sample: Tensor, batch_size: int) -> list[slice]:
    """The rows of each sample, of (M,) int64 samples that ascend; in the host's memory."""
    ends = torch.searchsorted(sample, torch.arange(batch_size), right=True).tolist()
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def balanced_sample(groups: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw rows without repeats, dealt over the groups as evenly as they last.

    Args:
        groups: (P,) int64 group of each row, negative for none: never drawn.
        count: rows to draw; all that have a group where there are fewer.
        generator: on the CPU.

    Returns:
        (M,) int64 rows, M <= count, on the device of `groups`, in the order of their turns.
    """
    of = groups.cpu()
    rows = (of >= 0).nonzero().squeeze(1)
    rows = rows[torch.randperm(len(rows), generator=generator)]
    if not len(rows):
        return rows.to(groups.device)
    # Order by turn within the group (first of each group, second of each, ...): a cut after `count`
    # takes all of a small group before more than its share of a large one.
    _, dense = of[rows].unique(return_inverse=True)
    by_group = dense.argsort(stable=True)
    sizes = dense.bincount()
    turn = torch.arange(len(rows)) - (sizes.cumsum(0) - sizes)[dense[by_group]]
    # The random key breaks ties between groups in the last turn.
    tie = torch.rand(len(rows), generator=generator, dtype=torch.float64)
    return rows[by_group][(turn + tie).argsort()][:count].to(groups.device)


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
