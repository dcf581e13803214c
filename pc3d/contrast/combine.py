"""Which parts of a contrast go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EXCLUDE: tuple[tuple[str, str, str], ...] = (
    ("SameCluster", "ClusterWeights", "one keeps the negatives of the same cluster, the other drops them"),
    ("SemiHard", "Mixed", "one picks half-hard negatives, the other mixes the hardest"),
    ("Gated", "Mixed", "rows are mixed in the space without gates"),
    ("Gated", "Hallucinated", "rows are made in the space without gates"),
    ("AdaptiveHeads", "Mixed", "rows are mixed in one space, and it has several"),
    ("AdaptiveHeads", "Hallucinated", "rows are made in one space, and it has several"),
    ("AdaptiveHeads", "Hard", "it judges the hardest negatives by itself"),
)
"""Pairs of types, and why; in the order that the error names them."""


def check_together(settings: Mapping[str, Any], several: bool, two_way: bool) -> None:
    """Refuse parts that exclude each other.

    Raises:
        ValueError: it names both.
    """
    chosen = {
        slot: [config["type"] for config in (value if isinstance(value, (list, tuple)) else [value])]
        for slot, value in settings.items()
        if slot != "block" and value is not None
    }
    names = [name for found in chosen.values() for name in found]
    for one in sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"contrast has {one} twice")
    for one, other, why in EXCLUDE:
        if one in names and other in names:
            raise ValueError(f"{one} and {other} exclude each other: {why}")
    negatives = chosen.get("negatives", [])
    if "Hard" in negatives:
        _check_hard(settings, negatives, several or bool(chosen.get("positives")))
    if (loss := settings.get("loss")) is not None:
        if loss["type"] != "DCL" and (weights := {"ClusterWeights", "LearnedWeights"} & set(negatives)):
            raise ValueError(
                f"{sorted(weights)[0]} and {loss['type']} exclude each other: it is DCL with weights; leave "
                "`loss` out"
            )
        if loss.get("smoothing") and (several or chosen.get("positives")):
            raise ValueError("smoothing and several positives exclude each other: it spreads one target")
        if two_way and (loss.get("symmetric") or loss.get("own_view")):
            raise ValueError("this objective compares the rows of both sides in both directions already")


def _check_hard(settings: Mapping[str, Any], negatives: list[str], several: bool) -> None:
    hard = next(config for config in settings["negatives"] if config["type"] == "Hard")
    if "Mixed" in negatives and negatives.index("Mixed") > negatives.index("Hard"):
        raise ValueError("Mixed comes before Hard in `negatives`, so that Hard weighs the mixed rows, too")
    if hard.get("prior") and "Mixed" in negatives:
        raise ValueError("Hard's prior and Mixed exclude each other: mixed rows are no draws from the data")
    if hard.get("prior") and several:
        raise ValueError(
            "Hard's prior and several positives exclude each other: it takes off e^p of one positive"
        )
