"""The terms of PRC, RAD and FAC by any contrast; without settings the functions of their own files.

`known` are the `region_rows` of the ids of a term, where the caller has them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pc3d.contrast.comparison import Facts
from pc3d.contrast.contrast import Contrast
from pc3d.contrast.foreground import feature_contrast, geometric_contrast
from pc3d.contrast.nce import zero_with_graph
from pc3d.contrast.point_region import SEMANTIC_LESS, RegionRows, plrc, rapc, region_rows
from pc3d.contrast.region_distillation import region_distillation

LOGITS = 2**23
"""At most so many logits at once, 32 MB in float32: FAC's of a sweep are four times as many."""


def contrast_plrc(
    contrast: Contrast,
    temperature: float,
    f: Tensor,
    g: Tensor,
    regions: Tensor,
    extra: Tensor | None,
    facts: Facts,
    generator: torch.Generator,
    known: RegionRows | None = None,
) -> Tensor:
    """`plrc` by a contrast: an anchor's positives are the points of its region. Facts are of the rows."""
    if contrast.plain:
        return plrc(f, g, regions, temperature, extra, known)
    anchors = (known or region_rows(regions)).front
    same = regions[anchors, None] == regions[None, :]
    same = same if extra is None else torch.nn.functional.pad(same, (0, len(extra)))
    candidates = g if extra is None else torch.cat([g, extra])
    return _chosen(contrast, anchors, f, candidates, anchors, ~same, generator, facts, same)


def contrast_rapc(
    contrast: Contrast,
    temperature: float,
    f: Tensor,
    g: Tensor,
    regions: Tensor,
    extra: Tensor | None,
    facts: Facts,
    generator: torch.Generator,
) -> Tensor:
    """`rapc` by a contrast: the other points of an anchor's region are no negatives."""
    if contrast.plain:
        return rapc(f, g, regions, temperature, extra)
    same = (regions[:, None] == regions[None, :]) & (regions[None, :] != SEMANTIC_LESS)
    return contrast.pair(f, g, generator, same, extra, facts)


def contrast_region_distillation(
    contrast: Contrast,
    temperature: float,
    students: Tensor,
    teachers: Tensor,
    regions: Tensor,
    mask_own_region: bool,
    facts: Facts,
    generator: torch.Generator,
    known: RegionRows | None = None,
) -> Tensor:
    """`region_distillation` by a contrast: each region weighs the same."""
    if contrast.plain:
        return region_distillation(students, teachers, regions, temperature, mask_own_region, known)
    known = known or region_rows(regions)
    anchors = known.front
    if not len(anchors):
        return zero_with_graph(students, teachers)
    negative = torch.ones(len(anchors), len(teachers), dtype=torch.bool, device=regions.device)
    if mask_own_region:
        negative &= regions[anchors, None] != regions[None, :]
    negative.scatter_(1, anchors[:, None], False)
    weights = 1 / known.size
    return _chosen(contrast, anchors, students, teachers, anchors, negative, generator, facts, None, weights)


def contrast_geometric(
    contrast: Contrast,
    temperature: float,
    features: Tensor,
    keys: Tensor,
    segments: Tensor,
    facts: Facts,
    generator: torch.Generator,
    known: RegionRows | None = None,
) -> Tensor:
    """`geometric_contrast` by a contrast, of the same (K,) points on both sides.

    Anchors are those of a segment.
    """
    anchors = (known or region_rows(segments)).front
    if contrast.plain:
        return geometric_contrast(
            features[anchors], keys, segments[anchors], segments, temperature, _block(keys)
        )
    same = segments[anchors, None] == segments[None, :]
    return _chosen(contrast, anchors, features, keys, anchors, ~same, generator, facts, same)


def contrast_feature(
    contrast: Contrast,
    temperature: float,
    features: Tensor,
    keys: Tensor,
    segments: Tensor,
    matches: int,
    facts: Facts,
    generator: torch.Generator,
    known: RegionRows | None = None,
) -> Tensor:
    """`feature_contrast` by a contrast, of the same (K,) points on both sides.

    Positives are the foreground keys most like an anchor, negatives the background.
    """
    known = known or region_rows(segments)
    front, back = known.front, known.back
    if contrast.plain or not (len(front) and len(back)):
        return feature_contrast(features[front], keys[front], keys[back], temperature, matches, _block(keys))
    with torch.no_grad():
        likeness = features[front].float() @ keys[front].float().T
        top = likeness.topk(min(matches, len(front)), dim=1).indices
    positive = torch.zeros(len(front), len(keys), dtype=torch.bool, device=keys.device)
    positive.scatter_(1, front[top], True)
    negative = (segments == SEMANTIC_LESS)[None].expand(len(front), -1)
    return _chosen(contrast, front, features, keys, front[top[:, 0]], negative, generator, facts, positive)


def _block(keys: Tensor) -> int | None:
    """Anchors at a time on a GPU, so that no more than `LOGITS` are held; all at once on a CPU."""
    return max(LOGITS // max(len(keys), 1), 1) if keys.is_cuda else None


def _chosen(
    contrast: Contrast,
    anchors: Tensor,
    features: Tensor,
    keys: Tensor,
    own: Tensor,
    negative: Tensor,
    generator: torch.Generator,
    facts: Facts,
    positive: Tensor | None = None,
    rows: Tensor | None = None,
) -> Tensor:
    """Some (A,) of the matched rows of both sides as anchors, the others as candidates; with regularizers.

    `own` is each anchor's positive among the keys; the others are as in `Contrast.grouped`.
    """
    ours, theirs = features[anchors], keys[anchors]
    known = {name: value[anchors] for name, value in facts.items()}
    contrast.look(ours, theirs, known, known)
    loss = contrast.grouped(ours, keys, own, negative, generator, positive, rows, known, facts)
    return loss + contrast.regularized(ours, theirs, known)
