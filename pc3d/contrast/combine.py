"""Which parts of a contrast go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pc3d.contrast.registry import part_type
from pc3d.contrast.similarity.cosine import Similarity

EXCLUDE: tuple[tuple[str, str, str], ...] = (
    ("SameCluster", "ClusterWeights", "one keeps the negatives of the same cluster, the other drops them"),
    ("SemiHard", "Mixed", "one picks half-hard negatives, the other mixes the hardest"),
    ("Gated", "Mixed", "rows are mixed in the space without gates"),
    ("Gated", "Hallucinated", "rows are made in the space without gates"),
    ("Gated", "MixedOrdinalNegatives", "rows are mixed in the space without gates"),
    ("Gated", "SameCluster", "one has negatives of neither label, the other of the anchor's"),
    ("AdaptiveHeads", "Mixed", "rows are mixed in one space, and it has several"),
    ("AdaptiveHeads", "Hallucinated", "rows are made in one space, and it has several"),
    ("AdaptiveHeads", "MixedOrdinalNegatives", "rows are mixed in one space, and it has several"),
    ("AdaptiveHeads", "ClusterWeights", "one is DCL with weights, the other has its own loss"),
    ("AdaptiveHeads", "LearnedWeights", "one is DCL with weights, the other has its own loss"),
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
    _check_similarity(settings, chosen.get("positives", []), several)
    negatives = chosen.get("negatives", [])
    several = several or bool(chosen.get("positives")) or chosen.get("similarity") == ["Gated"]
    if "Hard" in negatives:
        _check_hard(settings, negatives, several)
    if (loss := settings.get("loss")) is not None:
        if loss["type"] != "DCL" and (weights := {"ClusterWeights", "LearnedWeights"} & set(negatives)):
            raise ValueError(
                f"{sorted(weights)[0]} and {loss['type']} exclude each other: it is DCL with weights; leave "
                "`loss` out"
            )
        if loss.get("smoothing") and several:
            raise ValueError("smoothing and several positives exclude each other: it spreads one target")
        if two_way and (loss.get("symmetric") or loss.get("own_view")):
            raise ValueError("this objective compares the rows of both sides in both directions already")


def _check_similarity(settings: Mapping[str, Any], positives: list[str], several: bool) -> None:
    """A similarity with a loss, or positives, of its own."""
    config, loss = settings.get("similarity"), settings.get("loss")
    if config is None:
        return
    name, kind = config["type"], part_type("similarity", config["type"])
    assert issubclass(kind, Similarity)
    if kind.own_loss and loss is not None:
        raise ValueError(
            f"{name} and {loss['type']} exclude each other: it has its own loss; leave `loss` out"
        )
    if kind.form and loss and (loss["type"], loss.get("form", "out")) != ("InfoNCE", kind.form):
        raise ValueError(
            f"{name} and {loss['type']} exclude each other: it goes with InfoNCE's form {kind.form!r} only; "
            "leave `loss` out"
        )
    if positives and (kind.own_loss or kind.form):
        raise ValueError(f"{name} and {positives[0]} exclude each other: it says itself what is a positive")
    if several and kind.own_loss:
        raise ValueError(f"{name} and several positives exclude each other: it judges the own one only")


def _check_hard(settings: Mapping[str, Any], negatives: list[str], several: bool) -> None:
    hard = next(config for config in settings["negatives"] if config["type"] == "Hard")
    for mixed in sorted({"Mixed", "MixedOrdinalNegatives"} & set(negatives)):
        if negatives.index(mixed) > negatives.index("Hard"):
            raise ValueError(
                f"{mixed} comes before Hard in `negatives`, so that Hard weighs the mixed rows, too"
            )
        if hard.get("prior"):
            raise ValueError(
                f"Hard's prior and {mixed} exclude each other: mixed rows are no draws from the data"
            )
    if hard.get("prior") and several:
        raise ValueError(
            "Hard's prior and several positives exclude each other: it takes off e^p of one positive"
        )
