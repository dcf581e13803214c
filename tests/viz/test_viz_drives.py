"""A drive as a sequence of pictures and as a recording for the rerun viewer."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from pc3d.cli import dispatch
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.points import load_sweep
from pc3d.data.records import Camera, Lidar, Sweep
from pc3d.geometry.camera import project
from pc3d.geometry.rigid import make_SE3, yaw_matrix
from pc3d.viz.colours import NEUTRAL
from pc3d.viz.rerun import straight_image
from pc3d.viz.sequence import draw_sequence
from pc3d.viz.sweep_colours import ColourOptions, point_colours


@pytest.fixture(scope="module")
def index(tiny_index: Path) -> SweepIndex:
    return SweepIndex.open(tiny_index)


def paint(row: int, path: Path) -> None:
    """A picture that says its row by its grey; odd rows are smaller."""
    size = (1200, 600) if row % 2 == 0 else (300, 300)
    Image.new("RGB", size, (10 * row + 40,) * 3).save(path)


def test_a_folder_of_numbered_pictures(index: SweepIndex, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    paths = draw_sequence(index, [0, 2, 5], tmp_path / "frames", paint, lambda *at: done.append(at))
    assert [path.name for path in paths] == ["000000.png", "000002.png", "000005.png"]
    assert all(path.is_file() for path in paths)
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_a_gif_runs_at_the_pace_of_the_sweeps(index: SweepIndex, tmp_path: Path) -> None:
    rows = list(range(5))
    draw_sequence(index, rows, tmp_path / "drive.gif", paint)
    expected = np.diff([index[row].timestamp for row in rows]) / 1000
    with Image.open(tmp_path / "drive.gif") as gif:
        assert gif.n_frames == 5
        shown, middles = [], []
        for frame in range(5):
            gif.seek(frame)
            shown.append(gif.info["duration"])
            picture = np.asarray(gif.convert("RGB"))
            assert picture.shape == (480, 960, 3)
            middles.append(int(picture[240, 480, 0]))
    np.testing.assert_allclose(shown[:4], expected, atol=10)  # a GIF counts in 10 ms
    np.testing.assert_allclose(middles, [40, 50, 60, 70, 80], atol=3)


def test_another_file_is_refused(index: SweepIndex, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a sequence is no \.mp4 file"):
        draw_sequence(index, [0], tmp_path / "drive.mp4", paint)


@pytest.mark.parametrize(
    ("model", "distortion"),
    [
        ("brown", (-0.25, 0.06, 0.001, -0.001, 0.0)),
        ("fisheye", (0.05, -0.02, 0.004, -0.001)),
        ("mei", (0.9, 0.01, 0.0, 0.0, 0.0)),
    ],
)
def test_a_straightened_image_shows_points_where_a_pinhole_sees_them(
    model: str, distortion: tuple[float, ...]
) -> None:
    K = np.array([[200.0, 0, 160], [0, 200.0, 120], [0, 0, 1]])
    camera = Camera("C", Path("x"), (320, 240), K, np.eye(4), np.eye(4), 0, distortion, model)
    points = np.array([[-0.5, 0.3, 1.0], [0.4, -0.2, 1.0], [0.0, 0.0, 1.0], [0.3, 0.4, 1.0]])
    bent, _ = project(points, K, camera.lens)
    image = np.zeros((240, 320, 3), np.uint8)
    for at, (u, v) in enumerate(bent.astype(int)):
        image[v - 2 : v + 3, u - 2 : u + 3] = 60 * (at + 1)
    straight = straight_image(image, camera, (320, 240))
    for at, point in enumerate(points):
        u, v = (K @ point)[:2]
        assert straight[int(v), int(u), 0] == 60 * (at + 1)


class TestRecording:
    @pytest.fixture(scope="class")
    def recording(
        self, tiny_index: Path, tiny_regions: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> Path:
        pytest.importorskip("rerun", reason="the extra `rerun` is not installed")
        path = tmp_path_factory.mktemp("recording") / "drive.rrd"
        arguments = ["--sequence", "0", "20", "--key-frames", "--step", "4", "--rerun", str(path)]
        dispatch(["visualize", str(tiny_index), *arguments, "--regions", str(tiny_regions)])
        return path

    def columns(self, recording: Path, entity: str, index: str = "row") -> dict[str, list]:
        import rerun.dataframe

        view = rerun.dataframe.load_recording(recording).view(index=index, contents=f"/{entity}/**")
        return view.select().read_all().to_pydict()

    def test_points_are_those_of_the_sweeps(self, recording: Path, index: SweepIndex) -> None:
        read = self.columns(recording, "world/ego/lidar")
        rows = index.key_rows(None)[::4].tolist()
        assert read["row"] == rows
        for row, points in zip(rows, read["/world/ego/lidar/points:Position3D"], strict=True):
            np.testing.assert_array_equal(np.array(points, np.float32), load_sweep(index[row])[:, :3])

    def test_boxes_labels_and_regions_are_there(self, recording: Path, index: SweepIndex) -> None:
        read = self.columns(recording, "world/ego/lidar")
        for at, row in enumerate(index.key_rows(None)[::4].tolist()):
            boxes = index[row].boxes
            assert boxes is not None
            centers = np.array(read["/world/ego/lidar/boxes:PoseTranslation3D"][at])
            np.testing.assert_allclose(centers, boxes.centers, atol=1e-4)
            turns = np.array(read["/world/ego/lidar/boxes:PoseRotationQuat"][at])
            np.testing.assert_allclose(
                np.exp(2j * np.arctan2(turns[:, 2], turns[:, 3])), np.exp(1j * boxes.yaws), atol=1e-5
            )
            points = len(read["/world/ego/lidar/points:Position3D"][at])
            assert len(read["/world/ego/lidar/labels:ClassId"][at]) == points
            assert len(set(map(tuple, read["/world/ego/lidar/regions:Position3D"][at]))) > 1
            assert len(read["/world/ego/lidar/regions:region"][at]) == points

    def test_a_point_is_seen_through_a_recorded_camera(self, recording: Path, index: SweepIndex) -> None:
        """Transforms and pinholes of the recording put a point where the index does."""
        read = self.columns(recording, "world")
        row = int(index.key_rows(None)[0])
        sweep = index[row]
        camera = sweep.cameras[0]
        ego, lidar, cam = (
            self.pose(read, name, 0)
            for name in ("world/ego", "world/ego/lidar", f"world/cameras/{camera.name}")
        )
        name = f"/world/cameras/{camera.name}"
        K = np.array(read[f"{name}:PinholeProjection"][0]).reshape(3, 3).T
        size = np.array(read[f"{name}:Resolution"][0]).ravel()
        points = load_sweep(sweep)[:500, :3].astype(np.float64)
        seen = np.linalg.inv(cam) @ ego @ lidar @ np.column_stack([points, np.ones(len(points))]).T
        uv = (K @ seen[:3])[:2] / seen[2]
        world = sweep.world_SE3_ego @ sweep.ego_SE3_lidar
        chain = np.linalg.inv(camera.world_SE3_ego @ camera.ego_SE3_cam) @ world
        own = chain[:3, :3] @ points.T + chain[:3, 3:]
        expected = (camera.intrinsics @ own)[:2] / own[2] * (size / camera.size)[:, None]
        ahead = own[2] > 1
        assert ahead.sum() > 20
        np.testing.assert_allclose(uv[:, ahead], expected[:, ahead], atol=0.05, rtol=1e-3)
        blob = bytes(np.array(read[f"{name}/image:Blob"][0][0], np.uint8))
        assert blob[:3] == b"\xff\xd8\xff"

    def pose(self, read: dict[str, list], name: str, at: int) -> np.ndarray:
        pose = np.eye(4)
        pose[:3, :3] = np.array(read[f"/{name}:TransformMat3x3"][at]).reshape(3, 3).T
        pose[:3, 3] = np.array(read[f"/{name}:Translation3D"][at]).ravel()
        return pose

    def test_the_time_is_that_of_the_drive(self, recording: Path, index: SweepIndex) -> None:
        read = self.columns(recording, "world/ego/lidar", "time")
        rows = index.key_rows(None)[::4].tolist()
        expected = [(index[row].timestamp - index[rows[0]].timestamp) / 1e6 for row in rows]
        values = [one.value / 1e9 for one in read["time"]]  # a pandas Timestamp, in nanoseconds
        # Scenes of the simulated set follow each other in time, or start anew.
        np.testing.assert_allclose(sorted(values), sorted(expected), atol=1e-6)


def test_without_rerun_the_remedy_is_named(index: SweepIndex, tmp_path: Path) -> None:
    from pc3d.viz.rerun import RecordingOptions, write_recording

    with (
        patch.dict(sys.modules, {"rerun": None}),
        pytest.raises(ImportError, match=r"pip install .pc3d\[rerun\]"),
    ):
        write_recording(index, [0], tmp_path / "x.rrd", RecordingOptions(ColourOptions()))


class TestColumns:
    """Colours by further columns of the points."""

    def test_each_lidar_has_its_colour_and_what_lacks_a_column_is_grey(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        table = np.column_stack(
            [rng.uniform(-9, 9, (160, 3)), rng.integers(0, 256, 160), np.arange(160) % 16]
        )
        table.astype(np.float32).tofile(tmp_path / "top.bin")
        rear = np.column_stack([rng.uniform(-9, 9, (60, 3)), rng.uniform(0, 1, 60)])
        rear.astype(np.float32).tofile(tmp_path / "rear.bin")
        pose = np.eye(4)
        sweep = Sweep("t", "s", 0, True, tmp_path / "top.bin", "nuscenes", pose, pose, "train")
        colours = point_colours(load_sweep(sweep), sweep, ColourOptions("ring"))
        rings = np.fromfile(sweep.path, np.float32).reshape(-1, 5)[:, 4]
        assert len({tuple(colours[rings == ring][0]) for ring in (0, 15)}) == 2
        two = replace(
            sweep,
            lidars=(Lidar("rear", tmp_path / "rear.bin", "kitti", make_SE3(yaw_matrix(0.1), [-1, 0, 0])),),
        )
        by_lidar = point_colours(load_sweep(two), two, ColourOptions("lidar"))
        assert len(np.unique(by_lidar[:160], axis=0)) == len(np.unique(by_lidar[160:], axis=0)) == 1
        assert tuple(by_lidar[0]) != tuple(by_lidar[-1])
        by_ring = point_colours(load_sweep(two), two, ColourOptions("ring"))
        assert (by_ring[160:] == NEUTRAL).all()
        with pytest.raises(DataError, match="the points have no column 'time'"):
            point_colours(load_sweep(sweep), sweep, ColourOptions("time"))


class TestCommand:
    @pytest.mark.parametrize(
        ("arguments", "what"),
        [
            (["--sequence", "3", "1", "--out", "x.gif"], "upwards"),
            (["--sequence", "0", "3"], "give --out FOLDER"),
            (["--sequence", "0", "99", "--out", "x.gif"], "--sequence 99"),
            (["--rerun", "x.png"], "writes a recording"),
            (["--rerun", "x.rrd", "--out", "x.png"], "goes without --out"),
            (["--view", "sheet"], "makes a picture"),
        ],
    )
    def test_what_does_not_go_together(self, arguments: list[str], what: str, tiny_index: Path) -> None:
        with pytest.raises(ValueError, match=what):
            dispatch(["visualize", str(tiny_index), *arguments])

    def test_a_sequence_of_sheets_and_flat_views(self, tiny_index: Path, tmp_path: Path) -> None:
        arguments = ["--sequence", "0", "1", "--view", "flat", "--boxes", "--out", str(tmp_path / "flat")]
        dispatch(["visualize", str(tiny_index), *arguments])  # row 1 is no key frame and has no boxes
        assert sorted(path.name for path in (tmp_path / "flat").iterdir()) == ["000000.png", "000001.png"]
        dispatch(["visualize", str(tiny_index), "--view", "sheet", "--out", str(tmp_path / "sheet.jpg")])
        with Image.open(tmp_path / "sheet.jpg") as picture:
            assert picture.width == 1600

    def test_verify_and_inspect(
        self, tiny_index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = [
            "--every",
            "10",
            "--workers",
            "1",
            "--no-calibration",
            "--json",
            str(tmp_path / "v.json"),
        ]
        with pytest.raises(SystemExit) as ended:
            dispatch(["verify", str(tiny_index), *arguments])
        assert ended.value.code == 0
        assert "0 problems, 0 warnings" in capsys.readouterr().out
        assert json.loads((tmp_path / "v.json").read_text())["verdict"] == "ok"
        broken = ["verify", str(tiny_index), "--root", str(tmp_path), "--workers", "1", "--no-calibration"]
        with pytest.raises(SystemExit) as ended:
            dispatch(broken)
        assert ended.value.code == 1
        assert "missing files of LiDAR" in capsys.readouterr().out
        page = tmp_path / "page.html"
        dispatch(
            [
                "inspect",
                str(tiny_index),
                "--out",
                str(page),
                "--samples",
                "2",
                "--sheets",
                "1",
                "--no-calibration",
            ]
        )
        assert page.stat().st_size > 100_000
        with pytest.raises(DataError, match="the page is an HTML file"):
            dispatch(["inspect", str(tiny_index), "--out", "page.pdf"])
        with pytest.raises(ValueError, match="--every is 0"):
            dispatch(["verify", str(tiny_index), "--every", "0"])
