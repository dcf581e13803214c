"""Units of a study: what names them, equal steps and equal seconds, what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from small_studies import QUICK, small_study, write_result

from pc3d.data.errors import DataError
from pc3d.evaluation.evidence import step_time
from pc3d.evaluation.evidence.execute import result_file
from pc3d.evaluation.evidence.listing import list_units
from pc3d.evaluation.evidence.places import Places
from pc3d.evaluation.evidence.plan import Known, plan, steps_of, timing_key
from pc3d.evaluation.evidence.read import read_study, study_of
from pc3d.evaluation.evidence.schedule import chosen, known_of, to_do

KNOWN = Known({"a": "aa", "b": "bb"})


def _keys(known: Known = KNOWN, **changes: Any) -> set[str]:
    return {unit.key for unit in plan(small_study(**changes), known)}


def test_a_world_comes_whole_before_the_next_and_weights_before_what_needs_them() -> None:
    units = plan(small_study(), KNOWN)
    keys = [unit.key for unit in units]
    assert len(set(keys)) == len(keys)
    # For 2 worlds x 2 seeds: random has a probe and a fine-tuning, PRC a probe more and its pretraining.
    assert [sum(u.kind == kind for u in units) for kind in ("references", "pretrain")] == [2, 4]
    assert sum(u.kind == "probe" for u in units) == 4 + 8
    assert sum(u.kind == "segmentation" for u in units) == 8
    for number, unit in enumerate(units):
        assert unit.needs is None or unit.needs in keys[:number]
    first_of_b = next(i for i, u in enumerate(units) if u.world == "b" and u.start == "prc")
    assert all(u.world == "b" for u in units[first_of_b:])


def test_what_matters_is_another_unit_and_what_does_not_is_the_same() -> None:
    before = _keys()
    places = {"worlds": [{"name": "a", "index": "elsewhere/A"}, {"name": "b", "index": "B", "root": "raw"}]}
    logging = {"overrides": {**QUICK, "runtime.log_level": "INFO", "runtime.log_every": 3, "data.workers": 2}}
    assert _keys(**places) == before
    assert _keys(**logging) == before
    prc = {"pretrain": "sim_prc", "overrides": {"objectives.prc.num_region_points": 8}}
    changed = _keys(starts={"random": {"random": True}, "prc": prc})
    assert {key.rsplit("-", 1)[0] for key in changed} == {key.rsplit("-", 1)[0] for key in before}
    assert {key for key in changed & before if "prc" in key} == set()  # its tasks, too
    assert {key for key in changed if "random" in key} == {key for key in before if "random" in key}
    assert not {k for k in _keys(budget={"steps": 3}) & before if "prc" in k}
    assert not {k for k in _keys(probes={"points": 21, "sweeps": [2, 2]}) & before if "probe" in k}
    assert not _keys(Known({"a": "other", "b": "others"})) & before
    assert not {
        k for k in _keys(overrides={**QUICK, "lidar.voxel_size": (0.4, 0.4, 0.4)}) & before if "prc" in k
    }


def test_equal_seconds_become_steps_by_the_measured_time() -> None:
    study = small_study(
        budget={"seconds": 10.0},
        starts={
            "random": {"random": True},
            "prc": {"pretrain": "sim_prc"},
            "fac": {"pretrain": "sim_fac"},
            "fixed": {"pretrain": "sim_prc", "budget": {"steps": 7}, "overrides": {"seed": 5}},
        },
    )
    keys = {name: timing_key(study, study.start(name), "segmentation") for name in ("prc", "fac")}
    known = Known(KNOWN.fingerprints, {}, {keys["prc"]: 0.3, keys["fac"]: 2.5})
    found = {
        name: steps_of(study, study.start(name), "segmentation", known) for name in ("prc", "fac", "fixed")
    }
    assert found == {"prc": 33, "fac": 4, "fixed": 7}  # floor(10 / 0.3), 10 / 2.5
    assert steps_of(study, study.start("prc"), "segmentation", KNOWN) is None
    assert not [unit for unit in plan(study, KNOWN) if unit.start == "prc"]  # nothing before it is measured
    steps = {u.start: u.facts["steps"] for u in plan(study, known) if u.kind == "pretrain"}
    assert steps == found


class _FakeStep:
    """A step that takes as long on a clock as its config says."""

    now = 0.0

    def __init__(self, config: Any) -> None:
        self.seconds = 0.5 if "prc" in config.objectives else 2.0
        self.first = True

    def run(self, number: int) -> None:
        slow = 50.0 if self.first else 0.0  # what compiles
        self.first = False
        _FakeStep.now += self.seconds + slow + 0.01 * number


def test_steps_are_measured_in_turns_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = {name: {"pretrain": f"sim_{name}"} for name in ("prc", "fac")}
    study = small_study(budget={"seconds": 10.0}, starts={"random": {"random": True}, **starts})
    monkeypatch.setattr(step_time, "Step", _FakeStep)
    times = step_time.measure(study, Places(tmp_path), clock=lambda: _FakeStep.now)
    medians = {value["start"]: value["seconds"] for value in times.values()}
    # Batches 0 to 3 take 0, 0.01, 0.02 and 0.03 s more; the median is between the middle ones.
    assert medians == pytest.approx({"prc": 0.515, "fac": 2.015})
    assert {len(value["all"]) for value in times.values()} == {12}  # three turns of four batches
    monkeypatch.setattr(step_time, "Step", None)  # would fail if it were measured again
    assert step_time.measure(study, Places(tmp_path)) == times


def test_what_has_a_result_needs_no_weights(tmp_path: Path) -> None:
    study, places = small_study(), Places(tmp_path)
    units = plan(study, KNOWN)
    for unit in units:
        write_result(places, unit, {})
    assert to_do(units, places) == []
    moved = Places(tmp_path / "moved")
    shutil.move(places.units, moved.units)
    assert to_do(units, moved) == []
    gone = next(unit for unit in units if unit.kind == "probe" and unit.start == "prc")
    result_file(moved, gone).unlink()
    # The weights did not move along: they are made again, and nothing else.
    assert [unit.key for unit in to_do(units, moved)] == [gone.needs, gone.key]
    moved.backbone(str(gone.needs)).parent.mkdir(parents=True)
    moved.backbone(str(gone.needs)).touch()
    assert to_do(units, moved) == [gone]
    assert [u.key for u in chosen(study, units, ["b", "prc", "probe"])] == [
        u.key for u in units if u.world == "b" and u.start == "prc" and u.kind in ("pretrain", "probe")
    ]
    text = list_units(study, moved, KNOWN, jobs=2)
    assert "1 of 26 units are missing: about 5 seconds with 2 at a time" in text
    assert "a: probe 5 of 6" in text


def test_an_index_that_is_gone_is_known_from_before(tiny_index: Path, tmp_path: Path) -> None:
    there = small_study(worlds=[{"name": "a", "index": str(tiny_index)}])
    known = known_of(there, Places(tmp_path))
    gone = small_study(worlds=[{"name": "a", "index": "nowhere"}])
    assert known_of(gone, Places(tmp_path)) == known
    with pytest.raises(DataError, match="'a' of the study is not there"):
        known_of(gone, Places(tmp_path / "new"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seedz": [0]}, "no setting 'seedz'; did you mean 'seeds'"),
        ({"worlds": {"seeds": [0], "size": "benchh"}}, "'benchh' is not known; did you mean 'bench'"),
        ({"worlds": [{"name": "a"}]}, "neither `seed` of a simulation nor `index`"),
        ({"budget": {"steps": 3, "seconds": 2}}, "one of the two"),
        ({"budget": {"steps": 0}}, "above 0"),
        ({"starts": {"prc": {"pretrain": "sim_prc"}}}, "has the start 'random'"),
        ({"starts": {"random": {"random": True}, "x": {}}}, "expected one"),
        ({"starts": {"random": {"random": True}, "x": {"random": True, "pretrain": "sim_prc"}}}, "has 2 of"),
        ({"segmentation": {"config": "sim_5_percent", "percent": [0]}}, "percent, got 0"),
        ({"segmentation": {"config": "sim_5_percent", "starts": ["prx"]}}, "names the starts prx"),
        ({"seeds": [0, 0]}, "each once"),
        ({"starts": {"random": {"random": True}, "x": {"random": True, "seeds": [2]}}}, "has the seeds"),
    ],
)
def test_wrong_descriptions_say_what_and_where(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_study(**changes)


def test_configs_that_no_name_would_tell_are_refused() -> None:
    for start, message in (
        ({"pretrain": "sim_calico"}, "has stages"),
        ({"pretrain": "sim_prc", "overrides": {"init.run": "somewhere"}}, "begins with other weights"),
        ({"pretrain": "sim_prc", "overrides": {"objectives.prc.nonsense": 1}}, "nonsense"),
    ):
        with pytest.raises(ValueError, match=message):
            plan(small_study(starts={"random": {"random": True}, "x": start}), KNOWN)


def test_shots_are_of_the_probes_alone() -> None:
    probes = {"points": 20, "sweeps": [2, 2]}
    before, after = (_keys(probes={**probes, **more}) for more in ({}, {"shots": [1, 5]}))
    assert before == _keys(probes={**probes, "shots": []})
    assert {key.split("-")[0] for key in before ^ after} == {"probe"}
    with pytest.raises(ValueError, match="shots are"):
        small_study(probes={**probes, "shots": [0]})


def test_a_start_may_have_fewer_seeds() -> None:
    starts = {"random": {"random": True}, "prc": {"pretrain": "sim_prc", "seeds": [1]}}
    units = plan(small_study(starts=starts), KNOWN)
    assert {unit.seed for unit in units if unit.start == "prc"} == {1}
    assert {unit.seed for unit in units if unit.start == "random"} == {0, 1}


def test_shipped_studies_can_be_read_and_planned(tmp_path: Path) -> None:
    study = read_study("evidence")
    seconds = dict.fromkeys(step_time.timed_runs(study), 0.5)
    units = plan(study, Known(seconds=seconds))
    runs = sum(3 * len(start.seeds or study.seeds) for start in study.starts if start.trained)
    assert sum(u.kind == "pretrain" and u.facts["encoder"] == "segmentation" for u in units) == runs
    for name in ("contrast", "contrast_more", "recipe", "regions"):
        other = read_study(name)
        timed = dict.fromkeys(step_time.timed_runs(other), 0.5)
        assert len(plan(other, Known(seconds=timed))) > 2 * len(other.starts)
    (tmp_path / "broken.yaml").write_text("worlds: [")
    with pytest.raises(ValueError, match=r"broken\.yaml is no study"):
        read_study(tmp_path / "broken.yaml")
    with pytest.raises(FileNotFoundError, match="did you mean 'evidence'"):
        read_study("evidens")
    with pytest.raises(ValueError, match="`worlds` is missing"):
        study_of({})
