"""The page of `pc3d inspect`: its numbers against plain counts, and that it stands alone."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pc3d.data.classes import ClassSet
from pc3d.data.index import SweepIndex, write_index
from pc3d.data.points import load_sweep
from pc3d.data.readers import open_reader
from pc3d.viz.colours import NEUTRAL
from pc3d.viz.inspect_facts import CELL, REACH, content_facts, sampled_rows, scene_facts, spread
from pc3d.viz.inspect_figures import content_figures
from pc3d.viz.inspect_page import write_inspection
from pc3d.viz.inspect_plots import bars, density_map, histogram, map_of_drives, value_histogram


@pytest.fixture(scope="module")
def index(tiny_index: Path) -> SweepIndex:
    return SweepIndex.open(tiny_index)


@pytest.mark.parametrize(("count", "wanted"), [(0, 5), (1, 5), (5, 5), (100, 7), (3, 10), (10, 1)])
def test_spread_is_even_and_no_longer_than_wanted(count: int, wanted: int) -> None:
    found = spread(count, wanted)
    assert len(found) == min(count, wanted)
    assert found == sorted(set(found))
    if len(found) > 1:
        assert (found[0], found[-1]) == (0, count - 1)
        assert np.ptp(np.diff(found)) <= 1


def test_facts_of_scenes_are_those_of_all_rows(index: SweepIndex) -> None:
    total, scenes = scene_facts(index)
    sweeps = [index[row] for row in range(len(index))]
    counts = Counter(sweep.scene for sweep in sweeps)
    assert total == len(scenes) == len(counts)
    for scene in scenes:
        own = [sweep for sweep in sweeps if sweep.scene == scene.name]
        assert (scene.sweeps, scene.key_frames) == (len(own), sum(sweep.is_key_frame for sweep in own))
        assert scene.seconds == pytest.approx((own[-1].timestamp - own[0].timestamp) / 1e6)
        stamps = [sweep.timestamp for sweep in own]
        np.testing.assert_allclose(scene.steps, np.diff(stamps) / 1e6)
        way = sum(
            float(np.hypot(*(b.world_SE3_ego[:2, 3] - a.world_SE3_ego[:2, 3]))) for a, b in pairwise(own)
        )
        assert scene.metres == pytest.approx(way)


def test_long_scenes_are_sampled_in_pairs(index: SweepIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pc3d.viz.inspect_facts.ROWS", 4)
    _, scenes = scene_facts(index, 2)
    assert len(scenes) == 2
    for scene in scenes:
        assert len(scene.steps) == 2
        assert 2 < len(scene.track) <= 4


def test_content_is_that_of_the_files(index: SweepIndex) -> None:
    rows = sampled_rows(index, 2)
    classes = ClassSet.of(index.metadata)
    assert classes is not None
    facts = content_facts(index, rows, classes)
    assert set(rows) <= set(index.key_rows(None).tolist())
    assert (facts.rows, facts.failed, facts.labelled, facts.annotated) == (rows, [], 2, 2)
    labels: Counter[int] = Counter()
    boxes: Counter[str] = Counter()
    near = 0
    for row in rows:
        sweep = index[row]
        points = load_sweep(sweep)
        assert sweep.lidarseg_path is not None
        assert sweep.boxes is not None
        for raw in np.fromfile(sweep.lidarseg_path, np.uint8).tolist():
            name = classes.labels[raw]
            labels[-1 if name == "ignore" else classes.classes.index(name)] += 1
        boxes.update(sweep.boxes.names)
        ego = points[:, :3] @ sweep.ego_SE3_lidar[:3, :3].T + sweep.ego_SE3_lidar[:3, 3]
        near += int((np.abs(ego[:, :2]) < REACH).all(axis=1).sum())
        assert len(points) in facts.points
    assert facts.labels == labels
    assert {name: sum(map(len, tables)) for name, tables in facts.boxes.items()} == boxes
    assert facts.histograms["range"].sum() == sum(facts.points)
    assert abs(int(facts.density.sum()) - near) <= 2  # points on the edge


def test_the_bars_of_boxes_are_as_long_as_they_say(
    index: SweepIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ClassSet("own", detection=("auto",), boxes={"vehicle.car": "auto"})
    drawn: dict[str, tuple[Any, ...]] = {}

    def bars(shares: Any, colours: Any, path: Path, title: str, *rest: Any) -> None:
        drawn[title] = (shares, colours, *rest)
        Image.new("RGB", (9, 9)).save(path)

    monkeypatch.setattr("pc3d.viz.inspect_figures.bars", bars)
    facts = content_facts(index, sampled_rows(index, 2), own)
    content_figures(facts, own, tmp_path)
    values, colours, label, texts = drawn["boxes by category"]
    assert [f"{value:,}" for value in values.values()] == texts
    assert label == "boxes in 2 annotated sweeps"
    assert values == {name: sum(map(len, tables)) for name, tables in facts.boxes.items()}
    assert len(values) > 1
    grey = [name for name, colour in zip(values, colours.tolist(), strict=True) if tuple(colour) == NEUTRAL]
    assert grey == [name for name in values if name != "vehicle.car"]


def test_density_is_ahead_where_points_are_ahead(index: SweepIndex) -> None:
    facts = content_facts(index, sampled_rows(index, 1), None)
    sweep = index[facts.rows[0]]
    points = load_sweep(sweep)[:, :3] @ sweep.ego_SE3_lidar[:3, :3].T + sweep.ego_SE3_lidar[:3, 3]
    ahead_left = ((points[:, :2] > 0) & (points[:, :2] < REACH)).all(axis=1).sum()
    half = round(REACH / CELL)
    assert abs(int(facts.density[:half, :half].sum()) - int(ahead_left)) <= 2


def test_a_sweep_that_cannot_be_read_is_named(tiny_index: Path, tmp_path: Path) -> None:
    index = SweepIndex.open(tiny_index, root=tmp_path)  # no file is there
    facts = content_facts(index, [0, 1], None)
    assert facts.rows == []
    assert len(facts.failed) == 2
    assert "missing" in facts.failed[0]


def test_the_page_stands_alone(index: SweepIndex, tmp_path: Path) -> None:
    said: list[str] = []
    page = tmp_path / "deep" / "page.html"
    write_inspection(
        index, page, samples=3, sheets=2, calibration=False, command="pc3d inspect <x>", said=said.append
    )
    text = page.read_text(encoding="utf-8")
    for heading in (
        "Scenes",
        "Splits",
        "Times",
        "Map of the drives",
        "Points",
        "Coverage and classes",
        "Boxes",
    ):
        assert f"<h2>{heading}</h2>" in text
    assert "Findings of indexing" in text
    assert "pc3d inspect &lt;x&gt;" in text
    assert len(re.findall(r'<img alt="[^"]*" src="data:image/(?:png|jpeg);base64,', text)) >= 11
    outside = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?://|<script|src=\"(?!data:)", outside)
    assert f">{len(index)}<" in text
    assert any("opening 3 sweeps" in one for one in said)


def test_the_page_of_a_broken_set_says_so(tiny_index: Path, tmp_path: Path) -> None:
    index = SweepIndex.open(tiny_index, root=tmp_path)
    write_inspection(index, tmp_path / "page.html", samples=2, calibration=False)
    assert "2 sweeps could not be read" in (tmp_path / "page.html").read_text()


def test_a_real_sample_without_images(real_data: Path, tmp_path: Path) -> None:
    source = open_reader("argoverse2", real_data / "argoverse2")
    metadata = {**source.metadata, "rebuild": "again"}
    index = SweepIndex.open(write_index(tmp_path / "index", source.sweeps(), metadata))
    write_inspection(index, tmp_path / "page.html", samples=1, sheets=1, calibration=False)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "REGULAR_VEHICLE" in text
    assert "<h2>Cameras</h2>" not in text
    assert "The index was not checked" in text


class TestPlots:
    """Pictures whose bars and lines are where the numbers are."""

    def bright(self, path: Path) -> np.ndarray:
        picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
        return (np.abs(picture - [79, 209, 193]).max(axis=2) < 40)[60:-60]

    def test_a_histogram_is_cut_to_what_is_there(self, tmp_path: Path) -> None:
        counts = np.zeros(100, np.int64)
        counts[20:30] = np.arange(1, 11)
        histogram(counts, np.linspace(0, 100, 101), tmp_path / "h.png", "t", "x", "y")
        columns = self.bright(tmp_path / "h.png").sum(axis=0)
        filled = np.flatnonzero(columns)
        assert np.ptp(filled) > 0.7 * 760
        assert columns[filled[-20]] > 5 * columns[filled[20]]

    @pytest.mark.parametrize("values", [[3.0], [0.0, 0.0], [1e9, 1e9], [1.0, 2.0, 2.0]])
    def test_values_that_are_all_the_same_are_drawn(self, values: list[float], tmp_path: Path) -> None:
        value_histogram(values, tmp_path / "v.png", "t", "x", "y", log=True)
        assert self.bright(tmp_path / "v.png").any()

    def test_bars_maps_and_density_of_little(self, tmp_path: Path, index: SweepIndex) -> None:
        bars(
            {"a": 0.0, "b" * 60: 2.0},
            np.array([[255, 0, 0], [0, 255, 0]], np.uint8),
            tmp_path / "b.png",
            "t",
            "x",
            ["0", "2"],
        )
        density_map(np.zeros((240, 240), np.int64), 0, tmp_path / "d.png")
        _, scenes = scene_facts(index)
        map_of_drives(scenes, tmp_path / "m.png", "a place")
        for name in "bdm":
            assert np.asarray(Image.open(tmp_path / f"{name}.png")).std() > 5
