"""What the shared tests of the parts of a contrast know of each part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from engine_cases import contrast_of, generator, unit
from torch import Tensor

from pc3d.contrast.comparison import FACTS
from pc3d.contrast.contrast import Contrast
from pc3d.contrast.policy import Part
from pc3d.contrast.registry import LISTS, SLOTS

WIDTH = 6
SMALL: dict[str, dict[str, Any]] = {
    "AdaptiveHeads": {"heads": 2},
    "Alignment": {},
    "ClusterWeights": {"counts": (2, 3), "queue": 12, "every": 1},
    "Cosine": {"temperature": 1.0},
    "CrossUniformity": {},
    "DCL": {},
    "Gated": {"classes": 3, "width": 4},
    "Geodesic": {"neighbours": 2, "likeness": 0.2},
    "Hallucinated": {"prototypes": 3, "count": 4, "queue": 12, "every": 1},
    "Hard": {},
    "InfoNCE": {},
    "Learned": {"init": 1.0},
    "LearnedWeights": {"hidden": 3},
    "Memory": {"prototypes": 3, "rows": 12, "neighbours": 2},
    "Mixed": {"hardest": 4, "pairs": 3, "with_anchor": 2},
    "MixedOrdinal": {"window": 8.0, "count": 3},
    "MixedOrdinalNegatives": {"count": 3},
    "Near": {"radius": 3.0},
    "Ordinal": {},
    "ProtoNCE": {"counts": (2, 3), "queue": 12, "every": 1},
    "PseudoLabel": {"clusters": 3, "queue": 12, "every": 1},
    "SameCluster": {},
    "SameRegion": {},
    "SemiHard": {"pool": 0.6, "count": 0.4},
    "Uniformity": {},
}
"""Arguments of every part for tests: a part without an entry fails the tests."""
EACH_RANK = {
    "Hallucinated": "a rank's mean is over the positives that it keeps",
    "ProtoNCE": "a regularizer reads the pairs of its own rank",
    "CrossUniformity": "a regularizer reads the pairs of its own rank",
    "Uniformity": "a regularizer reads the pairs of its own rank",
}
"""Parts whose value on two ranks is not that of all rows, and why."""
PARTS = [(slot, name) for slot in SLOTS for name in sorted(SLOTS[slot])]


def small(name: str) -> dict[str, Any]:
    assert name in SMALL, f"{name} is registered, but has no entry in SMALL of tests/engine_parts.py"
    return SMALL[name]


def settings_of(slot: str, name: str, **arguments: Any) -> dict[str, Any]:
    """Section `contrast` with this part alone."""
    config = {"type": name, **small(name), **arguments}
    return {slot: [config] if slot in LISTS else config}


def contrast_with(slot: str, name: str, temperature: float = 0.5, **arguments: Any) -> Contrast:
    """A contrast with this part, in float64, with the same weights each time."""
    torch.manual_seed(5)
    settings = settings_of(slot, name, **arguments)
    return contrast_of(dim=WIDTH, temperature=temperature, facts=tuple(FACTS), **settings)


def neutral(slot: str, name: str) -> Mapping[str, Any] | None:
    kind = SLOTS[slot][name]
    assert isinstance(kind, type)
    assert issubclass(kind, Part)
    return kind.neutral


def facts_of(count: int, seed: int = 0) -> dict[str, Tensor]:
    """All facts of (count,) rows, random and fixed."""
    source = generator(100 + seed)
    return {
        "sample": torch.randint(0, 2, (count,), generator=source),
        "ids": torch.randperm(3 * count + 1, generator=source)[:count],
        "xyz": torch.randn(count, 3, generator=source, dtype=torch.float64) * 4,
        "time": torch.randint(0, 4, (count,), generator=source).double() / 2,
        "labels": torch.randint(-1, 3, (count,), generator=source),
    }


def rows(count: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Two sides, with gradient."""
    return unit(count, WIDTH, 2 * seed).requires_grad_(), unit(count, WIDTH, 2 * seed + 1).requires_grad_()


def commit(contrast: Contrast) -> None:
    """What a step does after its losses."""
    for part in contrast.parts():
        part.commit()


def warm(contrast: Contrast, steps: int = 6, count: int = 8) -> Contrast:
    """After some steps of training, so that queues are filled."""
    for step in range(steps):
        a, b = rows(count, 50 + step)
        contrast.pair(a, b, generator(step), facts=facts_of(count, 50 + step))
        commit(contrast)
    return contrast
