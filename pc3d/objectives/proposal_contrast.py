"""ProposalContrast (Yin et al., ECCV 2022, arXiv 2207.12654)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pc3d.contrast.gather import rows_of_other_ranks
from pc3d.contrast.monitors import collapse_metrics
from pc3d.contrast.nce import info_nce
from pc3d.contrast.swav import swapped_assignment
from pc3d.data.batch import Needs
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective, contrasted, projector
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.matches import matched_points
from pc3d.objectives.proposal_encoder import ProposalEncoder
from pc3d.ops.ball_query import ball_query
from pc3d.ops.farthest_point import farthest_points


class ProposalContrast(Objective):
    """Balls of points in two views: each against all others, and both against shared prototypes.

    L = NCE(z_a, z_b) + w SwAV(z_a C, z_b C)

    Centres are drawn by farthest-point sampling from the points that both views hold, and the same physical
    points make a proposal in both. Attention over a ball's points and a two-layer MLP give z, normalised;
    the prototypes C are learned and normalised. Centres and balls are found in the frame of the loaded sweep.

    Args:
        lidar: the encoder that is trained.
        num_proposals, radius, num_neighbours: 2048 of a sweep, 1.0 m, 16 (the authors' code).
        candidates: centres are drawn from so many random points of a sweep; None, from all, is the paper's
            form. 8192 take a quarter of the time: 0.02 instead of 0.09 s a real sweep on one core.
        dim: width of z, 128 (the authors' code).
        temperature: of the NCE, 0.1.
        num_prototypes, epsilon, rounds: 128, and Sinkhorn's 0.03 and 3.
        assignment: w, 1 (our choice, as is SwAV's own temperature of 0.1).
        gather: proposals of the other ranks are negatives too (our option).
    """

    needs = Needs(views=2)
    learns_from = "proposal of points that both views show"

    def __init__(
        self,
        lidar: LidarEncoder,
        num_proposals: int = 2048,
        radius: float = 1.0,
        num_neighbours: int = 16,
        candidates: int | None = None,
        dim: int = 128,
        temperature: float = 0.1,
        num_prototypes: int = 128,
        epsilon: float = 0.03,
        rounds: int = 3,
        assignment: float = 1.0,
        gather: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = ProposalEncoder(lidar.point_channels)
        self.projector = projector(lidar.point_channels, dim)
        self.prototypes = nn.Parameter(torch.randn(num_prototypes, dim))
        self.num_proposals, self.candidates = num_proposals, candidates
        self.radius, self.num_neighbours = radius, num_neighbours
        self.temperature, self.assignment, self.gather = temperature, assignment, gather
        self.epsilon, self.rounds = epsilon, rounds

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        frame = encodings.batch.now
        rows, *indices = matched_points(encodings)
        by_sample = frame.row_batch[rows].argsort(stable=True)  # in random order within a sample
        centres, members = self._proposals(encodings, indices[0][by_sample])
        z_a, z_b = (
            self._encode(encodings, view, index[by_sample], centres, members)
            for view, index in zip(("a", "b"), indices, strict=True)
        )
        extra = rows_of_other_ranks(z_b) if self.gather else None
        nce = info_nce(z_a, z_b, self.temperature, extra=extra)
        prototypes = F.normalize(self.prototypes, dim=1)
        swav = swapped_assignment(z_a, z_b, prototypes, epsilon=self.epsilon, rounds=self.rounds)
        logged = {
            "nce": nce.detach(),
            "swav": swav.detach(),
            "examples": contrasted(z_a, extra),
            "proposals": torch.tensor(float(len(centres))),
            "point_share": torch.tensor(len(members[members >= 0].unique()) / max(frame.num_points, 1)),
        }
        return {"loss": nce + self.assignment * swav, **logged, **collapse_metrics(z_a, z_b)}

    def _proposals(self, encodings: Encodings, index: Tensor) -> tuple[Tensor, Tensor]:
        """(M,) centres and (M, K) members of proposals, -1 for none, as positions in `index` of view "a"."""
        view = encodings.batch.now.views["a"]
        sample = view.batch[index]
        loaded_SE3 = torch.linalg.inv(view.lidar_SE3)[sample]
        # A sum of products, because a matrix product is of half precision under autocast.
        xyz = (loaded_SE3[:, :3, :3] * view.points[index, None, :3]).sum(dim=2) + loaded_SE3[:, :3, 3]
        count = len(index) if self.candidates is None else self.candidates
        first = torch.searchsorted(sample, sample)
        candidates = (torch.arange(len(index), device=index.device) - first < count).nonzero()[:, 0]
        chosen = farthest_points(xyz[candidates], sample[candidates], view.size, self.num_proposals)
        centres = candidates[chosen]
        return centres, ball_query(xyz, sample, centres, self.radius, self.num_neighbours)

    def _encode(
        self, encodings: Encodings, view: str, index: Tensor, centres: Tensor, members: Tensor
    ) -> Tensor:
        """(M, dim) normalised features of the proposals in a view; `index` as in `_proposals`."""
        features = encodings.lidar(view).points
        xyz = encodings.batch.now.views[view].points[:, :3]
        centre, member = index[centres], index[members.clamp(min=0)]
        offsets = xyz[centre][:, None] - xyz[member]
        pooled = self.encoder(features[centre], features[member], offsets, members >= 0)
        return F.normalize(self.projector(pooled).float(), dim=1)
