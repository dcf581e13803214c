"""A place for each fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Place


@pytest.fixture
def place(tmp_path: Path, tiny_nuscenes: Path, tiny_index: Path, tiny_regions: Path) -> Place:
    return Place(tmp_path, tiny_nuscenes, tiny_index, tiny_regions)


@pytest.fixture
def real_place(place: Place, real_data: Path) -> Place:
    """A place with the real samples; skipped without them."""
    return Place(place.tmp, place.sound_root, place.index, place.regions, real_data)
