"""`pc3d verify`: each fault of the catalogue is found, and sound drives raise none."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from verify_drives import SCENES, STEPS, Injected, change, change_camera, index_of, records, write_files
from verify_faults_files import FILES
from verify_faults_records import BOXES, MOUNTS, TIMES_AND_POSES, late

from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex, write_index
from pc3d.data.readers import open_reader
from pc3d.data.records import Sweep
from pc3d.data.verify import Verification, verify_index, write_verification
from pc3d.data.verify.notes import EXAMPLES, Notes
from pc3d.findings import Finding
from pc3d.geometry.rigid import make_SE3, yaw_matrix

FAULTS = [*FILES, *TIMES_AND_POSES, *MOUNTS, *BOXES]
DOCS = Path(__file__).resolve().parents[2] / "docs" / "verify.md"
CALIBRATION = ("a camera that is turned by 6 degrees", "calibration CAM_FRONT", "problem")


def odd(result: Verification) -> list[Finding]:
    return [finding for finding in result.findings if finding.state != "ok"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the sound drive."""
    root = tmp_path_factory.mktemp("sound") / "drive"
    write_files(records(root))
    return root


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_found(fault: Injected, sound: Path, tmp_path: Path) -> None:
    root = tmp_path / "drive"
    shutil.copytree(sound, root)
    sweeps = records(root)
    changed = fault.spoil(sweeps, root) or sweeps
    result = verify_index(index_of(changed, root, tmp_path / "index"), calibration=False)
    found = {finding.name: finding.state for finding in odd(result)}
    assert found.get(fault.finding) == fault.state, found
    assert result.exit_code == int("problem" in found.values())
    # One fault is not called many: what else is said follows from it.
    assert len(found) <= 4, found


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("motion", ["straight", "stands", "turns"])
def test_a_sound_drive_raises_nothing(motion: str, images: bool, tmp_path: Path) -> None:
    sweeps = records(tmp_path / "drive", motion, images)
    write_files(sweeps)
    result = verify_index(index_of(sweeps, tmp_path / "drive", tmp_path / "index"), calibration=False)
    assert odd(result) == []
    assert (result.sweeps, result.opened, result.exit_code) == (16, 16, 0)
    assert result.files == 16 * (4 if images else 2)


def test_a_vehicle_that_stands_may_see_the_very_same(tmp_path: Path) -> None:
    sweeps = records(tmp_path / "drive", "stands")
    write_files(sweeps)
    for sweep in sweeps[1:STEPS]:
        for one, other in zip(sweeps[0].cameras, sweep.cameras, strict=True):
            shutil.copyfile(one.path, other.path)
    assert (
        odd(verify_index(index_of(sweeps, tmp_path / "drive", tmp_path / "index"), calibration=False)) == []
    )


REAL: dict[str, tuple[str, str]] = {
    "nuScenes": ("nuscenes", "nuscenes"),
    "KITTI raw": ("kitti_raw", "kitti_raw"),
    "KITTI object": ("kitti_object", "kitti_object"),
    "SemanticKITTI": ("semantic_kitti", "semantic_kitti"),
    "Argoverse 2": ("argoverse2", "argoverse2"),
    "PandaSet": ("pandaset", "pandaset"),
}


@pytest.mark.parametrize("name", REAL)
def test_a_real_sample_raises_nothing(name: str, real_data: Path, tmp_path: Path) -> None:
    reader, folder = REAL[name]
    source = open_reader(
        reader, real_data / folder, **({"version": "v1.0-mini"} if name == "nuScenes" else {})
    )
    metadata = {**source.metadata, "rebuild": "again"}
    index = SweepIndex.open(write_index(tmp_path / "index", source.sweeps(), metadata))
    # Whether the scores of calibration are sound on these is asked where they are tested.
    result = verify_index(index, calibration=False)
    assert odd(result) == []
    assert result.opened == len(index) > 0


def test_a_simulated_drive_raises_nothing_and_a_turned_camera_does(tiny_index: Path, tmp_path: Path) -> None:
    index = SweepIndex.open(tiny_index)
    assert odd(verify_index(index, every=3, calibration=False)) == []
    turn = make_SE3(yaw_matrix(np.radians(6.0)), [0.0, 0.0, 0.0])
    sweeps = [index[row] for row in range(len(index))]
    fronts = [tuple(camera for camera in one.cameras if camera.name == "CAM_FRONT") for one in sweeps]
    right = [
        replace(one, cameras=front, lidarseg_path=None) for one, front in zip(sweeps, fronts, strict=True)
    ]
    wrong = change_camera(right, lambda _: True, "CAM_FRONT", ego_SE3_cam=lambda c: turn @ c.ego_SE3_cam)
    for rows, expected in ((right, {}), (wrong, {CALIBRATION[1]: CALIBRATION[2]})):
        made = index_of(rows, index.root, tmp_path / f"{len(expected)}")
        result = verify_index(made, every=1000)
        assert {finding.name: finding.state for finding in odd(result)} == expected
        assert CALIBRATION[1] in {finding.name for finding in result.findings}


def test_the_docs_have_each_fault() -> None:
    text = DOCS.read_text(encoding="utf-8").partition("## Faults")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| `(.+?)` \| (warning|problem) \|$", text, re.MULTILINE)
    tried = [(fault.name, fault.finding, fault.state) for fault in FAULTS]
    assert len(tried) == len({name for name, *_ in tried}) >= 30
    assert sorted(rows) == sorted([*tried, CALIBRATION])


class TestOptions:
    @pytest.fixture(scope="class")
    def index(self, sound: Path, tmp_path_factory: pytest.TempPathFactory) -> SweepIndex:
        return index_of(records(sound), sound, tmp_path_factory.mktemp("options") / "index")

    def test_two_processes_find_what_one_does(self, sound: Path, tmp_path: Path) -> None:
        root = tmp_path / "drive"
        shutil.copytree(sound, root)
        sweeps = records(root)
        for n in (1, 4, 9):
            sweeps[n].path.unlink()
        index = index_of(sweeps, root, tmp_path / "index")
        seen: list[tuple[int, int]] = []
        one = verify_index(index, calibration=False, progress=lambda *at: seen.append(at))
        two = verify_index(index, workers=2, calibration=False)
        assert one.findings == two.findings
        assert one.places == two.places
        assert len(one.places["missing files of LiDAR"]) == 3
        assert seen == sorted(seen)
        assert seen[-1] == (16, 16)

    def test_every_opens_a_part_and_looks_at_all(self, index: SweepIndex) -> None:
        result = verify_index(index, every=3, calibration=False)
        assert (result.sweeps, result.opened) == (16, SCENES * 3)
        assert odd(result) == []

    def test_a_split_alone(self, index: SweepIndex) -> None:
        result = verify_index(index, split="val", calibration=False)
        assert (result.sweeps, result.opened) == (8, 8)
        assert odd(result) == []  # the labels of the other split are no orphans
        with pytest.raises(DataError, match="no key frame is in split 'vall'; did you mean 'val'"):
            verify_index(index, split="vall")

    @pytest.mark.parametrize("options", [{"workers": 0}, {"every": 0}])
    def test_numbers_below_one_are_refused(self, index: SweepIndex, options: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="expected at least 1"):
            verify_index(index, **options)

    def test_scenes_that_are_long_pass_in_pieces(
        self, index: SweepIndex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sound: Path
    ) -> None:
        whole = verify_index(index, calibration=False)
        monkeypatch.setattr("pc3d.data.verify.run.PIECE", 3)
        pieces = verify_index(index, calibration=False)
        assert (pieces.sweeps, pieces.opened, odd(pieces)) == (whole.sweeps, whole.opened, [])
        # The step between two pieces is looked at, too.
        late_from = change(records(sound), lambda n: n % STEPS >= 3, timestamp=late(3), cameras=())
        found = odd(verify_index(index_of(late_from, sound, tmp_path / "late"), calibration=False))
        assert "gaps in time" in [finding.name for finding in found]


def test_the_result_as_json(tmp_path: Path) -> None:
    findings = (Finding("a", "ok", "x"), Finding("b", "problem", "y", "z"), Finding("c", "warning", "w"))
    result = Verification("i", "r", "f", 7, 5, 9, 1.5, findings, {"b": ["here", "there"]})
    write_verification(tmp_path / "deep" / "verify.json", result)
    read = json.loads((tmp_path / "deep" / "verify.json").read_text())
    assert read["verdict"] == "problem"
    assert [finding["name"] for finding in read["findings"]] == ["b", "c", "a"]
    assert read["findings"][0]["places"] == ["here", "there"]
    assert (read["sweeps"], read["opened"], read["files"], read["seconds"]) == (7, 5, 9, 1.5)
    text = result.text()
    assert "1 problem, 1 warning" in text
    assert "a: x" not in text
    assert "a: x" in result.text(verbose=True)
    assert "there" in result.text(verbose=True)


def test_notes_stay_small_and_add_up() -> None:
    total = Notes()
    for part in range(5):
        notes = Notes()
        for n in range(1000):
            notes.look("rings", n % 2 == 0, f"{part} {n}")
            notes.unknown[part * 1000 + n] += 1
        total.add(notes)
    assert total.seen["rings", ""] == 2500
    assert total.of["rings", ""] == 5000
    assert total.places()["rings"] == [f"0 {n}" for n in range(0, 2 * EXAMPLES, 2)]
    assert len(total.unknown) <= 1000


def test_a_decoder_that_fails_oddly_ends_nothing(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pc3d.data.verify.opened as opened

    load: Callable[..., np.ndarray] = opened.load_sweep

    def broken(sweep: Sweep, extra: tuple[str, ...]) -> np.ndarray:
        if sweep.token == "s0f3":
            raise KeyError("x")
        return load(sweep, extra)

    monkeypatch.setattr(opened, "load_sweep", broken)
    result = verify_index(index_of(records(sound), sound, tmp_path / "index"), calibration=False)
    assert [(f.name, f.state) for f in odd(result)] == [("damaged files of LiDAR", "problem")]
    assert "KeyError: 'x', sweep s0f3" in odd(result)[0].text
