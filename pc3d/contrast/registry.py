"""The parts of a contrast by name. A new one is a class in its file, a line below, and a test."""

from __future__ import annotations

from collections.abc import Callable

from pc3d.contrast.list_losses import CACR, MVDHEL, ListLoss, MVInfoNCE
from pc3d.contrast.losses import DCL, InfoNCE
from pc3d.contrast.negatives.clusters import ClusterWeights, LearnedWeights
from pc3d.contrast.negatives.hard import Hard
from pc3d.contrast.negatives.labelled import MixedOrdinalNegatives, Ordinal, SameCluster
from pc3d.contrast.negatives.mixed import Mixed
from pc3d.contrast.negatives.semi_hard import SemiHard
from pc3d.contrast.policy import Part
from pc3d.contrast.positives.geodesic import Geodesic
from pc3d.contrast.positives.hallucinated import Hallucinated
from pc3d.contrast.positives.memory import Memory
from pc3d.contrast.positives.mixed_ordinal import MixedOrdinal
from pc3d.contrast.positives.near import Near
from pc3d.contrast.positives.pseudo_label import PseudoLabel
from pc3d.contrast.positives.same_region import SameRegion
from pc3d.contrast.prototype_nce import ProtoNCE
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
    "Hallucinated": Hallucinated,
    "Memory": Memory,
    "MixedOrdinal": MixedOrdinal,
    "Near": Near,
    "PseudoLabel": PseudoLabel,
    "SameRegion": SameRegion,
}
NEGATIVES: Registry = {
    "ClusterWeights": ClusterWeights,
    "Hard": Hard,
    "LearnedWeights": LearnedWeights,
    "Mixed": Mixed,
    "MixedOrdinalNegatives": MixedOrdinalNegatives,
    "Ordinal": Ordinal,
    "SameCluster": SameCluster,
    "SemiHard": SemiHard,
}
LOSSES: Registry = {"DCL": DCL, "InfoNCE": InfoNCE}
REGULARIZERS: Registry = {
    "Alignment": Alignment,
    "CrossUniformity": CrossUniformity,
    "ProtoNCE": ProtoNCE,
    "Uniformity": Uniformity,
}
LIST_LOSSES: dict[str, Callable[..., ListLoss]] = {"CACR": CACR, "MVDHEL": MVDHEL, "MVInfoNCE": MVInfoNCE}
"""Losses of several views at once, which objectives with such views take."""
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
