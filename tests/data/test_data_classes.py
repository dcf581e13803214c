"""Class files: what they hold, what an index makes of them, and what they do not know."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.data.build import build_index
from pc3d.data.checks import read_findings
from pc3d.data.classes import IGNORE, ClassSet, common_detection, load_class_set, ready_made, shared_class_set
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.label_maps import NUSCENES_DETECTION_CLASSES, NUSCENES_LIDARSEG_CLASSES
from pc3d.data.labels import load_label_file, load_labels
from pc3d.data.points import load_sweep
from pc3d.data.selection import Selection
from pc3d.data.survey.classes import LabelIds, class_findings

OWN: dict[str, Any] = {
    "name": "own",
    "classes": ["ground", "wall", "plant", "vehicle", "person"],
    "labels": dict.fromkeys(range(32), IGNORE)
    | {24: "ground", 25: "ground", 26: "ground", 27: "plant", 28: "wall", 30: "plant"}
    | {15: "vehicle", 16: "vehicle", 17: "vehicle", 23: "vehicle", 2: "person", 3: "person"},
    "detection": ["person", "vehicle"],
    "boxes": {"vehicle.car": "vehicle", "vehicle.truck": "vehicle", "human.pedestrian.adult": "person"},
}

NAMES = st.lists(
    st.text(min_size=1, max_size=12).filter(lambda name: name != IGNORE), min_size=1, max_size=6, unique=True
)


@st.composite
def class_sets(draw: st.DrawFn) -> ClassSet:
    points, boxes = draw(NAMES), draw(NAMES)
    colour = st.tuples(*[st.integers(0, 255)] * 3)
    return ClassSet(
        draw(st.text(max_size=9)),
        tuple(points),
        draw(
            st.dictionaries(st.sampled_from([*points, *boxes]), colour).filter(
                lambda table: len(set(table.values())) == len(table)
            )
        ),
        draw(st.dictionaries(st.integers(0, 400), st.sampled_from([*points, IGNORE]), max_size=9)),
        tuple(boxes),
        draw(st.dictionaries(st.text(max_size=9), st.sampled_from([*boxes, IGNORE]), max_size=9)),
        tuple(draw(st.sets(st.sampled_from(points)))),
    )


@settings(max_examples=60, deadline=None)
@given(made=class_sets())
def test_a_class_set_goes_through_json_and_yaml(made: ClassSet) -> None:
    values = made.to_dict()
    for again in (json.loads(json.dumps(values)), yaml.safe_load(yaml.safe_dump(values))):
        read = ClassSet.from_dict(again)
        for name in ("name", "classes", "colours", "labels", "detection", "boxes", "movable"):
            assert getattr(read, name) == getattr(made, name)
        assert read.to_dict() == values
    for raw, name in made.labels.items():
        assert made.lut[raw] == (-1 if name == IGNORE else made.classes.index(name))
    assert set(made.without_id) == set(made.classes) - set(made.labels.values())
    categories = [*made.boxes, "no such category \0"]
    expected = [
        made.detection.index(n) if (n := made.boxes.get(c, IGNORE)) != IGNORE else -1 for c in categories
    ]
    assert made.box_labels(categories).tolist() == expected


@pytest.mark.parametrize("name", ready_made())
def test_ready_made_files_and_their_common_classes(name: str) -> None:
    own, common = load_class_set(name), load_class_set(name, common=True)
    assert own.name == name
    assert own.without_id == ()
    assert set(own.detection) <= set(own.boxes.values())
    # The same ids and categories, each with a common class or none.
    assert common.labels.keys() == own.labels.keys()
    assert common.boxes.keys() == own.boxes.keys()
    assert common.classes in ((), NUSCENES_LIDARSEG_CLASSES)
    assert common.detection in ((), NUSCENES_DETECTION_CLASSES)
    assert bool(common.classes) == bool(own.classes)
    assert bool(common.detection) == bool(own.detection)


def test_the_common_classes_are_those_of_nuscenes() -> None:
    shared, own = shared_class_set(), load_class_set("nuscenes")
    assert tuple(shared["classes"]) == own.classes == NUSCENES_LIDARSEG_CLASSES
    assert tuple(shared["detection"]) == own.detection == common_detection() == NUSCENES_DETECTION_CLASSES
    assert load_class_set("nuscenes", common=True).lut.tolist() == own.lut.tolist()


def test_the_learning_map_of_semantic_kitti(real_data: Path) -> None:
    facts = yaml.safe_load((real_data / "semantic_kitti" / "semantic-kitti.yaml").read_text())
    own = load_class_set("semantic_kitti")
    assert own.labels.keys() == facts["labels"].keys()
    for raw, number in facts["learning_map"].items():
        assert own.lut[raw] == number - 1, raw  # 0 is their ignored class
    for number, raw in facts["learning_map_inv"].items():
        assert number == 0 or own.classes[number - 1] == facts["labels"][raw]
    # Things that move are what they are when they stand.
    for raw, name in facts["labels"].items():
        still = {other: key for key, other in facts["labels"].items()}.get(name.removeprefix("moving-"))
        if still is not None:
            assert own.lut[raw] == own.lut[still]
            assert load_class_set("semantic_kitti", common=True).lut[raw] >= -1


def test_the_categories_of_pandaset(real_data: Path) -> None:
    facts = json.loads((real_data / "pandaset/001/annotations/semseg/classes.json").read_text())
    for common in (False, True):
        own = load_class_set("pandaset", common)
        assert set(map(int, facts)) | {0} == set(own.labels)
        for raw, name in facts.items():
            if name in own.boxes and own.boxes[name] in own.classes:  # points and boxes agree
                assert own.labels[int(raw)] == own.boxes[name], name
        assert set(own.boxes) <= set(facts.values())


@pytest.mark.parametrize("name", ["semantic_kitti", "pandaset"])
def test_real_labels_have_the_classes_that_a_loop_gives(real_data: Path, tmp_path: Path, name: str) -> None:
    for wanted in (None, "common"):
        index = build_index(name, real_data / name, tmp_path / str(wanted), "again", classes=wanted)
        own = load_class_set(name, common=wanted == "common")
        sweep = index[0]
        points = load_sweep(sweep)
        labels = load_labels(sweep, len(points), own)
        assert index.metadata["classes"] == own.to_dict()
        counts = Counter(labels.tolist())
        assert counts[-1] < 0.1 * len(labels)
        road = own.classes.index("driveable_surface" if wanted else "road")
        assert counts[road] > 0.1 * len(labels)
        low = points[labels == road, 2]
        assert np.median(low) < np.median(points[labels != road, 2])


def test_the_index_gets_the_classes_that_are_asked_for(tiny_nuscenes: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        yaml.safe_dump({**OWN, "common": {"labels": {0: "car"}, "boxes": {"vehicle.car": "car"}}})
    )

    def index_with(classes: str, name: str) -> SweepIndex:
        options = {"version": "v1.0-sim", "classes": classes}
        return build_index(
            "nuscenes", tiny_nuscenes, tmp_path / name, "again", Selection(cameras=()), **options
        )

    own = index_with(str(path), "own")
    assert ClassSet.of(own.metadata).to_dict() == load_class_set(path).to_dict()  # type: ignore[union-attr]
    sweep = own[int(own.key_rows("sim_train")[0])]
    theirs = load_labels(sweep, len(load_sweep(sweep)), load_class_set("nuscenes"))
    ours = load_labels(sweep, len(load_sweep(sweep)), load_class_set(path))
    assert set(np.unique(theirs[ours == 0])) <= {10, 11, 12}, "ground"
    # A section `common` of a file, which lacks most ids: all of those that are seen are said, once.
    common = index_with(f"{path}:common", "common")
    found = {finding.name: finding for finding in read_findings(common.folder) or []}
    ids = found["label ids"]
    assert ids.state == "problem"
    raw = np.fromfile(sweep.lidarseg_path, np.uint8)  # type: ignore[arg-type]
    assert all(f"{one} (" in ids.text for one in np.unique(raw) if one)
    assert found["classes without id"].state == "ok"
    # By its own name: the reader's common classes.
    shared = index_with("common", "shared")
    assert shared.metadata["classes"]["name"] == "common"
    assert shared.metadata["classes"]["classes"] == list(NUSCENES_LIDARSEG_CLASSES)


def test_what_has_no_common_classes_is_refused(real_data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no classes, for which pc3d knows no common ones[\s\S]*:common"):
        build_index("kitti_raw", real_data / "kitti_raw", tmp_path / "i", "again", classes="common")
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(OWN))
    with pytest.raises(DataError, match="no section `common`"):
        load_class_set(tmp_path / "own.yaml", common=True)
    with pytest.raises(DataError, match=r"no class set is named 'pandasett'; did you mean 'pandaset'\?"):
        load_class_set("pandasett")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": ["a", "a"]}, "different names"),
        ({"classes": ["ignore"]}, "none of them 'ignore'"),
        ({"classes": "road"}, "a list of names"),
        ({"classes": [True]}, "quote yes, no"),
        ({"classes": [], "detection": []}, "there is no class"),
        ({"labels": {1: "roof"}}, "'roof', which is none of `classes`"),
        ({"labels": {"x": "wall"}}, "raw id 'x'"),
        ({"labels": {-1: "wall"}}, "raw id -1"),
        ({"labels": [1]}, "expected a table"),
        ({"boxes": {"Car": "vehicel"}}, "did you mean 'vehicle'"),
        ({"colours": {"wall": [1, 2]}}, "the colour of 'wall' is [1, 2], expected [red, green, blue]"),
        ({"colours": {"wall": 5}}, "the colour of 'wall' is 5, expected [red, green, blue]"),
        ({"colours": {"wall": None}}, "the colour of 'wall' is None, expected [red, green, blue]"),
        ({"colours": {"wall": "#ff0000"}}, "the colour of 'wall' is '#ff0000', expected [red, green, blue]"),
        ({"colours": {"wall": [1.0, 0.5, 0]}}, "is [1.0, 0.5, 0], expected [red, green, blue]"),
        ({"colours": {"wall": {"r": 1}}}, "is {'r': 1}, expected [red, green, blue]"),
        (
            {"colours": {"plant": [1, 2, 3], "wall": [1, 2, 3]}},
            "the colour of 'wall' and of 'plant' is [1, 2, 3]",
        ),
        ({"colours": {"wal": [1, 2, 3]}}, "`colours` names 'wal', which is no class; did you mean 'wall'"),
        ({"movable": ["cat"]}, "`movable` names 'cat'"),
        ({"clases": []}, "did you mean 'classes'"),
    ],
)
def test_what_is_wrong_in_a_class_file_is_said(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({**OWN, **change}))
    with pytest.raises(DataError) as error:
        load_class_set(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    path.write_text("classes: [a\nb: {")
    with pytest.raises(DataError, match="cannot be read"):
        load_class_set(path)


def test_a_class_of_points_and_one_of_boxes_may_share_a_colour() -> None:
    colours = {"vehicle": (9, 9, 9), "car": (9, 9, 9)}
    assert ClassSet("own", ("road", "vehicle"), colours, detection=("car",)).colours == colours


def test_ids_and_classes_that_do_not_meet_are_said(tmp_path: Path) -> None:
    own = ClassSet.from_dict(
        {**OWN, "classes": [*OWN["classes"], "roof"], "detection": ["vehicle", "person", "cat"]}
    )
    said = {finding.name: finding.text for finding in class_findings(own)}
    assert "means roof" in said["classes without id"]
    assert "means cat" in said["classes without category"]
    assert class_findings(ClassSet.from_dict(OWN)) == class_findings(None) == []
    look, raw = LabelIds(own), np.array([24, 24, 17, 40, 70_000, 40, 0])
    assert look.look(raw).tolist() == [0, 0, 3, -1, -1, -1, -1]
    (finding,) = look.findings()
    assert "3 of 7 labels" in finding.text
    assert "40 (2), 70,000" not in finding.text
    assert "40 (2), 70000 (1)" in finding.text
    np.array([24, 40], np.uint8).tofile(tmp_path / "labels.bin")
    with pytest.raises(DataError, match=r"label 40 .* 'own'[\s\S]*`40: ignore`, in the class file"):
        load_label_file(tmp_path / "labels.bin", 2, own)
