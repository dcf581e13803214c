"""Spatiotemporal flow contrast (SuperFlow, ECCV 2024, arXiv 2407.06190; SuperFlow++, arXiv 2503.19912)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pc3d.contrast.build import build_contrast, contrast_needs
from pc3d.contrast.contrast import Contrasts
from pc3d.contrast.gather import rows_of_other_ranks
from pc3d.contrast.nce import info_nce
from pc3d.data.batch import Needs
from pc3d.models.build import require_weight
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar.base import LidarEncoder
from pc3d.objectives.base import Objective, compared, contrasted
from pc3d.objectives.encodings import Encodings
from pc3d.objectives.facts import GROUP_FACTS, SEMANTIC_FACTS, group_facts
from pc3d.objectives.groups import ID_RANGE, SuperpixelGroups, shared_groups
from pc3d.objectives.superflow_views import MultiView
from pc3d.objectives.superpixel import SuperpixelContrast
from pc3d.objectives.superpixel_heads import SuperpixelHeads

TIMES = ("t", "t-1", "t+1")
D2S_FORMS = ("nce", "cosine")
BY_CLASS = ("ClusterWeights", "SameCluster")


@dataclass(frozen=True)
class Side:
    """One side of a comparison: (S, dim) features of groups of a frame, the (S,) `index` of them or all."""

    features: Tensor
    groups: SuperpixelGroups
    frame: str
    index: Tensor | None = None

    @property
    def ids(self) -> Tensor:
        """(S,) ids of the groups."""
        return self.groups.ids if self.index is None else self.groups.ids[self.index]

    def facts(self, encodings: Encodings, kind: str, place_in: str) -> dict[str, Tensor]:
        """Facts of the groups, see `group_facts`."""
        found = group_facts(encodings, self.groups, kind, self.frame, place_in)
        return found if self.index is None else {name: value[self.index] for name, value in found.items()}


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
        contrast: other parts of the contrasts than InfoNCE's, see `pc3d.contrast.build` (our option); each
            term of weight above 0 has its own, but for d2s_form `cosine`.
        multi_view: one loss of several views in place of the four terms, see `MultiView` (our option).
    """

    needs = Needs(images=True, neighbour_images=True, semantics=True, frames=("t", "t-1", "t+1", "dense"))
    reads_image = True
    views: MultiView | None
    learns_from = SuperpixelContrast.learns_from
    later: ClassVar[Mapping[str, Any]] = {"contrast": None, "multi_view": None}
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
        contrast: Mapping[str, Any] | None = None,
        multi_view: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if d2s_form not in D2S_FORMS:
            raise ValueError(f"unknown d2s_form {d2s_form!r}; known: {', '.join(D2S_FORMS)}")
        if ids == "superpixels" and (temporal or cross) and multi_view is None:
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
        self.contrasts, self.views = Contrasts(), None
        if multi_view is None:
            self._separate(contrast, dim)
        else:
            self._together(multi_view, contrast)

    def _separate(self, contrast: Mapping[str, Any] | None, dim: int) -> None:
        """A contrast of its own for each term that has one."""
        facts = SEMANTIC_FACTS if self.heads.ids == "semantics" else GROUP_FACTS
        for name, weight in self.weights.items():
            if weight and (name, self.d2s_form) != ("d2s", "cosine"):
                self.contrasts[name] = build_contrast(
                    contrast, self.temperature, dim, facts, self.gather, self.heads.renormalise
                )
        chosen = {type(part).__name__ for part in self.contrasts.modules()}
        for name in BY_CLASS if self.mask_same_class else ():
            if name in chosen:
                raise ValueError(
                    f"mask_same_class and {name} exclude each other: one leaves negatives of the class out, "
                    "the other weighs them"
                )

    def _together(self, multi_view: Mapping[str, Any], contrast: Mapping[str, Any] | None) -> None:
        """One loss of several views; what it does not read is refused beside it."""
        given: dict[str, Any] = {**self.weights, "contrast": contrast or None, "d2s_form": self.d2s_form}
        given |= {"mask_same_class": self.mask_same_class, "gather": self.gather}
        defaults = signature(SuperFlow).parameters
        for name, value in given.items():
            if value != defaults[name].default:
                raise ValueError(
                    f"multi_view and {name} exclude each other: one loss stands for all terms, and {name} is "
                    f"{value!r}; leave it out"
                )
        self.views = MultiView(multi_view, self.heads, self.temperature, self.mask_movers)
        self.terms = {"views": "no segment is in all views of `multi_view`"}
        self.learns_from = "segment that all views of `multi_view` show"

    @classmethod
    def needs_of(cls, config: Mapping[str, Any]) -> Needs:
        frames = TIMES if not config.get("d2s", 1.0) else cls.needs.frames
        needs = replace(cls.needs, frames=frames, semantics=False, tracks=config.get("mask_movers", False))
        if isinstance(config.get("multi_view"), Mapping):
            needs = MultiView.needs_of(config["multi_view"], needs)
        ids: dict[str, Any] = {config.get("ids", "semantics"): True}
        return replace(needs, **ids) | contrast_needs(config.get("contrast"))

    def forward(self, encodings: Encodings) -> dict[str, Tensor]:
        if self.views is not None:
            result: dict[str, Tensor] = self.views(encodings, self.heads)
            return result
        groups = {time: self.heads.groups(encodings, time) for time in TIMES}
        superpoints = {time: self.heads.superpoints(encodings, time, groups[time]) for time in TIMES}
        superpixels = {time: self.heads.superpixels(encodings, time, groups[time]) for time in TIMES}
        q = {time: Side(superpoints[time], groups[time], time) for time in TIMES}
        k = {time: Side(superpixels[time], groups[time], time) for time in TIMES}
        terms = {"spatial": [self._nce("spatial", encodings, q[t], k[t]) for t in TIMES]}
        still = self._without_movers(encodings) if self.mask_movers else q
        if self.weights["d2s"]:
            terms["d2s"] = [self._d2s(encodings, still["t"])]
        for name, others in (("temporal", still), ("cross", k)):
            if self.weights[name]:
                pairs = [_shared(still["t"], others[t]) for t in TIMES[1:]]
                terms[name] = [self._nce(name, encodings, a, b) for a, b in pairs]
        means = {name: torch.stack([loss for loss, _ in parts]).mean() for name, parts in terms.items()}
        counts = {name: torch.stack([count for _, count in parts]).sum() for name, parts in terms.items()}
        now = groups["t"]
        logged = {
            **{name: value.detach() for name, value in means.items()},
            **{f"{name}_examples": counts[name] for name in self.terms if name in counts},
            "examples": counts["spatial"],
            "groups": torch.tensor(float(now.count)),
            "point_share": now.point_share(encodings.batch.now),
        }
        loss = torch.stack([self.weights[name] * value for name, value in means.items()]).sum()
        collapse = encodings.collapse(superpoints["t"], superpixels["t"])
        return {"loss": loss, **logged, **self.contrasts.logged(), **collapse}

    def _nce(self, term: str, encodings: Encodings, a: Side, b: Side) -> tuple[Tensor, Tensor]:
        """The loss, and how many anchors it learned from."""
        ignore = None
        if self.mask_same_class:
            kind = a.ids % ID_RANGE
            ignore = kind[:, None] == kind[None, :]
        extra = rows_of_other_ranks(b.features) if self.gather else None
        count = contrasted(a.features, extra)
        if ignore is not None:
            count = count.to(a.features.device) * (~ignore).any()
        if term not in self.contrasts:  # of weight 0, and only logged
            return info_nce(a.features, b.features, self.temperature, ignore, extra), count
        contrast = self.contrasts.of(term)
        facts = compared(contrast, partial(a.facts, encodings, self.heads.ids, a.frame))
        others = compared(contrast, partial(b.facts, encodings, self.heads.ids, a.frame))
        loss = contrast.pair(a.features, b.features, encodings.generator, ignore, extra, facts, others)
        return loss, count

    def _d2s(self, encodings: Encodings, sparse: Side) -> tuple[Tensor, Tensor]:
        dense = self.heads.groups(encodings, "dense")
        a, b = _shared(sparse, Side(self.heads.superpoints(encodings, "dense", dense), dense, "dense"))
        if self.d2s_form == "nce":
            return self._nce("d2s", encodings, a, b)
        # A sum over the number of groups: 0 with a graph where there is none.
        distance = (1 - F.cosine_similarity(a.features, b.features)).sum() / max(len(a.features), 1)
        return distance, torch.tensor(float(len(a.features)))

    def _without_movers(self, encodings: Encodings) -> dict[str, Side]:
        """Superpoints of the points that stand still; of t-1 no motion is known."""
        frames = encodings.host.frames
        groups = {time: self.heads.groups(encodings, time, frames[time].moving) for time in TIMES}
        return {t: Side(self.heads.superpoints(encodings, t, groups[t]), groups[t], t) for t in TIMES}


def _shared(one: Side, other: Side) -> tuple[Side, Side]:
    """Both sides with the groups that both have."""
    a, b = shared_groups(one.groups, other.groups)
    return (
        replace(one, features=one.features[a], index=a),
        replace(other, features=other.features[b], index=b),
    )
