"""One small world of the demo, from its index to its scores."""

from __future__ import annotations

from pathlib import Path

import pytest

from pc3d.data.index import SweepIndex
from pc3d.demo import world as demo_world
from pc3d.demo.simulated import run
from pc3d.demo.world import PRETRAINED, TRAIN, VAL, World, score_world
from pc3d.engine.checkpoints import frames_of
from pc3d.evaluation.label_efficiency import RANDOM
from pc3d.evaluation.protocol.data import draw_points, spread_key_frames
from pc3d.evaluation.protocol.features import hand_made
from pc3d.evaluation.protocol.networks import Backbone
from pc3d.evaluation.protocol.probes import probe

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SMALL = {
    "lidar.widths": (4, 4, 8, 8, 8, 8, 8, 8),
    "lidar.stem": 4,
    "lidar.voxel_size": (0.5, 0.5, 0.5),
    "data.workers": 0,
    "schedule.iterations": 2,
    "runtime.log_every": 1,
    "runtime.log_level": "WARNING",
}


def test_a_world_is_scored_once_beside_its_references(
    tiny_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_world, "POINTS", 60)
    monkeypatch.setattr(demo_world, "SWEEPS", (3, 2))
    (tmp_path / "index").symlink_to(tiny_index)
    world = World(0, 0, tmp_path, CONFIGS, SMALL)
    found = score_world(world)

    index = SweepIndex.open(tiny_index)
    parts = [draw_points(index, spread_key_frames(index, s, n), 60) for s, n in ((TRAIN, 3), (VAL, 2))]
    x, y = (hand_made(part).values for part in parts)
    expected = probe(x, parts[0].labels, y, parts[1].labels, parts[0].num_classes)["logistic"]["miou"]
    assert found.probed("hand-made") == pytest.approx(100 * expected)

    assert found.frames == (1, len(index.key_rows(TRAIN)))
    assert found.steps == (2, 2)
    assert set(found.tuned) == {RANDOM, PRETRAINED}
    models = [found.random, found.run / "backbone.safetensors", *found.segmenters.values()]
    for model in models:
        assert Backbone.of(model).config["in_channels"] == 17, "every start has the same input columns"
        assert tuple(frames_of(model).features) == ("intensity", "statistics")

    def trained() -> None:
        raise AssertionError("nothing is done twice")

    monkeypatch.setattr(demo_world, "reference_table", trained)
    again = score_world(world)
    assert again.probes == found.probes
    assert again.tuned == found.tuned


def test_no_world_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 worlds"):
        run(tmp_path / "demo", CONFIGS, "tiny", count=0)
    with pytest.raises(ValueError, match="iterations"):
        run(tmp_path / "demo", CONFIGS, "tiny", overrides={"schedule.iterations": -1})
    assert not (tmp_path / "demo").exists()
