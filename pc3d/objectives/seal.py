"""Seal (Liu et al., NeurIPS 2023, arXiv 2306.09347)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.build import build_contrast
from pc3d.contrast.gather import rows_of_other_ranks
from pc3d.data.batch import Needs
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective, compared, contrasted
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.facts import GROUP_FACTS, loaded_xyz, seen_from
from pc3d.objectives.matches import feature_index
from pc3d.objectives.superpixel import SuperpixelContrast
from pc3d.ops.segment import segment_mean

ID_RANGE = 2**32
"""Ids of the tracks of one sample are below this."""


class Seal(Objective):
    """SLidR's contrast of superpoints and superpixels at t, and of segments between t and t+1.

    L = NCE(Q^t, K^t) + w NCE(T^t, T^{t+1})

    T is the mean over a track, a segment that is the same thing at both times, of the point head's normalised
    features. Tracks that only one frame shows are left out. The authors published how they make superpixels
    with foundation models, which are whatever `ids` holds here, and no training: that both terms share the
    point head and the temperature is our choice.

    Args:
        lidar, image: the encoders; the image encoder is a frozen teacher in the paper.
        dim: width of the common space, 64. temperature: 0.07. Both as in SLidR.
        temporal: w, 1 (our choice).
        ids, renormalise, pixel_stride: see `SuperpixelContrast`.
        gather: superpixels and segments of the other ranks are negatives too (our option).
        contrast: other parts of both contrasts than InfoNCE's, see `pc3d.contrast.build` (our option); each
            term has its own. With it and `renormalise`, T is normalised, too.
    """

    needs = Needs(images=True, superpixels=True, tracks=True, frames=("t", "t+1"))
    reads_image = True
    learns_from = SuperpixelContrast.learns_from
    later: ClassVar[Mapping[str, Any]] = {"contrast": None}
    terms: Mapping[str, str] = {
        "temporal": "no track is in a frame and in the one after it: are there frames after it, and tracks?"
    }

    def __init__(
        self,
        lidar: LidarEncoder,
        image: ImageEncoder,
        dim: int = 64,
        temperature: float = 0.07,
        temporal: float = 1.0,
        ids: str = "superpixels",
        renormalise: bool = False,
        pixel_stride: int = 1,
        gather: bool = False,
        contrast: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.spatial = SuperpixelContrast(
            lidar, image, dim, temperature, ids, renormalise, pixel_stride, gather, contrast
        )
        self.temporal, self.gather = temporal, gather
        self.contrast = build_contrast(contrast, temperature, dim, GROUP_FACTS, gather, renormalise)
        self.unit_segments = renormalise and bool(contrast)

    @classmethod
    def needs_of(cls, config: Mapping[str, Any]) -> Needs:
        return replace(SuperpixelContrast.needs_of(config), tracks=True, frames=cls.needs.frames)

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        result = self.spatial(encodings)
        ids_now, now = self._segments(encodings, "t")
        ids_next, following = self._segments(encodings, "t+1")
        in_now, in_next = torch.isin(ids_now, ids_next), torch.isin(ids_next, ids_now)
        ids = ids_now[in_now]
        now = now[encodings.here(in_now.nonzero()[:, 0])]
        following = following[encodings.here(in_next.nonzero()[:, 0])]
        extra = rows_of_other_ranks(following) if self.gather else None
        temporal = self.contrast.pair(
            now,
            following,
            encodings.generator,
            extra=extra,
            facts=compared(self.contrast, lambda: self._facts(encodings, "t", ids)),
            other_facts=compared(self.contrast, lambda: self._facts(encodings, "t+1", ids)),
        )
        spatial = result.pop("loss")
        logged = {
            "spatial": spatial.detach(),
            "temporal": temporal.detach(),
            **({"temporal_examples": contrasted(now, extra)} if self.temporal else {}),
            "tracks": torch.tensor(float(len(now))),
            **{f"spatial_{name}": result.pop(name) for name in self.spatial.contrast.logged()},
            **{f"temporal_{name}": value for name, value in self.contrast.logged().items()},
        }
        return {"loss": spatial + self.temporal * temporal, **logged, **result}

    def _segments(self, encodings: Encodings, name: str) -> tuple[Tensor, Tensor]:
        """(S,) ascending ids of the batch's tracks in frame `name`, and the (S, dim) mean feature of each.

        The ids are in the host's memory.
        """
        index, track = self._tracked(encodings, name)
        ids, group = track.unique(return_inverse=True)
        points = encodings.lidar("a", name).points[encodings.here(index)]
        features = F.normalize(self.spatial.heads.point_head(points).float(), dim=1)
        means = segment_mean(features, encodings.here(group), len(ids))[0]
        return ids, F.normalize(means, dim=1) if self.unit_segments else means

    def _tracked(self, encodings: Encodings, name: str) -> tuple[Tensor, Tensor]:
        """(P,) positions in view "a" of the points of a frame that have a feature and a track, and its id.

        In the host's memory.
        """
        frame = encodings.host.frames[name]
        if frame.tracks is None:
            raise ValueError("Seal needs tracks; run `pc3d regions --kinds tracks` and set `data.regions`")
        index = feature_index(encodings, "a", name)
        kept = (index >= 0) & (frame.tracks >= 0)
        return index[kept], frame.row_batch[kept] * ID_RANGE + frame.tracks[kept]

    def _facts(self, encodings: Encodings, name: str, ids: Tensor) -> dict[str, Tensor]:
        """`sample`, `ids` and `xyz` (mean of their points in frame `name`, in the sweep of t) of tracks."""
        index, track = self._tracked(encodings, name)
        kept = torch.isin(track, ids)
        places = loaded_xyz(encodings.host.frames[name].views["a"], index[kept])
        xyz = segment_mean(places, torch.searchsorted(ids, track[kept]), len(ids))[0]
        xyz, ids = encodings.here(xyz), encodings.here(ids)
        sample = ids // ID_RANGE
        return {"sample": sample, "ids": ids, "xyz": seen_from(encodings, xyz, sample, name)}
