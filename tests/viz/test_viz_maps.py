"""Map pictures show the masks where they are, in the colours of the legend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pc3d.data.map_targets import MAP_CLASSES
from pc3d.geometry.grid import BevGrid
from pc3d.viz.maps import MAP_PALETTE, map_side_by_side, paint_masks

GRID = BevGrid(-20.0, 20.0, -20.0, 20.0, 0.5)
SIDE = (1590 - 60) // 3


def panels(path: Path) -> list[np.ndarray]:
    """The three squares of a picture without a title."""
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return [picture[12 : 12 + SIDE, 15 + i * (SIDE + 15) :][:, :SIDE] for i in range(3)]


def at(panel: np.ndarray, right: float, up: float) -> tuple[int, ...]:
    """Colour at metres right of and ahead of the vehicle."""
    return tuple(panel[int((20 - up) / 40 * SIDE), int((right + 20) / 40 * SIDE)].tolist())


def test_every_class_has_a_colour() -> None:
    assert set(MAP_PALETTE) == set(MAP_CLASSES)
    assert len(set(MAP_PALETTE.values())) == len(MAP_CLASSES)


def test_lines_cover_areas() -> None:
    masks = np.zeros((6, 2, 2), dtype=bool)
    masks[:, 0, 0] = True
    masks[MAP_CLASSES.index("drivable_area"), 1] = True
    masks[MAP_CLASSES.index("ped_crossing"), 1, 1] = True
    picture = paint_masks(masks)
    assert tuple(picture[0, 0]) == MAP_PALETTE["divider"]
    assert tuple(picture[1, 0]) == MAP_PALETTE["drivable_area"]
    assert tuple(picture[1, 1]) == MAP_PALETTE["ped_crossing"]
    assert tuple(picture[0, 1]) not in MAP_PALETTE.values()


@pytest.mark.parametrize("heading", [0.0, np.pi / 2, np.pi])
def test_the_picture_shows_masks_and_differences_in_driving_direction(tmp_path: Path, heading: float) -> None:
    """A walkway 8..12 m ahead and a carpark 8..12 m to the right; the prediction has one of the two."""
    x, y = np.meshgrid(*[-20 + (np.arange(80) + 0.5) * 0.5] * 2)
    ahead = np.cos(heading) * x + np.sin(heading) * y
    right = np.sin(heading) * x - np.cos(heading) * y
    truth = np.zeros((6, 80, 80), dtype=bool)
    truth[2] = (abs(ahead - 10) < 2) & (abs(right) < 2)
    predicted = 0.9 * truth
    truth[4] = (abs(right - 10) < 2) & (abs(ahead) < 2)
    predicted[0, (abs(right + 10) < 2) & (abs(ahead) < 2)] = 0.6
    path = tmp_path / "map.png"
    map_side_by_side(predicted, truth, GRID, path, heading=heading)
    prediction, true, difference = panels(path)
    assert at(prediction, 0, 10) == at(true, 0, 10) == MAP_PALETTE["walkway"]
    assert at(true, 10, 0) == MAP_PALETTE["carpark_area"]
    assert at(prediction, 10, 0) == at(true, -10, 0)
    assert at(prediction, -10, 0) == MAP_PALETTE["drivable_area"]
    assert at(difference, 10, 0) == (255, 64, 64)
    assert at(difference, -10, 0) == (255, 176, 32)
    assert at(difference, 0, 10) == (48, 60, 76)
    # A higher threshold drops the doubtful area.
    map_side_by_side(predicted, truth, GRID, path, heading=heading, threshold=0.7)
    assert at(panels(path)[0], -10, 0) == at(true, -10, 0)


def test_masks_of_another_grid_are_refused(tmp_path: Path) -> None:
    masks = np.zeros((6, 80, 81), dtype=bool)
    with pytest.raises(ValueError, match="expected both \\(6, 80, 80\\)"):
        map_side_by_side(masks, masks, GRID, tmp_path / "map.png")
