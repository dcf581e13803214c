"""Spatiotemporal flow contrast (SuperFlow, ECCV 2024, arXiv 2407.06190; SuperFlow++, arXiv 2503.19912)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.gather import rows_of_other_ranks
from pc3d.contrast.monitors import collapse_metrics
from pc3d.contrast.nce import info_nce
from pc3d.data.batch import Needs
from pc3d.models.build import require_weight
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective, contrasted
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.groups import ID_RANGE, SuperpixelGroups, shared_groups
from pc3d.objectives.superpixel import SuperpixelContrast
from pc3d.objectives.superpixel_heads import SuperpixelHeads

TIMES = ("t", "t-1", "t+1")
D2S_FORMS = ("nce", "cosine")


class SuperFlow(Objective):
    """Superpoints Q and superpixels K of three key frames and of the dense sweep.

        spatial  = 1/3 [ NCE(Q^t, K^t) + NCE(Q^{t-1}, K^{t-1}) + NCE(Q^{t+1}, K^{t+1}) ]
        d2s      = NCE(Q^t, Q^dense), or mean 1 - cos(Q^t, Q^dense); gradient through both
        temporal = 1/2 [ NCE(Q^t, Q^{t-1}) + NCE(Q^t, Q^{t+1}) ]
        cross    = 1/2 [ NCE(Q^t, K^{t-1}) + NCE(Q^t, K^{t+1}) ]          (SuperFlow++)

    Groups that only one side has are left out. A term of weight 0 is not computed.

    Args:
        lidar, image: the encoders; the image encoder is a frozen teacher in the papers.
        dim: width of the common space, 64 (the authors' code).
        temperature: 0.07 (the authors' code).
        spatial, d2s, temporal, cross: weights of the terms. 1, 1, 1 in the authors' code; that of `cross`
            is our choice, and 0 gives SuperFlow.
        d2s_form: `nce` (the authors' code) or `cosine` (the paper, as reviews report it).
        ids: `semantics`; with `superpixels`, which mean nothing at another time, `temporal` and `cross`
            must be 0.
        mask_same_class: the same id in another sample of the batch is no negative (our option; in the
            authors' code it is one).
        mask_movers: points of segments that move take no part in `d2s`, `temporal` and `cross` (our
            option; it needs tracks, which know the motion between t and t+1).
        gather: the groups of other processes are negatives, too; in the public codes they are not.
        renormalise, pixel_stride: see `SuperpixelHeads`.
    """

    needs = Needs(images=True, neighbour_images=True, semantics=True, frames=("t", "t-1", "t+1", "dense"))
    reads_image = True
    learns_from = SuperpixelContrast.learns_from
    terms: Mapping[str, str] = {
        "d2s": "no segment is in a frame and in its dense sweep",
        "temporal": "no segment is in a frame and in the one before or after it: are the ids `semantics`?",
        "cross": "no segment is in a frame and in the images of the one before or after it",
    }

    def __init__(
        self,
        lidar: LidarEncoder,
        image: ImageEncoder,
        dim: int = 64,
        temperature: float = 0.07,
        spatial: float = 1.0,
        d2s: float = 1.0,
        temporal: float = 1.0,
        cross: float = 1.0,
        d2s_form: str = "nce",
        ids: str = "semantics",
        mask_same_class: bool = False,
        mask_movers: bool = False,
        gather: bool = False,
        renormalise: bool = False,
        pixel_stride: int = 1,
    ) -> None:
        super().__init__()
        if d2s_form not in D2S_FORMS:
            raise ValueError(f"unknown d2s_form {d2s_form!r}; known: {', '.join(D2S_FORMS)}")
        if ids == "superpixels" and (temporal or cross):
            raise ValueError(
                "ids='superpixels' mean nothing at another time: take ids='semantics', or temporal=cross=0"
            )
        if gather and mask_same_class:
            raise ValueError("mask_same_class knows the ids of its own process only: set gather=False")
        self.heads = SuperpixelHeads(lidar, image, dim, ids, renormalise, pixel_stride)
        self.weights = {"spatial": spatial, "d2s": d2s, "temporal": temporal, "cross": cross}
        require_weight(**self.weights)
        self.temperature, self.d2s_form = temperature, d2s_form
        self.mask_same_class, self.mask_movers, self.gather = mask_same_class, mask_movers, gather

    @classmethod
    def needs_of(cls, config: Mapping[str, Any]) -> Needs:
        frames = TIMES if not config.get("d2s", 1.0) else cls.needs.frames
        needs = replace(cls.needs, frames=frames, semantics=False, tracks=config.get("mask_movers", False))
        ids: dict[str, Any] = {config.get("ids", "semantics"): True}
        return replace(needs, **ids)

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        groups = {time: self.heads.groups(encodings, time) for time in TIMES}
        superpoints = {time: self.heads.superpoints(encodings, time, groups[time]) for time in TIMES}
        superpixels = {time: self.heads.superpixels(encodings, time, groups[time]) for time in TIMES}
        terms = {"spatial": [self._nce(superpoints[t], superpixels[t], groups[t].ids) for t in TIMES]}
        still, points = self._without_movers(encodings) if self.mask_movers else (groups, superpoints)
        if self.weights["d2s"]:
            terms["d2s"] = [self._d2s(encodings, still["t"], points["t"])]
        pairs = [(shared_groups(still["t"], still[t]), t) for t in TIMES[1:]]
        if self.weights["temporal"]:
            terms["temporal"] = [
                self._nce(points["t"][a], points[t][b], still["t"].ids[a]) for (a, b), t in pairs
            ]
        if self.weights["cross"]:
            pairs = [(shared_groups(still["t"], groups[t]), t) for t in TIMES[1:]]
            terms["cross"] = [
                self._nce(points["t"][a], superpixels[t][b], still["t"].ids[a]) for (a, b), t in pairs
            ]
        means = {name: torch.stack([loss for loss, _ in parts]).mean() for name, parts in terms.items()}
        counts = {name: torch.stack([count for _, count in parts]).sum() for name, parts in terms.items()}
        now = groups["t"]
        logged = {
            **{name: value.detach() for name, value in means.items()},
            **{f"{name}_examples": counts[name] for name in self.terms if name in counts},
            "examples": counts["spatial"],
            "groups": torch.tensor(float(now.count)),
            "point_share": torch.tensor(len(now.rows.unique()) / max(encodings.batch.now.num_points, 1)),
        }
        loss = torch.stack([self.weights[name] * value for name, value in means.items()]).sum()
        return {"loss": loss, **logged, **collapse_metrics(superpoints["t"], superpixels["t"])}

    def _nce(self, anchors: Tensor, others: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and how many anchors it learned from."""
        ignore = None
        if self.mask_same_class:
            kind = ids % ID_RANGE
            ignore = kind[:, None] == kind[None, :]
        extra = rows_of_other_ranks(others) if self.gather else None
        count = contrasted(anchors, extra)
        if ignore is not None:
            count = count.to(anchors.device) * (~ignore).any()
        return info_nce(anchors, others, self.temperature, ignore, extra), count

    def _d2s(
        self, encodings: Encodings, groups: SuperpixelGroups, superpoints: Tensor
    ) -> tuple[Tensor, Tensor]:
        dense = self.heads.groups(encodings, "dense")
        a, b = shared_groups(groups, dense)
        sparse_side, dense_side = superpoints[a], self.heads.superpoints(encodings, "dense", dense)[b]
        if self.d2s_form == "nce":
            return self._nce(sparse_side, dense_side, groups.ids[a])
        # A sum over the number of groups: 0 with a graph where there is none.
        distance = (1 - F.cosine_similarity(sparse_side, dense_side)).sum() / max(len(a), 1)
        return distance, torch.tensor(float(len(a)))

    def _without_movers(self, encodings: Encodings) -> tuple[dict[str, SuperpixelGroups], dict[str, Tensor]]:
        """Groups and superpoints of the points that stand still; of t-1 no motion is known."""
        frames = encodings.batch.frames
        groups = {time: self.heads.groups(encodings, time, frames[time].moving) for time in TIMES}
        return groups, {time: self.heads.superpoints(encodings, time, groups[time]) for time in TIMES}
