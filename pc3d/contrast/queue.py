"""Features of past steps: a queue of fixed size, saved with the weights, the same on all ranks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pc3d.contrast.gather import of_all_ranks
from pc3d.ops.device import KnownNumber
from pc3d.ops.sampling import even_places


class FeatureQueue(nn.Module):
    """The newest rows that were pushed, in a buffer of fixed size.

    `push` keeps rows until `commit`, which takes in those of all ranks, in the order of the ranks; so every
    comparison of a step meets the queue of the step before. Rows that are not finite are left out.

    Args:
        length: rows that it holds. dim: of a row. facts: names of int64 facts that are kept with each row.
        keep: at most so many rows of a step enter, evenly spaced; None for all.
    """

    def __init__(self, length: int, dim: int, facts: Sequence[str] = (), keep: int | None = None) -> None:
        super().__init__()
        if length < 1 or (keep is not None and keep < 1):
            raise ValueError(f"a queue holds at least one row, got length {length} and keep {keep}")
        self.length, self.keep = length, keep
        self.names = tuple(facts)
        self.register_buffer("features", torch.zeros(length, dim))
        self.register_buffer("facts", torch.full((length, len(self.names)), -1, dtype=torch.long))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.features: Tensor
        self.facts: Tensor
        self.seen: Tensor
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._number = KnownNumber()

    @property
    def count(self) -> int:
        """Rows that it holds by now."""
        return min(self._number.of(self.seen), self.length)

    @property
    def full(self) -> bool:
        return self._number.of(self.seen) >= self.length

    def rows(self) -> Tensor:
        """(count, D) rows, oldest first."""
        return self.features[self._order()]

    def fact(self, name: str) -> Tensor:
        """(count,) a fact of the rows, oldest first."""
        return self.facts[self._order(), self.names.index(name)]

    @torch.no_grad()
    def label(self, name: str, values: Tensor) -> None:
        """Set a fact of the rows, (count,), oldest first."""
        self.facts[self._order(), self.names.index(name)] = values

    def _order(self) -> Tensor:
        count, seen = self.count, self._number.of(self.seen)
        return torch.arange(seen - count, seen, device=self.features.device) % self.length

    @torch.no_grad()
    def push(self, features: Tensor, **facts: Tensor) -> None:
        """Keep (N, D) rows for the next `commit`."""
        known = [facts[name].long() for name in self.names]
        table = torch.stack(known, dim=1) if known else self.facts.new_zeros(len(features), 0)
        self._waiting.append((features.detach().to(self.features), table))

    @torch.no_grad()
    def commit(self) -> int:
        """Take in what was pushed on all ranks; returns how many rows came in. Every rank must call it."""
        features = torch.cat([rows for rows, _ in self._waiting]) if self._waiting else self.features[:0]
        facts = torch.cat([table for _, table in self._waiting]) if self._waiting else self.facts[:0]
        self._waiting = []
        sound = features.isfinite().all(dim=1)
        features, facts = of_all_ranks(features[sound]), of_all_ranks(facts[sound])
        if self.keep is not None and len(features) > self.keep:
            even = even_places(len(features), self.keep, features.device)
            features, facts = features[even], facts[even]
        count = len(features)
        features, facts = features[-self.length :], facts[-self.length :]
        first = self._number.of(self.seen) + count - len(features)
        places = (first + torch.arange(len(features), device=features.device)) % self.length
        self.features[places], self.facts[places] = features, facts
        self._number.add(self.seen, count)
        return count


@torch.no_grad()
def spherical_kmeans(rows: Tensor, count: int, rounds: int = 10) -> Tensor:
    """(count, D) unit centroids of unit rows by likeness, from evenly spaced rows.

    A centroid that no row is nearest to stays where it is.

    Raises:
        ValueError: fewer rows than centroids.
    """
    if len(rows) < count:
        raise ValueError(f"{count} centroids of {len(rows)} rows")
    centroids = rows[even_places(len(rows), count, rows.device)]
    for _ in range(rounds):
        nearest = (rows @ centroids.T).argmax(dim=1)
        centroids = means(rows, nearest, centroids)
    return centroids


def means(rows: Tensor, label: Tensor, before: Tensor) -> Tensor:
    """(K, D) unit means of (M, D) rows by label; that of a label without rows is the one before."""
    sums = torch.zeros_like(before).index_add_(0, label, rows)
    has = torch.bincount(label, minlength=len(before)) > 0
    return torch.where(has[:, None], nn.functional.normalize(sums, dim=1), before)
