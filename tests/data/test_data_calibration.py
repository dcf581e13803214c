"""Calibration scores: made-up scenes with known edges, the simulator's rig, and the real samples."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pc3d.data.build import build_index
from pc3d.data.calibration import calibration_findings, calibration_scores
from pc3d.data.calibration.agreement import turn
from pc3d.data.calibration.edges import edge_map, scan_edges
from pc3d.data.index import SweepIndex
from pc3d.data.points import load_sweep
from pc3d.data.records import Camera, Sweep
from pc3d.geometry.rigid import invert_SE3, matrix_to_quaternion, quaternion_to_matrix

UP = np.array([0.0, 0, 1])
Change = Callable[[Sweep], Sweep]


class Changed(SweepIndex):
    """An index whose sweeps are changed on reading."""

    def __init__(self, folder: Path, change: Change, rows: list[int] | None = None) -> None:
        index = SweepIndex.open(folder)
        super().__init__(index.folder, index.root, index.metadata, 4)
        self.change, self.rows = change, rows

    def key_rows(self, split: str | None = None) -> np.ndarray:
        return super().key_rows() if self.rows is None else np.array(self.rows)

    def __getitem__(self, row: int) -> Sweep:
        return self.change(super().__getitem__(row))


def posed(pose: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    changed = pose.copy()
    changed[:3, :3] = rotation
    return changed


def cameras(change: Callable[[Sweep, Camera], Camera]) -> Change:
    return lambda sweep: replace(sweep, cameras=tuple(change(sweep, camera) for camera in sweep.cameras))


def poses(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return cameras(lambda _, camera: replace(camera, ego_SE3_cam=change(camera.ego_SE3_cam)))


def lidar(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda sweep: replace(sweep, ego_SE3_lidar=change(sweep.ego_SE3_lidar))


def yaw(degrees: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pose: posed(pose, turn(UP, degrees) @ pose[:3, :3])


def xyzw(pose: np.ndarray) -> np.ndarray:
    """The pose whose quaternion was written w x y z and read as x y z w."""
    w, x, y, z = matrix_to_quaternion(pose[:3, :3])
    return posed(pose, quaternion_to_matrix(np.array([z, w, x, y])))


def exchanged(what: str) -> Change:
    """CAM_FRONT and CAM_BACK_LEFT with each other's images or extrinsics."""

    def change(sweep: Sweep, camera: Camera) -> Camera:
        pair = {"CAM_FRONT": "CAM_BACK_LEFT", "CAM_BACK_LEFT": "CAM_FRONT"}
        other = {c.name: c for c in sweep.cameras}[pair.get(camera.name, camera.name)]
        return replace(camera, **{what: getattr(other, what)})

    return cameras(change)


def states(index: SweepIndex, names: list[str] | None = None) -> dict[str, str]:
    return {f.name.removeprefix("calibration "): f.state for f in calibration_findings(index, names)}


def points(matrix: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points as a wrong reader or unit would give them."""

    def changed(*args: object) -> np.ndarray:
        found = load_sweep(*args).copy()  # type: ignore[arg-type]
        found[:, :3] = found[:, :3] @ matrix.T.astype(np.float32)
        return found

    monkeypatch.setattr("pc3d.data.calibration.scores.load_sweep", changed)


def transposed(how: Image.Transpose, folder: Path) -> Change:
    """CAM_FRONT_LEFT with its pictures written the other way round."""

    def change(_: Sweep, camera: Camera) -> Camera:
        if camera.name != "CAM_FRONT_LEFT":
            return camera
        path = folder / camera.path.with_suffix(".png").name
        Image.open(camera.path).transpose(how).save(path, compress_level=1)
        return replace(camera, path=path)

    return cameras(change)


def front_left(name: str, change: Callable[[Camera], object]) -> Change:
    def changed(_: Sweep, camera: Camera) -> Camera:
        spoiled: dict[str, Any] = {name: change(camera)}
        return replace(camera, **spoiled) if camera.name == "CAM_FRONT_LEFT" else camera

    return cameras(changed)


@pytest.fixture(scope="module")
def real_index(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real") / "index"
    build_index("nuscenes", real_data / "nuscenes", folder, "the fixture", version="v1.0-mini")
    return folder


def test_scan_edges_are_the_sides_of_a_pillar_and_the_end_of_a_wall() -> None:
    azimuth = np.radians(np.arange(-40, 40, 0.35))
    ranges = np.where(np.abs(np.degrees(azimuth)) < 5, 8.0, 20.0)
    rows = [
        np.stack([ranges * np.cos(azimuth), ranges * np.sin(azimuth), ranges * e], axis=1) for e in (0.0, 0.1)
    ]
    found = scan_edges(np.concatenate(rows).astype(np.float32))
    at = np.abs(np.degrees(np.arctan2(found.edges[:, 1], found.edges[:, 0])))
    distance = np.linalg.norm(found.edges[:, :2], axis=1)
    assert np.all(at[distance < 10] > 3.5)
    assert np.all(at[distance > 10] > 38)
    assert (distance < 10).sum() >= 4
    assert len(scan_edges(np.zeros((5, 4), np.float32)).edges) == 0


def test_edge_map_shows_upright_edges_only(tmp_path: Path) -> None:
    picture = np.full((90, 160, 3), 40, np.uint8)
    picture[:, 100:] = 200
    picture[60:] //= 2
    Image.fromarray(picture).save(tmp_path / "a.png")
    K = np.array([[165.0, 0, 80], [0, 165, 45], [0, 0, 1]])
    found = edge_map(Camera("a", tmp_path / "a.png", (160, 90), K, np.eye(4), np.eye(4), 0))
    assert found.shape == (90, 160)
    assert set(found.argmax(axis=1)) <= {99, 100}
    assert found[:, :90].max() < 0.1 * found.max()


def test_clean_simulated_drives_fit_and_scores_are_the_same_again(tiny_index: Path) -> None:
    index = SweepIndex.open(tiny_index)
    scores = calibration_scores(index)
    assert {score.verdict for score in scores} == {"fits"}
    assert len(scores) == 6
    assert all(0.4 < score.coverage / score.expected < 1.6 for score in scores)
    assert calibration_scores(index, ["CAM_BACK", "CAM_FRONT"]) == [
        score for score in scores if score.camera in ("CAM_BACK", "CAM_FRONT")
    ]
    assert calibration_findings(index, ["CAM_BACK"])[0].state == "ok"


def test_a_yaw_of_five_degrees_names_the_turn_back(tiny_index: Path) -> None:
    only = cameras(
        lambda _, c: replace(c, ego_SE3_cam=yaw(5)(c.ego_SE3_cam)) if c.name == "CAM_FRONT_LEFT" else c
    )
    looked_at = ["CAM_BACK", "CAM_FRONT", "CAM_FRONT_LEFT"]
    found = {f.name: f for f in calibration_findings(Changed(tiny_index, only), looked_at)}
    wrong = found.pop("calibration CAM_FRONT_LEFT")
    assert wrong.state == "problem"
    assert "turned by 5 degrees to the right about the vertical axis" in wrong.text
    assert "data.calibration=warn" in wrong.remedy
    assert {f.state for f in found.values()} == {"ok"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (poses(invert_SE3), "ego_SE3_cam is inverted"),
        pytest.param(lidar(invert_SE3), "ego_SE3_lidar is inverted", marks=pytest.mark.long),
        (exchanged("ego_SE3_cam"), "it has the place of CAM_"),
        # A test of its own has them exchanged in one drive.
        pytest.param(exchanged("path"), "its images are those of CAM_", marks=pytest.mark.long),
        (poses(xyzw), "the quaternion of ego_SE3_cam is x y z w|w x y z"),
        (lidar(yaw(-5)), "turned by 5 degrees to the right"),
    ],
    ids=["inverted", "lidar-inverted", "places", "images", "quaternion", "lidar-yaw"],
)
def test_known_faults_are_named(tiny_index: Path, change: Change, says: str) -> None:
    found = calibration_findings(Changed(tiny_index, change), ["CAM_FRONT", "CAM_BACK_LEFT"])
    back_left, front = found
    assert back_left.state == "problem"
    assert any(part in back_left.text for part in says.split("|")), back_left.text
    if "quaternion" not in says:  # the front camera's axes are permuted into themselves
        assert front.state == "problem"


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (Image.Transpose.ROTATE_180, "turned by 180 degrees"),
        (Image.Transpose.FLIP_LEFT_RIGHT, "mirrored left to right"),
        pytest.param(Image.Transpose.FLIP_TOP_BOTTOM, "upside down", marks=pytest.mark.long),
    ],
)
def test_pictures_the_other_way_round(
    tiny_index: Path, tmp_path: Path, how: Image.Transpose, says: str
) -> None:
    index = Changed(tiny_index, transposed(how, tmp_path))
    found = calibration_findings(index, ["CAM_FRONT_LEFT", "CAM_FRONT_RIGHT"])
    assert [one.state for one in found] == ["problem", "ok"]
    assert f"its images are {says}" in found[0].text


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        (np.diag([1.0, -1, 1]), "y of the LiDAR's points has the wrong sign"),
        pytest.param(
            np.diag([1.0, 1, -1]), "z of the LiDAR's points has the wrong sign", marks=pytest.mark.long
        ),
        pytest.param(
            np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]),
            "x and y of the LiDAR's points are exchanged",
            marks=pytest.mark.long,
        ),
        (np.eye(3) / 0.3048, "the LiDAR's points are in feet"),
    ],
)
def test_points_of_other_axes_or_units(
    tiny_index: Path, monkeypatch: pytest.MonkeyPatch, matrix: np.ndarray, says: str
) -> None:
    points(matrix, monkeypatch)
    found = calibration_findings(SweepIndex.open(tiny_index), ["CAM_FRONT_LEFT", "CAM_FRONT_RIGHT"])
    assert {one.state for one in found} == {"problem"}
    assert all(says in one.text for one in found)


def test_points_in_kilometres(tiny_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points(np.eye(3) / 1000, monkeypatch)
    found = calibration_findings(SweepIndex.open(tiny_index), ["CAM_FRONT_LEFT"])
    assert [one.state for one in found] == ["ok", "warning"]
    assert "no point lies farther than 3 m away" in found[1].text


@pytest.mark.parametrize(
    ("lens", "says"),
    [
        (lambda c: c.intrinsics @ np.diag([1.1, 1.1, 1]), "the focal length is 1.1"),
        (lambda c: np.block([[c.intrinsics[:2, :2], c.intrinsics[[1, 0], 2:]], [0, 0, 1]]), "cx and cy"),
    ],
)
def test_lenses(tiny_index: Path, lens: Callable[[Camera], np.ndarray], says: str) -> None:
    (found,) = calibration_findings(Changed(tiny_index, front_left("intrinsics", lens)), ["CAM_FRONT_LEFT"])
    assert found.state == "problem"
    assert says in found.text


def test_images_exchanged_in_one_drive(tiny_index: Path) -> None:
    index = SweepIndex.open(tiny_index)
    first = index[int(index.key_rows()[0])].scene
    change = exchanged("path")
    part = Changed(tiny_index, lambda sweep: change(sweep) if sweep.scene == first else sweep)
    found = calibration_findings(part, ["CAM_FRONT", "CAM_BACK_LEFT"])
    assert {one.state for one in found} == {"problem"}
    for one, other in zip(found, ("CAM_FRONT", "CAM_BACK_LEFT"), strict=True):
        assert f"its images are those of {other}" in one.text
        assert f"those of scene {first}" in one.text


def test_a_camera_that_nothing_fits_is_named_beside_those_that_fit(tiny_index: Path) -> None:
    odd = turn(np.array([0.6, 0, 0.8]), 35)
    spoiled = front_left("ego_SE3_cam", lambda c: posed(c.ego_SE3_cam, c.ego_SE3_cam[:3, :3] @ odd))
    found = {one.name[12:]: one for one in calibration_findings(Changed(tiny_index, spoiled))}
    wrong = found.pop("CAM_FRONT_LEFT")
    assert wrong.state == "warning"
    assert re.search(r"nothing that was tried fits: .*, though those of CAM_\w+ do at \d+", wrong.text)
    assert {one.state for one in found.values()} == {"ok"}


def test_one_picture_for_all_times(tiny_index: Path) -> None:
    index = SweepIndex.open(tiny_index)
    (path,) = (c.path for c in index[int(index.key_rows()[4])].cameras if c.name == "CAM_FRONT_LEFT")
    (found,) = calibration_findings(
        Changed(tiny_index, front_left("path", lambda _: path)), ["CAM_FRONT_LEFT"]
    )
    assert found.state == "warning"
    assert re.search(r"\d frames have one and the same image", found.text)


def test_pictures_of_another_place_fit_no_camera(tiny_index: Path) -> None:
    index = SweepIndex.open(tiny_index)
    rows = [int(row) for row in index.key_rows()]
    paths = [{camera.name: camera.path for camera in index[row].cameras} for row in rows]
    other = {index[row].token: paths[(at + len(rows) // 2) % len(rows)] for at, row in enumerate(rows)}
    moved = cameras(lambda sweep, camera: replace(camera, path=other[sweep.token][camera.name]))
    two = ["CAM_BACK_LEFT", "CAM_FRONT"]
    found = {one.name: one for one in calibration_findings(Changed(tiny_index, moved), two)}
    assert found["calibration"].state == "warning"
    assert "no camera fits" in found["calibration"].text


def test_one_drive_with_a_wrong_calibration_is_seen_beside_right_ones(tiny_index: Path) -> None:
    scenes = {SweepIndex.open(tiny_index)[int(row)].scene for row in SweepIndex.open(tiny_index).key_rows()}
    wrong = max(scenes)
    inverted = poses(invert_SE3)
    index = Changed(tiny_index, lambda sweep: inverted(sweep) if sweep.scene == wrong else sweep)
    (found,) = calibration_findings(index, ["CAM_FRONT"])
    assert found.state == "problem"
    assert "ego_SE3_cam is inverted" in found.text
    assert re.search(r"in \d of \d frames, those with this calibration", found.text)


def test_real_key_frame(real_index: Path) -> None:
    """One frame is enough, for each of six cameras."""
    assert set(states(SweepIndex.open(real_index)).values()) == {"ok"}
    for change in (lidar(yaw(-5)), poses(invert_SE3), exchanged("ego_SE3_cam")):
        found = states(Changed(real_index, change), ["CAM_FRONT", "CAM_BACK_LEFT"])
        assert found["CAM_FRONT"] == found["CAM_BACK_LEFT"] == "problem"
    assert set(states(Changed(real_index, poses(yaw(5)))).values()) == {"problem"}


def test_a_vehicle_that_stands_is_no_more_evidence_than_one_frame(real_index: Path) -> None:
    assert set(states(Changed(real_index, lambda s: s, [0] * 4), ["CAM_BACK"]).values()) == {"ok"}


@pytest.mark.parametrize("kind", ["blank", pytest.param("noise", marks=pytest.mark.long), "stripes"])
def test_images_that_show_nothing_raise_no_alarm(tiny_index: Path, tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    picture = {
        "blank": np.zeros((225, 400, 3)),
        "noise": rng.normal(20, 10, (225, 400, 3)).clip(0, 255),
        "stripes": np.broadcast_to((np.arange(400) // 17 % 2 * 255)[None, :, None], (225, 400, 3)),
    }[kind]
    Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "a.png")
    shown = cameras(lambda _, camera: replace(camera, path=tmp_path / "a.png"))
    found = calibration_findings(Changed(tiny_index, shown, [0, 7]), ["CAM_FRONT", "CAM_BACK"])
    assert {finding.state for finding in found} == {"ok"}
    assert all(finding.text.startswith("cannot tell") for finding in found)


def test_without_images_or_with_broken_ones_there_is_nothing_to_say(tiny_index: Path, tmp_path: Path) -> None:
    assert calibration_findings(Changed(tiny_index, lambda s: replace(s, cameras=()))) == []
    missing = cameras(lambda _, camera: replace(camera, path=tmp_path / "none.jpg"))
    assert calibration_scores(Changed(tiny_index, missing)) == []
    found = calibration_findings(Changed(tiny_index, missing), ["CAM_BACK"])
    assert [(one.name, one.state) for one in found] == [("calibration CAM_BACK", "warning")]
    assert re.search(
        r"(\d+) of \1 pictures that were looked at cannot be read, first: .*none.jpg", found[0].text
    )


def test_a_camera_that_looks_at_the_sky_is_a_warning(tiny_index: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((225, 400, 3), np.uint8)).save(tmp_path / "a.png")
    up = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    sky = cameras(
        lambda _, camera: replace(camera, path=tmp_path / "a.png", ego_SE3_cam=posed(camera.ego_SE3_cam, up))
    )
    (found,) = calibration_findings(Changed(tiny_index, sky, [0]), ["CAM_FRONT"])
    assert found.state == "warning"
    assert "looks past what the LiDAR sees" in found.text
