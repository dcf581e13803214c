"""Tables of a study from made-up results, against numbers by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_studies import probed, referenced, small_study, write_result

from pc3d.data.errors import DataError
from pc3d.evaluation.evidence.curve import curve_study, publish_curve, simulated_worlds
from pc3d.evaluation.evidence.description import Study, World
from pc3d.evaluation.evidence.places import Places
from pc3d.evaluation.evidence.plan import Known, Unit, plan
from pc3d.evaluation.evidence.publish import publish, restore
from pc3d.evaluation.evidence.results import finished
from pc3d.evaluation.evidence.step_time import read_times, write_times
from pc3d.evaluation.evidence.tables import shot_table

KNOWN = Known({"a": "aa", "b": "bb"})
FEW = {
    "config": "sim_5_percent",
    "percent": [5],
    "steps": 9,
    "curve_percent": [5, 20, 80],
    "longer": [18],
}


def _result(unit: Unit) -> dict[str, Any]:
    in_b = 0.10 if unit.facts.get("on", unit.world) == "b" else 0.0
    if unit.kind == "references":
        return referenced(raw=0.12 + in_b, hand_made=0.25 + in_b)
    if unit.kind == "probe":
        if unit.start == "random":
            return probed(0.05 + in_b, 0.10 + in_b, 0.26 + in_b)
        if unit.facts["on"] != unit.world:
            return probed(0.20, 0.20, 0.20)
        # 10 points over random in world a, 14 in b, with a seed more or less that cancels.
        shift = 0.01 if unit.seed else -0.01
        return probed(0.15 + shift + (0.04 + in_b if in_b else 0.0), 0.30, 0.31 + in_b)
    if unit.kind == "segmentation":
        if unit.start == "prc":
            return {"miou": 0.40}
        curve = {5.0: 0.30, 20.0: 0.50, 80.0: 0.60}
        return {"miou": curve[unit.facts["percent"]] + (0.001 if unit.facts["steps"] == 18 else 0.0)}
    return {"steps": unit.facts["steps"], "losses": {}}


def _lines(text: str, start: str) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return [row for row in rows if row[0].strip() == start]


def _written(study: Study, places: Places) -> None:
    for unit in plan(study, KNOWN):
        write_result(places, unit, _result(unit), seconds=8.0)


def test_tables_are_those_by_hand(tmp_path: Path) -> None:
    study, places = small_study(segmentation=FEW), Places(tmp_path)
    _written(study, places)
    text = publish(study, places, KNOWN)
    own, other = text.split("## Probes on another world")
    scores, changes = _lines(own, "prc")
    # Means over worlds: (15 + 29) / 2; beside hand-made (31 + 41) / 2.
    assert scores[1:] == ["22.0", "30.0", "22.0", "30.0", "36.0", "36.0"]
    assert _lines(own, "hand-made")[0][1] == "30.0"
    assert _lines(own, "random")[0][1:3] == ["10.0", "15.0"]
    # 10 in world a and 14 in b: 12 +- 12.706 * 2.828 / sqrt(2) by Student; hand-made 25 and 35: -10 and -6.
    assert changes[1] == "+12.0 [-13.4 to +37.4]"
    assert changes[2:4] == ["-8.0 [-33.4 to +17.4]", "0 of 2"]
    assert changes[4] == "+6.0 [+6.0 to +6.0]"  # (31 - 25) and (41 - 35)
    assert _lines(other, "prc")[0][1] == "20.0"
    few = _lines(other, "prc")[2]
    # 30 at 5 %, 50 at 20 %: 40 is at 5 * 4^(1/2) = 10 %, twice the labels; (40 - 30) / (60 - 30) of the gap.
    assert few[1:] == ["40.0", "+10.0 [+10.0 to +10.0]", "33 %", "x 2.0 (too few worlds for a bootstrap)"]
    assert _lines(other, "random, 80 % of the frames")[0][1] == "60.0"
    assert _lines(other, "5 %, 18 steps")[0][1].startswith("30.1")
    cost = _lines(other, "prc (segmentation)")[0]
    assert cost[1:] == ["2", "", "4.000", "8", "4"]  # 2 steps in 8 s
    raw = json.loads((tmp_path / "results.json").read_text())
    assert len(raw["units"]) == len(plan(study, KNOWN))
    assert (tmp_path / "probes.png").stat().st_size > 5000
    assert (tmp_path / "labels-segmentation.png").stat().st_size > 5000


def test_prototypes_of_a_few_labels_are_means_over_seeds_on_the_own_world(tmp_path: Path) -> None:
    study = small_study(probes={"points": 20, "sweeps": [2, 2], "shots": [5]}, segmentation=None)
    places = Places(tmp_path)
    for unit in plan(study, KNOWN):
        if unit.kind == "probe":
            own = 0.1 * (unit.seed + 1) + (unit.start == "prc") * 0.2
            score = own if unit.facts["on"] == unit.world else 0.9
            few = {"5": {"nearest": score, "moved": score + 0.01, "moved, shares known": score + 0.02}}
            write_result(places, unit, {**probed(0.1, 0.1, 0.1), "few": few})
    text = shot_table(study, finished(study, places, KNOWN))
    assert "| random | 15.0 | 16.0 | 17.0 |" in text
    assert "| prc | 35.0 | 36.0 | 37.0 |" in text
    assert shot_table(small_study(), []) == ""


def test_a_study_goes_on_from_its_results_alone(tmp_path: Path) -> None:
    study, places, new = small_study(segmentation=FEW), Places(tmp_path / "old"), Places(tmp_path / "new")
    _written(study, places)
    times = {"key": {"start": "prc", "encoder": "segmentation", "seconds": 1.5}}
    write_times(places.folder, times)
    text = publish(study, places, KNOWN)
    new.folder.mkdir()
    (new.folder / "results.json").write_bytes((places.folder / "results.json").read_bytes())
    kept = write_result(new, plan(study, KNOWN)[0], {"mine": True})
    assert restore(new) == len(plan(study, KNOWN)) - 1
    assert read_times(new.folder) == times
    assert json.loads(kept.read_text())["result"] == {"mine": True}  # what is there stays
    kept.write_bytes((places.units / kept.name).read_bytes())
    assert publish(study, new, KNOWN) == text
    assert restore(new) == 0
    (new.folder / "results.json").write_text('{"units": [{}]}')
    with pytest.raises(DataError, match="not the results of a study"):
        restore(new)


def test_tables_of_a_part_leave_out_what_is_not_there(tmp_path: Path) -> None:
    study, places = small_study(segmentation=FEW), Places(tmp_path)
    assert "0 of" in publish(study, places, KNOWN)
    for unit in plan(study, KNOWN):
        if unit.world == "a" and unit.kind in ("references", "probe") and unit.facts.get("on", "a") == "a":
            write_result(places, unit, _result(unit))
    text = publish(study, places, KNOWN)
    own = text.split("## Probes on another world")[0]
    assert _lines(own, "prc")[1][1] == "+10.0"  # one world has no interval
    broken = next((tmp_path / "units").glob("probe-a-*"))
    broken.write_text("{}")
    with pytest.raises(DataError, match="not the result of a unit"):
        publish(study, places, KNOWN)


def test_a_start_with_its_own_encoder_is_compared_with_its_own_baseline(tmp_path: Path) -> None:
    encoder = {"lidar.voxel_size": (0.4, 0.4, 0.4)}
    starts = {
        "random": {"random": True},
        "random, fine": {"random": True, "encoder": encoder},
        "prc": {"pretrain": "sim_prc", "encoder": encoder, "baseline": "random, fine"},
    }
    study, places = small_study(starts=starts, segmentation=None), Places(tmp_path)
    values = {"random": 0.05, "random, fine": 0.09, "prc": 0.15}
    for unit in plan(study, KNOWN):
        if unit.kind == "probe":
            write_result(places, unit, probed(values[unit.start], 0.1, 0.1))
            shown = unit.settings["shown"]["lidar"]["voxel_size"][0]
            assert shown == (0.5 if unit.start == "random" else 0.4)
    text = publish(study, places, KNOWN)
    assert _lines(text, "prc")[1][1] == "+6.0 [+6.0 to +6.0]"


def test_a_curve_over_steps_and_scenes(tmp_path: Path) -> None:
    worlds = [World("a", index=Path("A"))]
    study = curve_study("sim_prc", [2, 4], [1, 0], [0, 1], worlds)
    places = Places(tmp_path)
    for unit in plan(study, KNOWN):
        if unit.kind == "references":
            write_result(places, unit, referenced(0.12, 0.25))
        elif unit.kind == "probe":
            steps = 2 if "2 steps" in unit.start else 4
            write_result(places, unit, probed(0.1 * steps + 0.02 * unit.seed, 0.2, 0.3))
        else:
            assert unit.settings["config"]["schedule"]["iterations"] == unit.facts["steps"]
            write_result(places, unit, {})
    text = publish_curve(study, places, KNOWN)
    # Seeds 20 and 22: 21.0 with a deviation of sqrt(2).
    assert _lines(text, "sim_prc, 1 scenes, 2 steps")[0][1:3] == ["2", "21.0 ± 1.4"]
    assert _lines(text, "sim_prc, all scenes, 4 steps")[0][2] == "41.0 ± 1.4"
    assert (tmp_path / "curve.png").is_file()
    keys = {unit.settings["scenes"] for unit in plan(study, KNOWN) if unit.kind == "pretrain"}
    assert keys == {0, 1}
    assert simulated_worlds([3], [20, 100])[0].sim_size().train_scenes == 100
    with pytest.raises(ValueError, match="has 20 scenes, 100 are asked for"):
        curve_study("sim_prc", [2], [100], [0], [World("w")])
