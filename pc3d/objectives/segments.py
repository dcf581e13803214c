"""Which cached ids of points an objective takes for its segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from pc3d.data.batch import FrameBatch, Needs

SEGMENTS = {"clusters": "regions", "supervoxels": "supervoxels", "objects": "objects"}
"""Kind of segment, as `pc3d regions` names it, and the field of the batch that holds it."""


def segments_field(segments: str) -> str:
    """The field of the batch with these segments.

    Raises:
        ValueError: an unknown kind.
    """
    if segments not in SEGMENTS:
        raise ValueError(f"unknown segments {segments!r}; known: {', '.join(SEGMENTS)}")
    return SEGMENTS[segments]


def with_segments(needs: Needs, config: Mapping[str, Any]) -> Needs:
    """`needs`, and the ids of the `segments` that an objective's arguments name, by default clusters."""
    ids: dict[str, Any] = {SEGMENTS.get(config.get("segments", "clusters"), "regions"): True}
    return replace(needs, **ids)


def segments_of(frame: FrameBatch, field: str, objective: str) -> Tensor:
    """(num_points,) segment of each row.

    Raises:
        ValueError: the batch holds none.
    """
    ids: Tensor | None = getattr(frame, field)
    if ids is None:
        what = "region ids" if field == "regions" else field
        raise ValueError(f"{objective} needs {what}; run `pc3d regions` and set `data.regions`")
    return ids
