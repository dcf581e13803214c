"""Masked neighbourhood occupancy (NOMAE, Abdelsamad et al., CVPR 2025, arXiv 2502.20316)."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from pc3d.contrast.occupancy import (
    average_precision,
    centroid_loss,
    count_loss,
    occupancy_loss,
    twin_loss,
)
from pc3d.data.batch import Needs
from pc3d.data.masking import CellMask
from pc3d.data.occupancy import MASKED, OccupancySettings
from pc3d.data.occupancy_batch import OccupancyQueries
from pc3d.models.heads.occupancy import NeighbourDecoder
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective
from pc3d.objectives.encodings import Encodings
from pc3d.ops.segment import segment_mean

_OF_MASK = ("cell", "scales", "ratio")
_OF_QUERIES = ("kernel", "neighbours", "empties", "occupied")


class MaskedOccupancy(Objective):
    """What is in the cells around the visible ones of a sweep, most of which is masked; LiDAR alone.

        L = mean over scales of  L_occ + w_count L_count + w_centroid L_centroid + w_twin L_twin

    The encoder sees view "m", the points of view "a" in cells that a hierarchical mask left. At each scale,
    cells in the neighbourhoods of the visible ones are asked for: is a point of the whole sweep there
    (`occupancy_loss`), how many (`count_loss`), where their mean lies (`centroid_loss`). A cell without a
    point counts as empty only where a ray of the sweep crossed it; NOMAE takes all of them for empty. All
    scales read the features at the visible points, the last and finest level of the encoder, averaged over
    their visible cells.

    With `twin` above 0 a second, independent mask is encoded and decoded by layers of its own, and what both
    say of an occupied cell that neither shows is drawn together (Point-CMAE, ACCV 2024: `twin_loss`).

    As the paper is reported: scales, neighbourhoods, mask and occupancy loss. Ours: the decoder
    (`NeighbourDecoder`), drawn empty cells, rays, count and centroid, and all weights.

    Args:
        lidar: the encoder that is trained.
        cell: side of the finest cells in metres: the encoder's voxels, or larger.
        scales, ratio: 3 (NOMAE: 4) and 0.7, see `CellMask`.
        kernel: of the neighbourhoods, 9 (NOMAE), see `OccupancySettings` for this and the next three.
        neighbours, empties, occupied: 8 nearest visible cells, 8 empty cells for each occupied one, all
            occupied ones.
        hidden: width of the decoders.
        prior: what the share of occupied cells is taken for at first.
        count, centroid, twin: the weights, 0.1, 0.1 and 0.
    """

    learns_from = "cell around those that are not masked"
    needs = Needs(occupancy=OccupancySettings())
    terms: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        lidar: LidarEncoder,
        cell: float = 0.2,
        scales: int = 3,
        ratio: float = 0.7,
        kernel: int = 9,
        neighbours: int = 8,
        empties: int = 8,
        occupied: int | None = None,
        hidden: int = 64,
        prior: float = 0.02,
        count: float = 0.1,
        centroid: float = 0.1,
        twin: float = 0.0,
    ) -> None:
        super().__init__()
        if min(count, centroid, twin) < 0 or not 0 < prior < 1:
            raise ValueError(
                f"count {count}, centroid {centroid}, twin {twin}, prior {prior}: expected weights of 0 or "
                "more and a share between 0 and 1"
            )
        self.views = MASKED[: 2 if twin else 1]
        self.decoders = nn.ModuleDict(
            {
                view: nn.ModuleList(
                    NeighbourDecoder(lidar.point_channels, hidden, prior) for _ in range(scales)
                )
                for view in self.views
            }
        )
        self.weights = {"occupancy": 1.0, "count": count, "centroid": centroid, "twin": twin}
        if twin:
            self.terms = {"twin": "no occupied cell is masked by both masks and near visible ones of both"}

    @classmethod
    def needs_of(cls, config: Mapping[str, Any]) -> Needs:
        arguments = {**_defaults(cls), **config}
        mask = CellMask(**{name: arguments[name] for name in _OF_MASK})
        asked = {name: arguments[name] for name in _OF_QUERIES}
        return Needs(occupancy=OccupancySettings(mask, **asked, masks=2 if arguments["twin"] else 1))

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        asked = encodings.batch.now.occupancy
        if asked is None:
            raise ValueError("the frames have no masked views; ask for them in `Objective.needs`")
        parts: dict[str, list[Tensor]] = {name: [] for name, weight in self.weights.items() if weight}
        precision, features = [], []
        for number in range(len(asked["m"])):
            known = []
            for view in self.views:
                queries = asked[view][str(number)]
                seen, out, weight, cells = self._decode(encodings, view, number, queries)
                known.append(seen)
                features.append(cells)
                for name, loss in self._losses(out, queries, weight).items():
                    parts[name].append(loss)
                if encodings.monitors:
                    precision.append(average_precision(out[:, 0].detach(), queries.occupied, weight))
            if self.weights["twin"]:
                same = asked["m"][str(number)].twins
                parts["twin"].append(twin_loss(*(x[rows] for x, rows in zip(known, same.T, strict=True))))
        means = {name: torch.stack(losses).mean() for name, losses in parts.items()}
        loss = torch.stack([self.weights[name] * value for name, value in means.items()]).sum()
        logged = {name: value.detach() for name, value in means.items()}
        if precision:
            logged["average_precision"] = torch.stack(precision).mean()
        return {"loss": loss, **logged, **self._shares(encodings), **encodings.collapse(features[0])}

    def _decode(
        self, encodings: Encodings, view: str, number: int, queries: OccupancyQueries
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(Q, hidden) and (Q, 5) of the decoder, (Q,) weights, (V, C) features of the visible cells."""
        output, cloud = encodings.lidar(view), encodings.batch.now.views[view]
        # What the encoder does not reach is neither seen nor does it tell of others.
        cell = torch.where(output.valid, queries.cell.long(), -1)
        features, points = segment_mean(output.points, cell, queries.num_cells)
        places, _ = segment_mean(cloud.points[:, :3], cell, queries.num_cells)
        neighbours = queries.neighbours.long()
        reached = (neighbours >= 0) & (points > 0)[neighbours.clamp(min=0)]
        known, out = self.decoders[view][number](  # type: ignore[index]
            features, places, queries.centre, torch.where(reached, neighbours, -1), queries.size
        )
        return known, out, queries.weight * reached.any(dim=1), features

    def _losses(self, out: Tensor, queries: OccupancyQueries, weight: Tensor) -> dict[str, Tensor]:
        losses = {"occupancy": occupancy_loss(out[:, 0], queries.occupied, weight)}
        if self.weights["count"]:
            losses["count"] = count_loss(out[:, 1], queries.count, weight)
        if self.weights["centroid"]:
            losses["centroid"] = centroid_loss(out[:, 2:], queries.centroid, queries.count, weight)
        return losses

    def _shares(self, encodings: Encodings) -> dict[str, Tensor]:
        """What is known of the batch without a look at its tensors on a GPU."""
        now = encodings.host.now
        assert now.occupancy is not None
        scales = [queries for view in self.views for queries in now.occupancy[view].values()]
        known, around = (sum(getattr(q, name) for q in scales) for name in ("num_known", "num_around"))
        visible = len(now.views["m"].row)
        found = {
            "examples": sum(len(q.weight) for q in scales),
            "known_share": known / max(around, 1),
            "occupied_share": sum(float(q.weight[q.occupied].sum()) for q in scales) / max(known, 1),
            "visible_share": visible / max(len(now.views["a"].row), 1),
            "point_share": visible / max(now.num_points, 1),
        }
        if self.weights["twin"]:
            found["twin_examples"] = sum(len(q.twins) for q in now.occupancy["m"].values())
        return {name: torch.tensor(float(value)) for name, value in found.items()}


def _defaults(kind: type[MaskedOccupancy]) -> dict[str, Any]:
    return {name: parameter.default for name, parameter in signature(kind).parameters.items()}
