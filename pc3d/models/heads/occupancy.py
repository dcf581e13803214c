"""A decoder that says what is in a cell from the visible cells around it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pc3d.ops.precision import full_precision

OUTPUTS = 5
"""Logit of being occupied, log(1 + points), and the mean of the points from the centre in sides (3)."""


class NeighbourDecoder(nn.Module):
    """An MLP on the features of visible cells and the way from them to the query, averaged over these.

        h_q = 1/K sum_j relu(A f_j + B (c_q - p_j) / s)        out_q = C relu(D relu(h_q))

    f_j and p_j are the feature and the mean of the visible points of the j-th of at most K cells, c_q the
    centre of the query and s the side of a cell. A place that no cell fills adds 0, so that h tells how many
    there are. (Ours: NOMAE generates all cells of the neighbourhoods with a sparse convolution.)

    Args:
        channels: of the features. hidden: width.
        prior: what the share of occupied cells is taken for at first.
    """

    def __init__(self, channels: int, hidden: int = 64, prior: float = 0.02) -> None:
        super().__init__()
        self.hidden = hidden
        self.feature = nn.Linear(channels, hidden)
        self.way = nn.Linear(3, hidden, bias=False)
        self.between = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, OUTPUTS)
        with torch.no_grad():
            self.out.bias.zero_()
            self.out.bias[0] = math.log(prior / (1 - prior))

    @full_precision
    def forward(
        self, features: Tensor, places: Tensor, centre: Tensor, neighbours: Tensor, size: float
    ) -> tuple[Tensor, Tensor]:
        """Decode queries.

        Args:
            features: (V, channels) of the visible cells. places: (V, 3) metres, where their points are.
            centre: (Q, 3) metres. neighbours: (Q, K) integer rows of visible cells, -1 for none.
            size: side of a cell, metres.

        Returns:
            (Q, hidden) what is known of each query, and its (Q, 5) `OUTPUTS`.
        """
        rows, there = neighbours.clamp(min=0).flatten(), (neighbours >= 0).unsqueeze(2)
        way = (centre.unsqueeze(1) - places.index_select(0, rows).view(*neighbours.shape, 3)) / size
        seen = self.feature(features).index_select(0, rows).view(*neighbours.shape, self.hidden)
        seen = seen + self.way(way)
        known = self.between((seen.relu() * there).mean(dim=1)).relu()
        return known, self.out(known)
