"""A whole small study: worlds made, units run once, resumed, moved, stopped in time, failures apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_studies import probed, small_study, write_result

from pc3d.data.index import SweepIndex
from pc3d.evaluation.evidence import execute as execute_module
from pc3d.evaluation.evidence import schedule
from pc3d.evaluation.evidence.description import Study
from pc3d.evaluation.evidence.places import Places
from pc3d.evaluation.evidence.plan import Known, Unit, plan
from pc3d.evaluation.evidence.publish import publish
from pc3d.evaluation.evidence.schedule import known_of, run
from pc3d.evaluation.protocol.few_shot import FORMS
from pc3d.models.weights import read_metadata


def test_a_study_runs_once_goes_on_and_may_be_moved(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = {"index": str(tiny_index), "regions": str(tiny_regions)}
    starts = {
        "random": {"random": True},
        "prc": {"pretrain": "sim_prc", "scenes": 1},
        "supervised": {"supervised": "sim_5_percent"},
    }
    worlds = [{"name": "a", **world}, {"name": "b", **world}]
    probes = {"points": 20, "sweeps": [2, 2], "shots": [1]}
    study = small_study(worlds=worlds, seeds=[0], starts=starts, probes=probes)
    places = Places(tmp_path / "study")
    first = run(study, places, only=["a", "prc"])
    assert not first.failed
    assert [key.split("-")[0] for key in first.done] == ["pretrain", "probe", "probe", "segmentation"]
    rest = run(study, places, only=["a"])
    assert not rest.failed
    assert not set(rest.done) & set(first.done)
    assert [
        path.name for path in (places.folder / "runs").iterdir() if not path.name.startswith("pretrain")
    ] == []
    _looks_right(study, places)

    moved = Places(tmp_path / "moved")
    moved.folder.mkdir()
    shutil.move(places.units, moved.units)
    with monkeypatch.context() as patch:
        patch.setattr(schedule, "execute", None)  # would fail if anything was done again
        assert run(study, moved, only=["a"]).done == []
    text = publish(study, moved, known_of(study, moved))
    assert "| prc |" in text
    assert "| labels of each class | 1, nearest | 1, moved | 1, moved, shares known |" in text
    assert "| supervised |" in text

    # The weights did not come along: a new task makes them again and gets what the old one got.
    old = next(moved.units.glob("segmentation-a-prc-*"))
    before = json.loads(old.read_text())["result"]["miou"]
    old.unlink()
    again = run(study, moved, only=["a", "prc", "segmentation"])
    assert [key.split("-")[0] for key in again.done] == ["pretrain", "segmentation"]
    assert json.loads(old.read_text())["result"]["miou"] == pytest.approx(before)


def _looks_right(study: Study, places: Places) -> None:
    units = {u.key: u for u in plan(study, known_of(study, places)) if u.world == "a"}
    results = {key: json.loads((places.units / f"{key}.json").read_text()) for key in units}
    for key, unit in units.items():
        assert results[key]["made"]["cpu_seconds"] > 0
        if unit.kind == "probe":
            rows = results[key]["result"]["rows"]
            assert len(rows) == 4
            assert set(results[key]["result"]["few"]["1"]) == set(FORMS)
            assert all(0 <= row[p]["miou"] <= 1 for row in rows.values() for p in ("logistic", "knn"))
        if unit.kind == "segmentation":
            assert results[key]["result"]["evaluator"] == "nuscenes-devkit"
        if unit.kind == "pretrain":
            assert read_metadata(places.backbone(key))["lidar"]
            trained = results[key]["result"]["trained_on"]
            assert trained == ("b" if unit.start == "supervised" else "a")
    on = {unit.facts["on"] for unit in units.values() if unit.kind == "probe" and unit.start == "supervised"}
    assert on == {"a"}  # of b it has seen the labels


def test_a_simulated_world_is_made_where_it_is_missing(tmp_path: Path) -> None:
    small = {"train_scenes": 1, "val_scenes": 1, "key_frames": 2, "image_size": [64, 36]}
    study = small_study(
        worlds={"seeds": [5], "size": small},
        seeds=[0],
        starts={"random": {"random": True}},
        segmentation=None,
    )
    assert not run(study, Places(tmp_path / "study"), only=["references"]).failed
    worlds = tmp_path / "study" / "worlds"
    assert SweepIndex.open(worlds / "world-5" / "index").splits == ("sim_train", "sim_val")
    # Moved as a whole, and further units read the raw files where they are now.
    shutil.move(tmp_path / "study", tmp_path / "moved")
    outcome = run(study, Places(tmp_path / "moved"))
    assert len(outcome.done) == 1
    assert not outcome.failed


class _Work:
    """Stands in for the work of a unit: it takes an hour, and that of one start fails."""

    def __init__(self, fails: str = "") -> None:
        self.hours, self.fails, self.done = 0.0, fails, list[Unit]()

    def __call__(self, study: Study, places: Places, unit: Unit) -> None:
        self.hours += 1
        if unit.kind == "pretrain" and unit.start == self.fails:
            raise RuntimeError("not today")
        if unit.kind == "pretrain":
            places.backbone(unit.key).parent.mkdir(parents=True)
            places.backbone(unit.key).touch()
        assert unit.needs is None or places.backbone(unit.needs).is_file()
        self.done.append(unit)
        write_result(places, unit, probed(0.1, 0.1, 0.1))


@pytest.fixture
def without_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "make_world", lambda *args: None)
    monkeypatch.setattr(schedule, "known_of", lambda *args: Known({"a": "aa", "b": "bb"}))


def test_no_unit_begins_when_the_hours_are_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_data: None
) -> None:
    study, places, work = small_study(), Places(tmp_path), _Work()
    monkeypatch.setattr(schedule, "execute", work)
    outcome = run(study, places, hours=2.5, clock=lambda: 3600 * work.hours)
    assert outcome.out_of_time
    assert len(outcome.done) == 3
    while (outcome := run(study, places, hours=5, clock=lambda: 3600 * work.hours)).done:
        assert len(outcome.done) <= 5
    keys = [unit.key for unit in work.done]
    assert len(keys) == len(set(keys)) == len(plan(study, Known({"a": "aa", "b": "bb"})))
    with pytest.raises(ValueError, match="--only names 'prd'; did you mean 'prc'"):
        run(study, places, only=["prd"])


def test_a_failed_unit_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_data: None
) -> None:
    starts: dict[str, Any] = {"random": {"random": True}}
    starts |= {name: {"pretrain": f"sim_{name}"} for name in ("fac", "prc")}
    study, places = small_study(starts=starts), Places(tmp_path)
    monkeypatch.setattr(schedule, "execute", _Work(fails="fac"))
    outcome = run(study, places)
    assert set(outcome.failed.values()) == {"RuntimeError: not today"}
    assert len(outcome.failed) == 4  # two worlds, two seeds
    done = {key.split("-")[2] for key in outcome.done}
    assert "prc" in done
    assert "fac" not in done
    monkeypatch.setattr(schedule, "execute", _Work())
    assert {key.split("-")[2] for key in run(study, places).done} == {"fac"}


def test_every_kind_of_unit_has_its_work() -> None:
    from pc3d.evaluation.evidence.plan import KINDS

    assert set(execute_module._ACTIONS) == set(KINDS)
