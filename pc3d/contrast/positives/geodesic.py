"""Soft positives by the way along a graph of near rows (G2L, Li et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from pc3d.contrast.comparison import Comparison, add_positives
from pc3d.contrast.policy import Policy

SHORTEST = 1e-6
"""Least length of an edge: 0 is no edge in some of scipy's graphs."""
ROWS = 512
"""Sources of one search: (512, J) distances at a time."""


class Geodesic(Policy):
    """Candidates that lie near an anchor's own along a graph of candidates are positives, too.

    Nodes are the candidates; each is joined with its nearest by cosine, where that is at least `likeness`;
    an edge is 1 - cos long. geo_ij is the shortest way from i's own positive to candidate j. Targets

        q_ij ~ e^(-geo_ij / sharpness)   where geo_ij <= limit,   q_ii at least `floor`,   sum_j q_ij = 1

    and with InfoNCE's form `out` the loss is -sum_j q_ij log p_ij; form `in` sums the positives and reads no
    targets. Positives are no negatives. Without an
    edge it is InfoNCE. The graph is made without gradient, on the CPU. An anchor that has several positives
    before shares q_ii among them. Pairs that the objective ignores stay ignored.

    In the authors' code nodes are moments of a video with five neighbours, limit 0.5 and the two nearest as
    positives, and negatives are weighed by geo; the targets, `likeness`, `sharpness`, `floor` and `most` are
    our choice. Edges by track or by place in the world are left out.

    Args:
        neighbours: so many nearest of each node are joined with it; 0: no edges.
        likeness: least cosine of an edge.
        limit: longest way.
        sharpness: way in which a target falls by e.
        floor: least share of the own positive, so that a false edge has 1 - floor at most.
        most: so many further positives of an anchor, the nearest.
    """

    neutral: ClassVar[Mapping[str, Any] | None] = MappingProxyType({"neighbours": 0})

    def __init__(
        self,
        neighbours: int = 5,
        likeness: float = 0.6,
        limit: float = 0.5,
        sharpness: float = 0.1,
        floor: float = 0.5,
        most: int = 3,
    ) -> None:
        super().__init__()
        if neighbours < 0 or most < 0:
            raise ValueError(f"neighbours {neighbours}, most {most}: expected 0 or more")
        if not -1 <= likeness <= 1 or not 0 <= floor <= 1:
            raise ValueError(
                f"likeness {likeness}, floor {floor}: expected a cosine, and a share between 0 and 1"
            )
        if limit <= 0 or sharpness <= 0:
            raise ValueError(f"limit {limit}, sharpness {sharpness}: expected above 0")
        self.neighbours, self.likeness, self.limit = neighbours, likeness, limit
        self.sharpness, self.floor, self.most = sharpness, floor, most

    def forward(self, c: Comparison, generator: torch.Generator) -> Comparison:
        assert c.partner is not None
        count = len(c.candidates)
        if not count or not self.most or not self.neighbours:
            return c
        ways, place = self._nearest(c, neighbour_graph(c.candidates, self.neighbours, self.likeness))
        there = ways.isfinite()
        shares = self._shares(ways).to(c.positive.dtype)
        share = torch.cat([shares[:, :1] * c.shares(), shares[:, 1:]], dim=1)
        drop = torch.zeros_like(c.weight, dtype=torch.bool).scatter(1, place, there)
        added = add_positives(c, c.negative.gather(1, place), there)
        return replace(added, share=share, weight=c.weight.masked_fill(drop, -torch.inf))

    def _nearest(self, c: Comparison, graph: csr_matrix) -> tuple[Tensor, Tensor]:
        """(N, S) ways to the nearest candidates that would be negatives, infinite for none; their places."""
        assert c.partner is not None
        usable = (c.weight[:, : len(c.candidates)] > -torch.inf) & (c.partner >= 0)[:, None]
        found = []
        for rows in torch.arange(len(usable)).split(ROWS):
            mask = usable[rows.to(usable.device)]
            sources = c.partner[rows.to(usable.device)].clamp(min=0)
            ways = geodesics(graph, sources, self.limit).to(mask.device).masked_fill(~mask, torch.inf)
            found.append(ways.topk(min(self.most, ways.shape[1]), dim=1, largest=False))
        return torch.cat([near.values for near in found]), torch.cat([near.indices for near in found])

    def _shares(self, ways: Tensor) -> Tensor:
        """(N, 1 + S) q of the own positive and of the others."""
        q = F.softmax(F.pad(-ways / self.sharpness, (1, 0)), dim=1)
        own = q[:, :1].clamp(min=self.floor)
        rest = q[:, 1:].sum(dim=1, keepdim=True)
        others = torch.where(rest > 0, q[:, 1:] / rest.clamp(min=1e-300) * (1 - own), 0.0)
        return torch.cat([1 - others.sum(dim=1, keepdim=True), others], dim=1)


@torch.no_grad()
def neighbour_graph(rows: Tensor, neighbours: int, likeness: float) -> csr_matrix:
    """(J, J) lengths 1 - cos of the edges between each of (J, D) rows and its nearest, in both directions.

    Args:
        rows: of any length; one of zeros, or that is not finite, has no edge for a `likeness` above 0.
        neighbours: so many nearest of each row. likeness: least cosine.
    """
    count, few = len(rows), min(neighbours, len(rows) - 1)
    unit = F.normalize(rows.detach().double(), dim=1)
    ends, lengths = [], []
    for start in range(0, count if few > 0 else 0, ROWS):
        cosine = unit[start : start + ROWS] @ unit.T
        here = torch.arange(start, start + len(cosine), device=rows.device)
        cosine[here - start, here] = -torch.inf
        near, place = torch.where(cosine >= likeness, cosine, -torch.inf).topk(few, dim=1)
        joined = near > -torch.inf
        ends.append(torch.stack([here[:, None].expand_as(place)[joined], place[joined]]))
        lengths.append((1 - near[joined]).clamp(min=SHORTEST))
    if not ends:
        return csr_matrix((count, count))
    (i, j), length = torch.cat(ends, dim=1).cpu().numpy(), torch.cat(lengths).cpu().numpy()
    directed = coo_matrix((length, (i, j)), shape=(count, count)).tocsr()
    return directed.maximum(directed.T).tocsr()


def geodesics(graph: csr_matrix, sources: Tensor, limit: float) -> Tensor:
    """(S, J) float64 lengths of the shortest ways from (S,) nodes, infinite beyond the limit."""
    if not graph.nnz or not len(sources):
        ways = torch.full((len(sources), graph.shape[0]), torch.inf, dtype=torch.float64)
        return ways.scatter_(1, sources.cpu()[:, None], 0.0)
    return torch.from_numpy(dijkstra(graph, indices=sources.cpu().numpy(), limit=limit))
