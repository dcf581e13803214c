"""The parts of a contrast by name. A new one is a class in its file, a line below, and a test."""

from __future__ import annotations

from collections.abc import Callable

from pc3d.contrast.losses import DCL, InfoNCE
from pc3d.contrast.negatives.hard import Hard
from pc3d.contrast.negatives.labelled import MixedOrdinalNegatives, Ordinal, SameCluster
from pc3d.contrast.negatives.mixed import Mixed
from pc3d.contrast.policy import Part
from pc3d.contrast.positives.geodesic import Geodesic
from pc3d.contrast.positives.mixed_ordinal import MixedOrdinal
from pc3d.contrast.positives.same_region import SameRegion
from pc3d.contrast.regularizers import Alignment, CrossUniformity, Uniformity
from pc3d.contrast.similarity.adaptive import AdaptiveHeads
from pc3d.contrast.similarity.cosine import Cosine, Learned
from pc3d.contrast.similarity.gated import Gated

Registry = dict[str, Callable[..., Part]]
SIMILARITIES: Registry = {
    "AdaptiveHeads": AdaptiveHeads,
    "Cosine": Cosine,
    "Gated": Gated,
    "Learned": Learned,
}
POSITIVES: Registry = {
    "Geodesic": Geodesic,
    "MixedOrdinal": MixedOrdinal,
    "SameRegion": SameRegion,
}
NEGATIVES: Registry = {
    "Hard": Hard,
    "Mixed": Mixed,
    "MixedOrdinalNegatives": MixedOrdinalNegatives,
    "Ordinal": Ordinal,
    "SameCluster": SameCluster,
}
LOSSES: Registry = {"DCL": DCL, "InfoNCE": InfoNCE}
REGULARIZERS: Registry = {
    "Alignment": Alignment,
    "CrossUniformity": CrossUniformity,
    "Uniformity": Uniformity,
}
SLOTS: dict[str, Registry] = {
    "similarity": SIMILARITIES,
    "positives": POSITIVES,
    "negatives": NEGATIVES,
    "loss": LOSSES,
    "regularizers": REGULARIZERS,
}
LISTS = ("positives", "negatives", "regularizers")


def part_type(slot: str, name: str) -> type[Part]:
    """The class of a part."""
    kind = SLOTS[slot][name]
    assert isinstance(kind, type)
    return kind
