"""Simulated sweeps beside the real one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from pc3d.data.errors import DataError
from pc3d.evaluation.realism import compare, histograms, in_cameras, measure, real_sweep, texture_probe
from pc3d.models.image.base import ImageEncoder
from pc3d.sim.cameras import shoot
from pc3d.sim.lidar import scan
from pc3d.sim.sizes import SIZES
from pc3d.sim.world import build_scene


def test_evaluation_realism_real_sweep_by_itself(real_data: Path) -> None:
    points = real_sweep(real_data / "nuscenes")
    assert points.shape == (34688, 5)
    found = measure(points)
    # The shares that the sample's description states.
    assert found["near"] == pytest.approx(0.246, abs=0.005)
    assert found["in_image"] == pytest.approx(0.583, abs=0.01)
    assert found["in_image_far"] == pytest.approx(0.772, abs=0.01)
    for row in compare(points, [points, points]):
        assert row.deviation == pytest.approx(0.0)
        assert row.spread == pytest.approx(0.0)


def test_evaluation_realism_simulator_is_within_thirty_percent(real_data: Path) -> None:
    scenes = [build_scene("x", seed, SIZES["bench"]) for seed in range(70, 76)]
    sweeps = [scan(scene, time).points for scene in scenes for time in (1.0, 8.0)]
    for row in compare(real_sweep(real_data / "nuscenes"), sweeps):
        assert row.deviation < 0.30, row


def test_evaluation_realism_histograms_count_all() -> None:
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-60, 60, (500, 3)), rng.uniform(0, 255, 500)])
    for histogram in histograms(points).values():
        assert histogram.sum() == pytest.approx(1.0)
    # In front of the car, below the horizon: the front camera. Above the roof: none.
    assert in_cameras(np.array([[0.0, 20.0, -1.0], [0.0, 0.1, 30.0]])).tolist() == [True, False]


def test_evaluation_realism_bad_input(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no LIDAR_TOP"):
        real_sweep(tmp_path)
    (tmp_path / "v1.0-x").mkdir()
    rows = [{"filename": "LIDAR_TOP.bin", "is_key_frame": True}]
    (tmp_path / "v1.0-x" / "sample_data.json").write_text(json.dumps(rows))
    np.zeros(7, np.float32).tofile(tmp_path / "LIDAR_TOP.bin")
    with pytest.raises(DataError, match="cut off"):
        real_sweep(tmp_path)
    with pytest.raises(ValueError, match="at least one"):
        compare(np.zeros((1, 5)), [])


class _Colours(ImageEncoder):
    """An encoder whose features are the picture itself."""

    channels, stride, frozen = 3, 1, True

    def forward(self, images: Tensor) -> Tensor:
        return images


def test_evaluation_realism_texture_probe_of_plain_colour_gains_nothing() -> None:
    shots = [shoot(build_scene("x", seed, SIZES["tiny"]), 0.0, "CAM_FRONT") for seed in (1, 2)]
    found = texture_probe(shots[:1], shots[1:], _Colours())
    assert found["classes"] >= 2
    assert 0.0 < found["colour"] < 1.0
    assert found["ratio"] == pytest.approx(1.0, abs=0.05)
