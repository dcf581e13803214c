"""The table by its lines, the picture by its colours, and names that stand apart."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.optimize import minimize

from pc3d.evaluation.label_multiplier import LabelMultiplier, label_multiplier
from pc3d.evaluation.label_multiplier_report import plot, spread, to_markdown


@pytest.fixture(scope="module")
def starts() -> dict[str, LabelMultiplier]:
    random = {(w, 0): {1.0: 0.2 + w / 100, 10.0: 0.3 + w / 100, 100.0: 0.4 + w / 100} for w in range(3)}

    def start(gain: float, share: float = 1.0) -> LabelMultiplier:
        return label_multiplier(random, {run: scores[share] + gain for run, scores in random.items()}, share)

    two = {run: scores for run, scores in random.items() if run[0] < 2}
    return {
        "same": start(0.1),
        "better": start(0.15, 10.0),
        "few": replace(label_multiplier(two, dict.fromkeys(two, 0.3), 1.0), curve=start(0).curve),
    }


def test_table(starts: dict[str, LabelMultiplier]) -> None:
    lines = to_markdown(starts, "mIoU").splitlines()
    assert lines[0].startswith("| start | labels | mIoU | random start needs | label multiplier [95 %] |")
    assert lines[2] == "| same | 1 % | 31.0 | 10 % | 10 [10 to 10] | 50 % [50 to 50] |"
    assert lines[3] == "| better | 10 % | 46.0 | >100 % | >10 [>10 to >10] | 150 % [150 to 150] |"
    assert "Random start, mIoU by label share: 1 %: 21.0, 10 %: 31.0, 100 %: 41.0." in lines
    assert lines[-2] == "- same, better: 3 worlds, 3 runs"
    assert lines[-1] == "- few: 2 worlds, 2 runs; too few worlds for a bootstrap"


def test_picture(starts: dict[str, LabelMultiplier], tmp_path: Path) -> None:
    plot(starts, tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)

    def columns(colour: tuple[int, int, int]) -> np.ndarray:
        """Of the longest line of a colour: the arrow."""
        hits = (np.abs(pixels - colour).max(axis=2) < 8).astype(int)
        runs = np.zeros_like(hits)
        for column in range(1, hits.shape[1]):
            runs[:, column] = (runs[:, column - 1] + 1) * hits[:, column]
        end = int(runs.max(axis=0).argmax())
        return np.arange(end - runs.max(), end) + 1

    same, better, few = columns((31, 119, 180)), columns((255, 127, 14)), columns((44, 160, 44))
    assert abs(same.min() - few.min()) < 3  # both start at 1 %
    # From 1 to 10 %, and from 10 % past 100 %: where one ends, the other starts, and it is longer.
    assert same.max() == pytest.approx(better.min(), abs=16)
    assert better.max() - better.min() > 1.1 * (same.max() - same.min())


def test_what_cannot_be_shown(starts: dict[str, LabelMultiplier], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no start"):
        to_markdown({})
    other = replace(starts["same"], curve=replace(starts["same"].curve, means=(0.1, 0.2, 0.3)))
    with pytest.raises(ValueError, match="a and b have different curves"):
        plot({"a": starts["same"], "b": other}, tmp_path / "m.png")
    assert not list(tmp_path.iterdir())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=5))
def test_names_are_apart_and_near(heights: list[float]) -> None:
    found = spread(heights, 1.0)
    order = np.argsort(heights, kind="stable")
    assert (np.diff(np.array(found)[order]) > 1 - 1e-9).all()
    # The nearest in squares: what a solver finds is not nearer.
    gaps = [{"type": "ineq", "fun": lambda x, a=a, b=b: x[b] - x[a] - 1} for a, b in pairwise(order)]
    moved = minimize(lambda x: np.sum((x - heights) ** 2), np.array(found) + 0.1, constraints=gaps)
    assert np.sum((np.array(found) - heights) ** 2) <= moved.fun + 1e-5
