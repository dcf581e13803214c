"""ProposalContrast (Yin et al., ECCV 2022, arXiv 2207.12654)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pc3d.contrast.build import build_contrast, contrast_needs
from pc3d.contrast.gather import rows_of_other_ranks
from pc3d.contrast.swav import ViewQueues, swapped_assignment, view_assignment
from pc3d.data.batch import FrameBatch, Needs
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective, compared, contrasted
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.facts import POINT_FACTS, loaded_xyz, point_facts
from pc3d.objectives.matches import matched_points
from pc3d.objectives.proposal_encoder import ProposalEncoder
from pc3d.ops.ball_query import ball_query
from pc3d.ops.farthest_point import farthest_points
from pc3d.ops.precision import full_precision


def _norm(channels: int) -> nn.BatchNorm1d:
    """Batch norm as the authors' code has it."""
    return nn.BatchNorm1d(channels, eps=1e-3, momentum=0.01)


class ProposalContrast(Objective):
    """Balls of points in two views: each against all others, and both against shared prototypes.

    L = two-way NCE(z_a, z_b) + w SwAV(u_a C, u_b C)

    Centres are drawn by farthest-point sampling, in x and y, from the points that both views hold, and the
    same physical points make a proposal in both. Attention over a ball's points, and a linear layer with
    batch norm and ReLU, lead to two heads: z, a linear layer with batch norm, and u, one without; both are
    normalised. The prototypes C are learned and normalised, and all ranks share them evenly. Centres and
    balls are found in the frame of the loaded sweep.

    Forms and values are the authors' code's; docs/recipes.md says what is not.

    Args:
        lidar: the encoder that is trained.
        num_proposals, radius, num_neighbours: 2048 of a sweep, 1.0 m, 16.
        candidates: centres are drawn from so many random points of a sweep, 16384; None: from all. Of the
            34,700 points of a real sweep all take 0.09 s on one core, 8192 take 0.02 s.
        hidden, dim: widths of the shared layer and of z and u, 256 and 128.
        temperature: of the NCE and of SwAV, 0.1.
        num_prototypes, epsilon, rounds: 128, and Sinkhorn's 0.03 and 3.
        assignment: w, 0.01: the authors weigh the sum of the two directions by 0.005; SwAV is their mean.
        gather: proposals of the other ranks are negatives too (our option).
        contrast: other parts of the two-way NCE than InfoNCE's, see `pc3d.contrast.build` (our option).
        queue: u of so many past proposals of each view take part in SwAV's balance, as in SwAV's own code; 0
            for none (the authors of ProposalContrast).
    """

    needs = Needs(views=2)
    learns_from = "proposal of points that both views show"
    later: ClassVar[Mapping[str, Any]] = {"contrast": None, "queue": 0}

    def __init__(
        self,
        lidar: LidarEncoder,
        num_proposals: int = 2048,
        radius: float = 1.0,
        num_neighbours: int = 16,
        candidates: int | None = 16384,
        hidden: int = 256,
        dim: int = 128,
        temperature: float = 0.1,
        num_prototypes: int = 128,
        epsilon: float = 0.03,
        rounds: int = 3,
        assignment: float = 0.01,
        gather: bool = False,
        contrast: Mapping[str, Any] | None = None,
        queue: int = 0,
    ) -> None:
        super().__init__()
        if queue < 0:
            raise ValueError(f"queue is {queue}, expected 0 or more")
        self.encoder = ProposalEncoder(lidar.point_channels)
        self.shared = nn.Sequential(
            nn.Linear(lidar.point_channels, hidden, bias=False), _norm(hidden), nn.ReLU(inplace=True)
        )
        self.instance = nn.Sequential(nn.Linear(hidden, dim, bias=False), _norm(dim))
        self.cluster = nn.Linear(hidden, dim, bias=False)
        self.prototypes = nn.Parameter(torch.randn(num_prototypes, dim))
        self.queues = ViewQueues(queue, dim) if queue else None
        self.num_proposals, self.candidates = num_proposals, candidates
        self.radius, self.num_neighbours = radius, num_neighbours
        self.temperature, self.assignment, self.gather = temperature, assignment, gather
        self.epsilon, self.rounds = epsilon, rounds
        self.contrast = build_contrast(contrast, temperature, dim, POINT_FACTS, gather, two_way=True)

    @classmethod
    def needs_of(cls, config: Mapping[str, Any]) -> Needs:
        return cls.needs | contrast_needs(config.get("contrast"))

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        frame = encodings.host.now
        rows, *indices = matched_points(encodings)
        by_sample = frame.row_batch[rows].argsort(stable=True)  # in random order within a sample
        indices = [index[by_sample] for index in indices]
        for view in ("a", "b"):
            encodings.lidar(view)  # a GPU encodes while proposals are found
        centres, members = self._proposals(frame, indices[0])
        in_proposal = len(members[members >= 0].unique())
        centres, members, *indices = (encodings.here(part) for part in (centres, members, *indices))
        pooled = torch.cat(
            [
                self._encode(encodings, view, index, centres, members)
                for view, index in zip(("a", "b"), indices, strict=True)
            ]
        )
        z, u = self._heads(pooled)
        (z_a, z_b), (u_a, u_b) = z.tensor_split(2), u.tensor_split(2)
        extra = rows_of_other_ranks(z) if self.gather else None
        centre_index = indices[0][centres]
        facts = compared(self.contrast, lambda: point_facts(encodings, centre_index))
        nce = self.contrast.two_way(z_a, z_b, encodings.generator, extra, facts)
        swav = self._assigned(u_a, u_b)
        logged = {
            "nce": nce.detach(),
            "swav": swav.detach(),
            "examples": contrasted(z_a, extra),
            "proposals": torch.tensor(float(len(centres))),
            "point_share": torch.tensor(in_proposal / max(frame.num_points, 1)),
        }
        return {
            "loss": nce + self.assignment * swav,
            **logged,
            **self.contrast.logged(),
            **encodings.collapse(z_a, z_b),
        }

    def _assigned(self, u_a: Tensor, u_b: Tensor) -> Tensor:
        """SwAV's loss of (M, dim) u of both views."""
        prototypes = F.normalize(self.prototypes, dim=1)
        settings = self.temperature, self.epsilon, self.rounds, True
        if self.queues is None:
            return swapped_assignment(u_a, u_b, prototypes, *settings)
        past = self.queues.past()
        self.queues.see(u_a, u_b)
        return view_assignment([u_a, u_b], prototypes, None, (0, 1), past, *settings)

    def _heads(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised z and u (2M, dim) of features of proposals, those of view "a" before those of "b"."""
        shared = self.shared(pooled)
        z, u = (F.normalize(head(shared).float(), dim=1) for head in (self.instance, self.cluster))
        return z, u

    @full_precision
    def _proposals(self, frame: FrameBatch, index: Tensor) -> tuple[Tensor, Tensor]:
        """(M,) centres and (M, K) members of proposals, -1 for none, as positions in `index` of view "a".

        In the host's memory: on a GPU, farthest-point sampling alone is 30,000 small operations.
        """
        view = frame.views["a"]
        sample = view.batch[index]
        xyz = loaded_xyz(view, index)
        count = len(index) if self.candidates is None else self.candidates
        first = torch.searchsorted(sample, sample)
        candidates = (torch.arange(len(index)) - first < count).nonzero()[:, 0]
        flat = xyz[candidates] * xyz.new_tensor([1.0, 1.0, 0.0])
        chosen = farthest_points(flat, sample[candidates], view.size, self.num_proposals)
        centres = candidates[chosen]
        return centres, ball_query(xyz, sample, centres, self.radius, self.num_neighbours)

    def _encode(
        self, encodings: Encodings, view: str, index: Tensor, centres: Tensor, members: Tensor
    ) -> Tensor:
        """(M, C) features of the proposals in a view; `index` as in `_proposals`."""
        features = encodings.lidar(view).points
        xyz = encodings.batch.now.views[view].points[:, :3]
        centre, member = index[centres], index[members.clamp(min=0)]
        offsets = xyz[centre][:, None] - xyz[member]
        return self.encoder(features[centre], features[member], offsets, members >= 0)
