"""BECLR for points (Poulakakis-Daktylidis & Jamali-Rad, ICLR 2024)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pc3d.contrast.align_uniform import align_uniform
from pc3d.contrast.clustered_memory import ClusteredMemory
from pc3d.contrast.nce import zero_with_graph
from pc3d.data.batch import Needs
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.views_of_points import VIEWS, MomentumPoints, normed_projector
from pc3d.ops.precision import full_precision

PAIRS = ("ranks", "own")
KINDS = ("predictions", "teachers", "students")


class BECLR(Objective):
    """Predictions of one view are drawn to momentum features of the other; three memories enlarge the batch.

    L = `contrast.align_uniform` of predictions p, momentum features t and projections z of views "a" and "b".
    Once the memories are full, each row of each of the three is followed by its k nearest rows of a memory of
    its own kind (`contrast.clustered_memory`), and L is of all of them.

    As in the authors' code a row of memory is a constant, and the r-th neighbour of p is paired with the r-th
    of t: such pairs have no gradient, so that the memories only add rows that z is spread from, and the pairs
    of the batch weigh 1 / (1 + k). With `pairs="own"` the neighbours of t are positives of p itself (ours).

    Rows are points that both views hold (ours; there images, of which the student's are masked); projector
    and predictor have two layers (ours; three and two there).

    Args:
        lidar: the encoder that is trained.
        num_points: of a sweep, 256 (ours): the spread is over all pairs of 2 (1 + k) times as many a sweep.
        hidden, dim: widths of the projector, 256 and 64 (the authors': 512); the predictor's is dim / 4.
        prototypes, rows, neighbours: of each memory, 50, 2048 and 5 (200, 8,000 and 5 there, or 3).
        keep: rows of a step that enter a memory, 256 (ours; all there). start: steps before any is read, 0.
        pairs: `ranks` or `own`, see above.
        spread: weight of the spread, 0.1.
        momentum: 0.99 (0.995 there); steps: over which it rises to 1, as there; None: it stays.
    """

    needs = Needs(views=2)
    learns_from = "point that both views show"

    def __init__(
        self,
        lidar: LidarEncoder,
        num_points: int = 256,
        hidden: int = 256,
        dim: int = 64,
        prototypes: int = 50,
        rows: int = 2048,
        neighbours: int = 5,
        keep: int = 256,
        start: int = 0,
        pairs: str = "ranks",
        spread: float = 0.1,
        momentum: float = 0.99,
        steps: int | None = None,
    ) -> None:
        super().__init__()
        if pairs not in PAIRS:
            raise ValueError(f"pairs is {pairs!r}, expected one of {', '.join(PAIRS)}")
        if spread < 0 or dim < 4:
            raise ValueError(f"spread {spread} and dim {dim}: expected 0 or more, and at least 4")
        self.head = normed_projector(lidar.point_channels, hidden, dim)
        self.predictor = normed_projector(dim, dim // 4, dim)
        self.momentum_points = MomentumPoints(lidar, self.head, momentum, num_points, steps)
        kinds = [kind for kind in KINDS if pairs == "ranks" or kind != "predictions"]
        self.memories = nn.ModuleDict(
            {kind: ClusteredMemory(dim, prototypes, rows, neighbours, start, keep=keep) for kind in kinds}
        )
        self.neighbours, self.spread = neighbours, spread

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        points = self.momentum_points
        if self.training:
            points.follow(encodings.lidar_encoder, self.head)
        rows, places = points.rows(encodings)
        if len(rows) < 2:  # batch norm has no statistics of one row
            learned = [p for p in self.parameters() if p.requires_grad]
            loss = zero_with_graph(encodings.lidar("a").points, encodings.lidar("b").points, *learned)
            return {"loss": loss, "examples": torch.tensor(0.0)}
        z = points.student(encodings, self.head, places)
        unit = {
            "predictions": _unit({view: self.predictor(z[view]) for view in VIEWS}),
            "teachers": _unit(points.teacher(encodings, places)),
            "students": _unit(z),
        }
        enlarged = self._enlarged(unit)
        p, t, s = (enlarged[kind] for kind in KINDS)
        loss = align_uniform(p, t, s, self.spread)
        logged = {
            "examples": torch.tensor(float(len(rows))),
            "compared_rows": torch.tensor(float(2 * len(s[0]))),
            "point_share": torch.tensor(len(rows) / max(encodings.batch.now.num_points, 1)),
        }
        return {"loss": loss, **logged, **encodings.collapse(unit["students"][0], unit["teachers"][1])}

    @full_precision
    def _enlarged(self, unit: dict[str, list[Tensor]]) -> dict[str, list[Tensor]]:
        """The (N, D) rows of both views of each kind, followed by their neighbours once there are any."""
        memories = self._memories()
        ready = all(memory.ready for memory in memories.values())
        for kind, memory in memories.items():
            memory.see(torch.cat(unit[kind]))
        if not ready:
            return unit
        again = 1 + self.neighbours
        return {
            kind: [_followed(memories[kind], x) if kind in memories else x.repeat(again, 1) for x in views]
            for kind, views in unit.items()
        }

    def _memories(self) -> dict[str, ClusteredMemory]:
        return {kind: m for kind, m in self.memories.items() if isinstance(m, ClusteredMemory)}


def _unit(views: dict[str, Tensor]) -> list[Tensor]:
    """(N, D) unit rows of each view."""
    return [F.normalize(views[view].float(), dim=1) for view in VIEWS]


def _followed(memory: ClusteredMemory, rows: Tensor) -> Tensor:
    """(N (1 + k), D) rows, then the nearest row of memory to each, then the second, ..."""
    return torch.cat([rows, memory.nearest(rows.detach()).transpose(0, 1).flatten(0, 1)])
