"""Ids that mean the same in every camera, at every time and in every sample, by one of several sources."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from pc3d.data.index import SweepIndex
from pc3d.data.records import Sweep
from pc3d.data.region_cache import RegionCache
from pc3d.regions.semantics import oracle, png
from pc3d.regions.semantics.params import SEMANTIC_CLASSES, SemanticParams

__all__ = ["SEMANTIC_CLASSES", "SemanticParams", "prepare", "semantic_ids"]

# The two sources that need torch and a network are imported where they are used.


def prepare(cache: RegionCache, params: SemanticParams, index: SweepIndex) -> None:
    """Make what all id maps of a data set share, once, before any of them: the k-means codebook.

    Raises:
        DataError: there is nothing to fit it on.
    """
    if params.uses_labels:
        warnings.warn("semantics of source 'oracle' are labels: no result is label-free", stacklevel=2)
    if params.source == "kmeans":
        from pc3d.regions.semantics import kmeans

        kmeans.prepare(cache, params, index)


def semantic_ids(sweep: Sweep, params: SemanticParams, cache: RegionCache) -> dict[str, NDArray[np.int16]]:
    """Id maps of the cameras of a key frame.

    Args:
        cache: of these parameters; `prepare` was called with it.

    Returns:
        By camera name an (H, W) int16 map that covers the image, of any resolution; -1 for none.

    Raises:
        DataError: a file is missing or broken.
    """
    if params.source == "kmeans":
        from pc3d.regions.semantics import kmeans

        return kmeans.semantic_ids(sweep, params, cache)
    if params.source == "text":
        from pc3d.regions.semantics import text

        return text.semantic_ids(sweep, params)
    if params.source == "png":
        return png.semantic_ids(sweep, str(params.folder))
    return oracle.semantic_ids(sweep)
