"""Region-aware distillation, stage 2 of CALICO (arXiv 2306.00349)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.build import build_contrast, contrast_needs
from pc3d.contrast.by_region import contrast_region_distillation
from pc3d.contrast.nce import zero_with_graph
from pc3d.contrast.point_region import region_rows
from pc3d.data.batch import FrameBatch, Needs
from pc3d.models.bev.base import ViewTransform
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective, compared, projector
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.facts import REGION_FACTS, region_facts
from pc3d.objectives.segments import segments_field, segments_of, with_segments
from pc3d.ops.interpolate import on_grid, sample_bev
from pc3d.ops.sampling import sample_rows, spans

TEACHER_HEADS = ("frozen", "trained")


class RAD(Objective):
    """The camera's BEV map learns the LiDAR's at points of regions, both in the frame of LiDAR view "a".

        c_i = h_c(bilinear(BEV_camera, p_i)),    l_i = stopgrad( h_l(bilinear(BEV_lidar, p_i)) )
        L_RAD = -1/R sum_{s=1..R} 1/N_s sum_{i: r_i = s} log( exp(c_i.l_i/tau) / sum_k exp(c_i.l_k/tau) )

    k runs over the sampled points of the same sweep (our choice); the loss is averaged over sweeps. No
    gradient reaches the LiDAR encoder, which the paper keeps frozen and in evaluation mode. A sweep with
    fewer region points gives what it has; points outside either map do not take part.

    Args:
        lidar: the teacher. camera: the view transform, which is trained with the image encoder behind it.
        num_points: region points of each sweep, 1024.
        dim: width of the projections, 128; a frozen teacher head must have PRC's (our choice).
        temperature: 0.07 (our choice).
        mask_own_region: the other points of a point's region are no negatives (our option).
        teacher_head: `frozen`: `teacher_projector` is PRC's projector, to be loaded from the first stage,
            because behind the stop-gradient it would never train (our choice). `trained`: it learns with
            h_c, on stopgrad(BEV_lidar).
        segments: `clusters` (the regions of CALICO), `objects` or `supervoxels` (our option).
        contrast: other parts of the contrast than InfoNCE's, see `pc3d.contrast.build` (our option).
    """

    needs = Needs(images=True, regions=True)
    reads_bev = True
    reads_image = True
    reads_camera_bev = True
    learns_from = "point of a region on both maps"
    later: ClassVar[Mapping[str, Any]] = {"segments": "clusters", "contrast": None}

    def __init__(
        self,
        lidar: LidarEncoder,
        camera: ViewTransform,
        num_points: int = 1024,
        dim: int = 128,
        temperature: float = 0.07,
        mask_own_region: bool = False,
        teacher_head: str = "frozen",
        segments: str = "clusters",
        contrast: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if teacher_head not in TEACHER_HEADS:
            raise ValueError(f"unknown teacher_head {teacher_head!r}; known: {', '.join(TEACHER_HEADS)}")
        self.student_projector = projector(camera.bev_channels, dim)
        self.teacher_projector = projector(lidar.bev_channels, dim)
        self.trains_teacher = teacher_head == "trained"
        self.teacher_projector.requires_grad_(self.trains_teacher)
        self.camera_grid = camera.grid
        self.num_points = num_points
        self.temperature = temperature
        self.mask_own_region = mask_own_region
        self.segments = segments_field(segments)
        self.contrast = build_contrast(contrast, temperature, dim, REGION_FACTS)

    @classmethod
    def needs_of(cls, config: Mapping[str, Any]) -> Needs:
        return with_segments(Needs(images=True), config) | contrast_needs(config.get("contrast"))

    @classmethod
    def frozen_heads(cls, config: Mapping[str, Any]) -> tuple[str, ...]:
        return ("teacher_projector",) if config.get("teacher_head", "frozen") == "frozen" else ()

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        frame = encodings.host.now
        rows, xy = self._sample_points(frame, encodings)
        kept = on_grid(self.camera_grid, xy) & on_grid(encodings.grid, xy)
        rows, sample = rows[kept], frame.row_batch[rows[kept]]
        regions = segments_of(frame, self.segments, "RAD")[rows]
        students, teachers = self._features(encodings, encodings.here(xy[kept]), encodings.here(sample))

        facts = compared(self.contrast, lambda: region_facts(encodings, rows, regions))
        terms = [
            contrast_region_distillation(
                self.contrast,
                self.temperature,
                students[of],
                teachers[of],
                encodings.here(regions[of]),
                self.mask_own_region,
                {key: value[of] for key, value in facts.items()},
                encodings.generator,
                region_rows(regions[of], students.device),
            )
            for of in spans(sample, len(encodings.batch))
        ]
        loss = torch.stack(terms).mean() + zero_with_graph(students, teachers)
        logged = {
            "examples": torch.tensor(float(len(students))),
            "point_share": torch.tensor(len(students) / max(frame.num_points, 1)),
        }
        return {"loss": loss, **logged, **self.contrast.logged(), **encodings.collapse(students, teachers)}

    def _features(self, encodings: Encodings, xy: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised projections of the cameras' and of the LiDAR's map at positions on both."""
        lidar_bev = encodings.lidar("a").bev
        assert lidar_bev is not None
        seen, _ = sample_bev(encodings.camera_bev("a"), self.camera_grid, xy, sample)
        known, _ = sample_bev(lidar_bev.detach(), encodings.grid, xy, sample)
        students = F.normalize(self.student_projector(seen).float(), dim=1)
        teachers = F.normalize(self.teacher_projector(known).float(), dim=1)
        if not self.trains_teacher:  # in a joint step the head may be PRC's own, which PRC trains
            teachers = teachers.detach()
        return students, teachers

    def _sample_points(self, frame: FrameBatch, encodings: Encodings) -> tuple[Tensor, Tensor]:
        """Rows of region points, at most `num_points` of each sweep, and their x, y in view "a"."""
        view = frame.views["a"]
        index = view.index_of_row(frame.num_points)
        eligible = (segments_of(frame, self.segments, "RAD") >= 0) & (index >= 0)
        rows = sample_rows(
            eligible, frame.row_batch, len(encodings.batch), self.num_points, encodings.generator
        )
        return rows, view.points[index[rows], :2]
