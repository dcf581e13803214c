"""SlotCon for points (Wen et al., NeurIPS 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pc3d.contrast.gather import of_all_ranks
from pc3d.contrast.nce import zero_with_graph
from pc3d.contrast.policy import Part
from pc3d.contrast.slots import active_slots, grouping_loss, scores, slot_loss, slots_of
from pc3d.data.batch import Needs
from pc3d.models.following import Following
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.views_of_points import VIEWS, MomentumPoints, normed_projector, places_of


class _Prototypes(nn.Module):
    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(count, dim) / dim**0.5)


class Centre(Part):
    """The moving mean of the teacher's dots, which keeps all cells from one slot.

    Args:
        count: prototypes. momentum: 0.9.
    """

    def __init__(self, count: int, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(count))
        self.mean: Tensor
        self._seen: list[Tensor] = []

    def see(self, dots: Tensor) -> None:
        """Keep (M, K) dots for the end of the step."""
        if self.training:
            self._seen.append(dots.detach().float())

    @torch.no_grad()
    def commit(self) -> None:
        if not self.training:
            return
        seen, self._seen = self._seen, []
        means = of_all_ranks(torch.cat(seen).mean(dim=0, keepdim=True) if seen else self.mean[None][:0])
        means = means[means.isfinite().all(dim=1)]
        if len(means):
            self.mean.lerp_(means.mean(dim=0).to(self.mean), 1 - self.momentum)


class SlotContrast(Objective):
    """Points are grouped softly by shared prototypes; groupings are distilled, slots contrasted.

    L = w group + (1 - w) slot, each the mean of both ways (`contrast.slots`); the teacher is a momentum copy
    of encoder, projector and prototypes. The predictor sees the slots that are active in both views, as in
    the authors' code. Cells are points that both views hold, so that no alignment of maps is needed; keys are
    the teacher's slots of this rank; projector and predictor have two layers (ours; the authors add the two
    ways, take the keys of all ranks and three layers).

    Args:
        lidar: the encoder that is trained.
        num_points: of a sweep, 2048 (ours). prototypes: 256. hidden, dim: of projector and predictor, 256
            and 64 (the authors': 4096 and 256).
        student, teacher, slot: temperatures, 0.1, 0.07 and 0.2. group: w, 0.5.
        momentum: 0.99; steps: over which it rises to 1, as in the authors' code; None: it stays.
    """

    needs = Needs(views=2)
    learns_from = "point that both views show"

    def __init__(
        self,
        lidar: LidarEncoder,
        num_points: int = 2048,
        prototypes: int = 256,
        hidden: int = 256,
        dim: int = 64,
        student: float = 0.1,
        teacher: float = 0.07,
        slot: float = 0.2,
        momentum: float = 0.99,
        group: float = 0.5,
        steps: int | None = None,
    ) -> None:
        super().__init__()
        if prototypes < 1 or min(student, teacher, slot) <= 0 or not 0 <= group <= 1:
            raise ValueError(
                f"prototypes {prototypes}, temperatures {student}, {teacher}, {slot}, group {group}: "
                "expected at least 1, above 0, and 0 to 1"
            )
        self.head = normed_projector(lidar.point_channels, hidden, dim)
        self.predictor = normed_projector(dim, hidden, dim)
        self.prototypes = _Prototypes(prototypes, dim)
        self.key_prototypes = Following(self.prototypes, momentum, steps)
        self.momentum_points = MomentumPoints(lidar, self.head, momentum, num_points, steps)
        self.centre = Centre(prototypes)
        self.temperatures, self.group = (student, teacher, slot), group

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        points, size = self.momentum_points, len(encodings.batch)
        if self.training:
            points.follow(encodings.lidar_encoder, self.head)
            self.key_prototypes.update(self.prototypes)
        rows, places = points.rows(encodings)
        _, sample = places_of(encodings, places["a"])
        if len(rows) < 2:  # batch norm has no statistics of one row
            learned = [p for p in self.parameters() if p.requires_grad]
            loss = zero_with_graph(encodings.lidar("a").points, encodings.lidar("b").points, *learned)
            return {"loss": loss, "examples": torch.tensor(0.0)}
        student, teacher = points.student(encodings, self.head, places), points.teacher(encodings, places)
        loss, logged = self._losses(student, teacher, sample, size)
        logged["point_share"] = torch.tensor(len(rows) / max(encodings.batch.now.num_points, 1))
        return {"loss": loss, **logged, **encodings.collapse(student["a"], teacher["b"])}

    def _losses(
        self, student: dict[str, Tensor], teacher: dict[str, Tensor], sample: Tensor, size: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and what is logged, of the (M, D) cells of both views."""
        ours = {view: scores(student[view], self.prototypes.rows) for view in VIEWS}
        theirs = {view: scores(teacher[view], self.key_prototypes.copy.rows) for view in VIEWS}
        slots = {view: slots_of(student[view], ours[view], sample, size) for view in VIEWS}
        keys = {view: slots_of(teacher[view], theirs[view], sample, size) for view in VIEWS}
        active = {view: active_slots(ours[view], sample, size) for view in VIEWS}
        known = {view: active_slots(theirs[view], sample, size) for view in VIEWS}
        group, slot = [], []
        for view, other in (("a", "b"), ("b", "a")):
            group.append(
                grouping_loss(ours[view], theirs[other], self.centre.mean.clone(), *self.temperatures[:2])
            )
            slot.append(self._slot_loss(slots[view], keys[other], active[view], known[other]))
            self.centre.see(theirs[view])
        means = {"group": torch.stack(group).mean(), "slot": torch.stack(slot).mean()}
        share = torch.bincount(ours["a"].argmax(dim=1)).max() / len(sample)
        logged = {
            **{name: value.detach() for name, value in means.items()},
            "examples": torch.tensor(float(len(sample))),
            "active_slots": active["a"].sum(dim=1).float().mean(),
            "largest_slot": share,
        }
        return self.group * means["group"] + (1 - self.group) * means["slot"], logged

    def _slot_loss(self, slots: Tensor, keys: Tensor, student: Tensor, teacher: Tensor) -> Tensor:
        """`slot_loss` of (B, K, D) slots, of which the predictor sees those that are active in both views."""
        both = student & teacher
        if int(both.sum()) < 2:  # batch norm has no statistics of one row
            return zero_with_graph(slots, *self.predictor.parameters())
        predicted = torch.zeros_like(slots)
        predicted[both] = self.predictor(slots[both]).to(slots)
        return slot_loss(predicted, keys, student, teacher, self.temperatures[2])
