"""Attention over the points of a proposal (ProposalContrast, Yin et al., ECCV 2022)."""

from __future__ import annotations

from torch import Tensor, nn

from pc3d.ops.precision import layer_in_full

_NOTHING = -1e30
"""Attention of a place without a point: finite, so that no row of the softmax is NaN."""


class ProposalEncoder(nn.Module):
    """The centre's feature asks, the points of its ball answer.

    x + W_o sum_k softmax_k( mlp(W_q x - W_k y_k + e_k) ) (W_v y_k + e_k)

    with a softmax per channel and e_k an MLP of the offset from point to centre: the form of the authors'
    code, after Point Transformer (ICCV 2021).

    Args:
        channels: width of the point features.
        reduction: width of the attention is channels / reduction, 4 in the authors' code.
    """

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        width = max(channels // reduction, 1)
        self.query, self.key, self.value = (nn.Linear(channels, width, bias=False) for _ in range(3))
        self.position = nn.Sequential(nn.Linear(3, 64), nn.ReLU(inplace=True), nn.Linear(64, width))
        self.attention = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(inplace=True), nn.Linear(4 * width, width)
        )
        self.out = nn.Linear(width, channels, bias=False)

    def forward(self, centres: Tensor, points: Tensor, offsets: Tensor, present: Tensor) -> Tensor:
        """(M, channels) features of proposals.

        Args:
            centres: (M, channels) features x. points: (M, K, channels) features y.
            offsets: (M, K, 3) metres from each point to its centre.
            present: (M, K) bool, which places hold a point.
        """
        embedded = layer_in_full(self.position, offsets)
        relation = self.query(centres)[:, None] - self.key(points) + embedded
        scores = self.attention(relation).float().masked_fill(~present[..., None], _NOTHING)
        answers = self.value(points) + embedded
        return centres + self.out((scores.softmax(dim=1) * answers).sum(dim=1))
