"""From the maps of a centre-based head to boxes: peaks, their codes, and non-maximum suppression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.geometry.grid import BevGrid
from pc3d.models.heads.center_code import BOX_SIZE, BRANCHES, decode_boxes
from pc3d.models.heads.detections import CENTRE_RANGE, Detections, check_centre_range, in_range
from pc3d.ops.device import constant
from pc3d.ops.nms import circle_nms, rotated_nms
from pc3d.ops.precision import full_precision

CIRCLE_RADII: dict[str, float] = {
    "car": 2.0,
    "truck": 3.46,
    "construction_vehicle": 3.46,
    "bus": 3.16,
    "trailer": 3.16,
    "barrier": 1.0,
    "motorcycle": 0.92,
    "bicycle": 0.92,
    "pedestrian": 0.42,
    "traffic_cone": 0.42,
}
"""Metres: the square roots of CenterPoint's nuScenes thresholds (4, 12, 10, 1, 0.85, 0.175), which its
public code compares with squared distances."""


@dataclass(frozen=True)
class CenterDecoder:
    """How the boxes are read off the maps.

    Attributes:
        score_threshold: below it nothing is a detection. 0.05, where CenterPoint has 0.1: average precision
            integrates over the whole recall, so that weak detections can only help it; raise it for pictures.
        top_k: most candidates of a group that go into the suppression.
        peak_window: odd; a candidate is the maximum of so many cells squared. 1 takes every cell, as
            CenterPoint's code does: slower, and of use where neighbours stand in adjacent cells.
        nms: "rotated": boxes of a group suppress each other by their IoU, whatever their class. "circle":
            boxes of a class do by the distance of their centres.
        iou_threshold: of the rotated one.
        radii: metres by class name, of the circle one; classes left out have those of `CIRCLE_RADII`, and
            a class that is not in there must be named.
        max_kept: most detections of a group. Six groups of 83 stay below the 500 boxes that nuScenes allows.
        centre_range: x_min y_min z_min x_max y_max z_max (m) of box centres.

    Raises:
        ValueError: an option out of its range.
    """

    score_threshold: float = 0.05
    top_k: int = 200
    peak_window: int = 3
    nms: str = "rotated"
    iou_threshold: float = 0.2
    radii: Mapping[str, float] = field(default_factory=dict)
    max_kept: int = 83
    centre_range: Sequence[float] = CENTRE_RANGE

    def __post_init__(self) -> None:
        if self.nms not in ("rotated", "circle"):
            raise ValueError(f"nms {self.nms!r} is unknown: choose 'rotated' or 'circle'")
        if not 0 <= self.score_threshold < 1 or not 0 <= self.iou_threshold <= 1:
            raise ValueError(
                f"score_threshold {self.score_threshold} and iou_threshold {self.iou_threshold} "
                "must lie in 0..1"
            )
        if self.top_k < 1 or self.max_kept < 1 or self.peak_window < 1 or self.peak_window % 2 == 0:
            raise ValueError(
                f"top_k {self.top_k} and max_kept {self.max_kept} must be positive, peak_window "
                f"{self.peak_window} odd"
            )
        check_centre_range(self.centre_range)

    def check_classes(self, names: Sequence[str]) -> None:
        """
        Raises:
            ValueError: radii of a class that is none of `names`, or none for one of them.
        """
        unknown = sorted(set(self.radii) - set(names))
        if unknown:
            raise ValueError(f"radii of unknown classes {unknown}; known: {', '.join(names)}")
        without = sorted(set(names) - {*self.radii, *CIRCLE_RADII})
        if without and self.nms == "circle":
            raise ValueError(f"nms 'circle' needs `radii` in metres of the classes {', '.join(without)}")

    @torch.no_grad()
    @full_precision
    def decode(
        self,
        outputs: Sequence[Mapping[str, Tensor]],
        groups: Sequence[Sequence[int]],
        grid: BevGrid,
        names: Sequence[str],
    ) -> list[Detections]:
        """Detections of each sample.

        Args:
            outputs: for each group the maps of `CenterHead.forward`.
            groups: labels of each group in the order of its heatmap.
            grid: cells of the maps.
            names: class of each label.
        """
        by_group = [
            self._decode_group(maps, group, grid, names) for maps, group in zip(outputs, groups, strict=True)
        ]
        return [_merge(parts) for parts in zip(*by_group, strict=True)]

    def _decode_group(
        self, maps: Mapping[str, Tensor], group: Sequence[int], grid: BevGrid, names: Sequence[str]
    ) -> list[Detections]:
        logits = maps["heatmap"].float()
        highest = F.max_pool2d(logits, self.peak_window, stride=1, padding=self.peak_window // 2)
        peaks = torch.where(logits == highest, logits, -torch.inf).flatten(1)
        best, index = peaks.topk(min(self.top_k, peaks.shape[1]), dim=1)
        scores, cell = best.sigmoid(), index % (grid.rows * grid.cols)
        codes = torch.cat(
            [
                maps[name].float().flatten(2).gather(2, cell[:, None].expand(-1, width, -1))
                for name, width in BRANCHES.items()
            ],
            dim=1,
        ).transpose(1, 2)
        labels = constant(group, index)[index // (grid.rows * grid.cols)]
        found = []
        for b in range(len(logits)):
            cells = torch.stack([cell[b] // grid.cols, cell[b] % grid.cols], dim=1)
            boxes = decode_boxes(codes[b], cells, grid)
            good = (scores[b] > self.score_threshold) & in_range(boxes, self.centre_range)
            found.append(self._suppress(Detections(boxes, scores[b], labels[b])[good], names))
        return found

    def _suppress(self, found: Detections, names: Sequence[str]) -> Detections:
        """What non-maximum suppression leaves of the candidates of a group, best first."""
        if self.nms == "rotated":
            flat = found.boxes[:, [0, 1, 3, 4, 6]]
            return found[rotated_nms(flat, found.scores, self.iou_threshold, self.max_kept)]
        kept = []
        for label in found.labels.unique().tolist():
            of_class = (found.labels == label).nonzero()[:, 0]
            name = names[label]
            radius = self.radii[name] if name in self.radii else CIRCLE_RADII[name]
            centres = found.boxes[of_class, :2]
            kept.append(of_class[circle_nms(centres, found.scores[of_class], radius, self.max_kept)])
        if not kept:
            return found
        return found[torch.cat(kept)].best_first()[: self.max_kept]


def _merge(parts: Sequence[Detections]) -> Detections:
    """The detections of all groups of a sample, best first."""
    together = Detections(
        torch.cat([part.boxes for part in parts]).view(-1, BOX_SIZE),
        torch.cat([part.scores for part in parts]),
        torch.cat([part.labels for part in parts]),
    )
    return together.best_first()
