"""Sweeps of a bag that the test writes: a vehicle on an arc past a fixed field of points, all of it known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="the extra `ros` is not installed")

from bag_files import ROS2, START, camera_info, cloud, header, image, odometry, read, tf, write_ros2
from scipy.spatial.transform import Rotation

from pc3d.data.errors import DataError
from pc3d.data.images import load_image
from pc3d.data.motion import with_motion
from pc3d.data.points import load_points, load_sweep
from pc3d.geometry.rigid import invert_SE3, make_SE3, transform_points

MS = 10**6

WORLD = np.random.default_rng(0).uniform([5, -20, -1], [40, 20, 4], (300, 3))
EGO_SE3 = {
    "front": make_SE3(Rotation.from_euler("z", 10, degrees=True).as_matrix(), [1.5, 0, 1.7]),
    "rear": make_SE3(Rotation.from_euler("zy", [170, 5], degrees=True).as_matrix(), [-1.0, 0.2, 1.9]),
    "cam": make_SE3(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), [1.7, 0, 1.5]),
}


def pose_at(stamp: int) -> np.ndarray:
    """The vehicle at a time: on an arc, 10 m/s, 0.2 rad/s."""
    t = 1e-9 * (stamp - START)
    turn = Rotation.from_euler("z", 0.2 * t).as_matrix()
    return make_SE3(turn, [50 * np.sin(0.2 * t), 50 * (1 - np.cos(0.2 * t)), 0.0])


def seen_from(frame: str, stamp: int) -> np.ndarray:
    """(P, 3) the field in a sensor's frame at a time."""
    return transform_points(invert_SE3(pose_at(stamp) @ EGO_SE3[frame]), WORLD)


def _cloud(frame: str, stamp: int) -> object:
    xyz = seen_from(frame, stamp).astype(np.float32)
    columns = {name: xyz[:, k].copy() for k, name in enumerate("xyz")}
    return cloud(stamp, frame, {**columns, "intensity": np.arange(len(xyz)).astype(np.float32) % 256})


def _xyzw(pose: np.ndarray) -> np.ndarray:
    return Rotation.from_matrix(pose[:3, :3]).as_quat()


def drive_rows(count: int = 6) -> list:
    """Messages of a known drive: two LiDARs 30 ms apart, a camera at 15 Hz, odometry at 50 Hz."""
    size, K = (64, 48), np.array([[40.0, 0, 31.5], [0, 40, 23.5], [0, 0, 1]])
    mounts = [(START, "base", f, pose[:3, 3], _xyzw(pose)) for f, pose in EGO_SE3.items()]
    rows = [("/tf_static", "tf2_msgs/TFMessage", START, tf(*mounts))]
    for n in range(count):
        for frame, late in (("front", 0), ("rear", 30 * MS)):
            stamp = START + n * 100 * MS + late
            rows.append(
                (f"/{frame}/points", "sensor_msgs/PointCloud2", stamp + 20 * MS, _cloud(frame, stamp))
            )
    for n in range(int(1.5 * count)):
        stamp = START + n * 66 * MS
        picture = np.full((size[1], size[0], 3), n, np.uint8)
        rows.append(("/cam/image_raw", "sensor_msgs/Image", stamp + MS, image(stamp, "cam", picture)))
        rows.append(("/cam/camera_info", "sensor_msgs/CameraInfo", stamp, camera_info(stamp, "cam", size, K)))
    for n in range(-5, 5 * count + 10):
        stamp, pose = START + n * 20 * MS, pose_at(START + n * 20 * MS)
        message = odometry(stamp, "odom", "base", pose[:3, 3], _xyzw(pose))
        rows.append(("/odom", "nav_msgs/Odometry", stamp + 2 * MS, message))
    return rows


@pytest.fixture
def write(tmp_path: Path) -> Callable[[list], Path]:
    return lambda rows: write_ros2(tmp_path / f"bag{len(list(tmp_path.iterdir()))}", rows)


def test_points_of_all_lidars_and_times_lie_in_one_place(write: Callable[[list], Path]) -> None:
    sweeps, found = read(write(drive_rows()), lidar_topics=["/front/points", "/rear/points"])
    assert len(sweeps) == 6
    for sweep in sweeps:
        points = load_sweep(sweep, ("lidar",))
        world = transform_points(sweep.world_SE3_ego @ sweep.ego_SE3_lidar, points.astype(np.float64))
        for lidar in (0, 1):
            # Poses are interpolated between 20 ms of a circle of 50 m: a tenth of a millimetre.
            np.testing.assert_allclose(world[points[:, 4] == lidar, :3], WORLD, atol=1e-3)
    assert sweeps[0].lidars[0].time_offset == pytest.approx(0.03)
    text = found["times of /rear/points"].text
    assert "0 of 6" in text
    assert "30.0 ms away (median)" in text


def test_images_are_the_nearest_and_have_the_pose_of_their_time(write: Callable[[list], Path]) -> None:
    sweeps, _ = read(write(drive_rows()), lidar_topics=["/front/points"], key_every=2)
    assert [sweep.is_key_frame for sweep in sweeps] == [True, False] * 3
    for n, sweep in enumerate(sweeps[::2]):
        (camera,) = sweep.cameras
        nearest = int(np.argmin([abs(66 * k - 200 * n) for k in range(9)]))
        assert camera.timestamp * 1000 - START == nearest * 66 * MS
        assert load_image(camera.path, size=camera.size, key=camera.key)[0, 0, 0] == nearest
        np.testing.assert_allclose(camera.world_SE3_ego, pose_at(camera.timestamp * 1000), atol=1e-3)
        # Half a pixel between ROS' convention and this one.
        np.testing.assert_allclose(camera.intrinsics[:2, 2], [32, 24])
    assert sweeps[1].cameras == ()


def test_poses_from_tf_are_those_of_the_odometry(write: Callable[[list], Path]) -> None:
    rows = drive_rows()
    moving = []
    for topic, kind, log, message in rows:
        if topic == "/odom":
            p, q = message.pose.pose.position, message.pose.pose.orientation
            stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            place = (stamp, "/odom", "base", (p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
            moving.append(("/tf", "tf2_msgs/TFMessage", log, tf(place)))
        else:
            moving.append((topic, kind, log, message))
    options = {"lidar_topics": ["/front/points"]}
    from_odometry, _ = read(write(rows), **options)
    from_tf, _ = read(write(moving), **options, poses="tf", base_frame="base")
    for one, other in zip(from_odometry, from_tf, strict=True):
        np.testing.assert_allclose(one.world_SE3_ego, other.world_SE3_ego, atol=1e-12)
    bare, _ = read(write(rows), **options, poses="none")
    assert all((sweep.world_SE3_ego == np.eye(4)).all() for sweep in bare)


def test_what_is_missing_is_said(write: Callable[[list], Path]) -> None:
    rows = drive_rows()
    lidars = ["/front/points", "/rear/points"]
    without = [row for row in rows if row[0] != "/tf_static"]
    with pytest.raises(DataError, match=r"(?s)no transform from 'front' to 'base'.*frames of the bag: none"):
        read(write(without), lidar_topics=lidars)
    fewer = [row for row in rows if row[0] != "/rear/points" or row[2] < START + 300 * MS]
    sweeps, found = read(write(fewer), lidar_topics=lidars)
    assert [len(sweep.lidars) for sweep in sweeps] == [1, 1, 1, 0, 0, 0]
    assert "3 of 6 sweeps have none" in found["times of /rear/points"].text
    early = [row for row in rows if row[0] != "/odom" or row[2] < START + 250 * MS]
    sweeps, found = read(write(early), lidar_topics=lidars[:1], pose_tolerance=0.1)
    assert len(sweeps) == 4
    assert "2 of 6 sweeps have no pose" in found["sweeps without a pose"].text
    bare = [row for row in rows if row[0] != "/cam/camera_info"]
    sweeps, found = read(write(bare), lidar_topics=lidars[:1])
    assert sweeps[0].cameras == ()
    assert "--camera-info" in found["camera /cam/image_raw"].remedy


def test_a_transform_file_stands_in_for_tf(write: Callable[[list], Path], tmp_path: Path) -> None:
    rows = [row for row in drive_rows() if row[0] != "/tf_static"]
    lines = [
        f"- {{parent: base, child: {frame}, translation: {pose[:3, 3].tolist()}, "
        f"rotation: {_xyzw(pose).tolist()}}}"
        for frame, pose in EGO_SE3.items()
    ]
    file = tmp_path / "mounts.yaml"
    file.write_text("\n".join(lines))
    sweeps, _ = read(write(rows), lidar_topics=["/front/points"], transforms=file)
    np.testing.assert_allclose(sweeps[0].ego_SE3_lidar, EGO_SE3["front"], atol=1e-12)
    file.write_text("- {parent: base}")
    with pytest.raises(DataError, match="transform 1 is"):
        read(write(rows), lidar_topics=["/front/points"], transforms=file)


def test_stamps_of_zero_empty_clouds_and_other_clocks(write: Callable[[list], Path]) -> None:
    clouds = []
    for n in range(4):
        log = START + n * 100 * MS
        empty = {name: np.zeros(0, np.float32) for name in "xyz"}
        full = {
            name: np.full(5, n + k, np.float32) + np.arange(5, dtype=np.float32)
            for k, name in enumerate("xyz")
        }
        clouds.append(
            ("/points", "sensor_msgs/PointCloud2", log, cloud(0, "velo", empty if n == 1 else full))
        )
    sweeps, found = read(write(clouds))
    assert [sweep.timestamp * 1000 - START for sweep in sweeps] == [0, 200 * MS, 300 * MS]
    assert "3 headers" in found["stamps of /points"].text
    assert "1 clouds" in found["empty clouds of /points"].text
    assert "'velo'" in found["base frame"].text
    late = [replace_stamp(row, row[2] - 3600 * 10**9) for row in clouds if row[3].width]
    _, found = read(write(late))
    assert "3.6e+03 s" in found["clock of /points"].text
    sweeps, _ = read(write(late), stamps="log", start=0.15)
    assert [sweep.timestamp * 1000 - START for sweep in sweeps] == [200 * MS, 300 * MS]


def replace_stamp(row: tuple, stamp: int) -> tuple:
    header = row[3].header
    time = replace(header.stamp, sec=stamp // 10**9, nanosec=stamp % 10**9)
    return (*row[:3], replace(row[3], header=replace(header, stamp=time)))


def test_a_message_is_found_by_its_key_and_no_other(write: Callable[[list], Path]) -> None:
    rows = []
    for n in range(3):  # three clouds that were recorded at one time
        columns = {name: np.arange(1, 4, dtype=np.float32) * (n + 1) for name in "xyz"}
        rows.append(("/points", "sensor_msgs/PointCloud2", START, cloud(START + n * MS, "velo", columns)))
    sweeps, _ = read(write(rows))
    assert [float(load_sweep(sweep)[0, 0]) for sweep in sweeps] == [1, 2, 3]
    with pytest.raises(DataError, match="no message '/points@17'"):
        load_points(sweeps[0].path, sweeps[0].lidar_format, key="/points@17")


def test_what_no_camera_takes_does_not_stand_in_the_way(write: Callable[[list], Path]) -> None:
    rows = drive_rows(2)
    depth = replace(image(START, "cam", np.zeros((48, 64, 3), np.uint8)), encoding="32FC1")
    packed = ROS2.types["sensor_msgs/msg/CompressedImage"](
        header=header(START, "cam"), format="h264", data=np.zeros(50, np.uint8)
    )
    rows.append(("/depth/image", "sensor_msgs/Image", START, depth))
    rows.append(("/video/image/compressed", "sensor_msgs/CompressedImage", START, packed))
    rows.append(("/tf", "tf2_msgs/TFMessage", START, tf((START, "arm", "hand", (0, 0, 0), (0, 0, 0, 0)))))
    bag = write(rows)
    sweeps, found = read(bag, lidar_topics=["/front/points"])
    assert [camera.name for camera in sweeps[0].cameras] == ["cam_image_raw"]
    assert "its encoding is 32FC1" in found["camera /depth/image"].text
    assert "'h264' is neither JPEG nor PNG" in found["camera /video/image/compressed"].text
    with pytest.raises(DataError, match="has no CameraInfo beside it"):
        read(bag, lidar_topics=["/front/points"], camera_topics=["/depth/image"])
    with pytest.raises(
        DataError, match=r"no transform from 'front' to 'hand'.*\n.*hold no pose: arm to hand"
    ):
        read(bag, lidar_topics=["/front/points"], base_frame="hand", poses="none")


def test_a_camera_that_is_calibrated_in_a_file(write: Callable[[list], Path], tmp_path: Path) -> None:
    rows = [row for row in drive_rows(2) if row[0] != "/cam/camera_info"]
    file = tmp_path / "cam.yaml"
    file.write_text(
        "image_width: 64\nimage_height: 48\ndistortion_model: equidistant\n"
        "camera_matrix: {rows: 3, cols: 3, data: [40, 0, 31.5, 0, 40, 23.5, 0, 0, 1]}\n"
        "distortion_coefficients: {rows: 1, cols: 4, data: [0.1, 0, 0, 0]}\n"
    )
    sweeps, _ = read(write(rows), lidar_topics=["/front/points"], camera_info=[f"/cam/image_raw={file}"])
    (camera,) = sweeps[0].cameras
    assert (camera.model, camera.distortion) == ("fisheye", (0.1, 0, 0, 0))
    np.testing.assert_allclose(camera.intrinsics[:2, 2], [32, 24])
    file.write_text("image_width: 64")
    with pytest.raises(DataError, match=r"(?s)calibration cannot be read.*image_height.*camera_calibration"):
        read(write(rows), lidar_topics=["/front/points"], camera_info=[f"/cam/image_raw={file}"])


def test_a_bag_that_is_compressed_as_a_whole_is_extracted_only(
    write: Callable[[list], Path], tmp_path: Path
) -> None:
    rows = [row for row in drive_rows(2) if not row[0].startswith("/cam")]
    options = {"lidar_topics": ["/front/points", "/rear/points"]}
    packed = write_ros2(tmp_path / "packed", rows, compressed=True)
    with pytest.raises(DataError, match=r"(?s)compressed as wholes.*--extract"):
        read(packed, **options)
    plain, _ = read(write(rows), **options)
    extracted, _ = read(packed, **options, extract=tmp_path / "frames")
    for one, other in zip(plain, extracted, strict=True):
        np.testing.assert_allclose(load_sweep(one, ("lidar",)), load_sweep(other, ("lidar",)), atol=1e-6)


def test_points_are_moved_from_their_own_times(write: Callable[[list], Path]) -> None:
    times = np.linspace(0, 0.09, len(WORLD))
    rows = [row for row in drive_rows(8) if not row[0].endswith("/points")]
    for n in range(8):
        for frame, late in (("front", 0), ("rear", 30 * MS)):
            stamp = START + n * 100 * MS + late
            own = [seen_from(frame, stamp + round(1e9 * t))[k] for k, t in enumerate(times)]
            columns = {name: np.array(own)[:, k].astype(np.float32) for k, name in enumerate("xyz")}
            message = cloud(stamp, frame, {**columns, "t": np.rint(1e9 * times).astype(np.uint32)})
            rows.append((f"/{frame}/points", "sensor_msgs/PointCloud2", stamp, message))
    sweeps, found = read(write(rows), lidar_topics=["/front/points", "/rear/points"])
    assert "taken as ns, from the stamp" in found["times of points of /front/points"].text
    for sweep in list(with_motion(sweeps))[1:-1]:
        moved, as_they_are = (
            transform_points(sweep.world_SE3_ego @ sweep.ego_SE3_lidar, load_sweep(one).astype(np.float64))
            for one in (sweep, replace(sweep, motion=None))
        )
        np.testing.assert_allclose(moved[:, :3], np.tile(WORLD, (2, 1)), atol=2e-3)
        assert np.abs(as_they_are[:, :3] - np.tile(WORLD, (2, 1))).max() > 0.5


def test_a_later_part_of_a_drive_takes_the_mounts_of_the_first(tmp_path: Path) -> None:
    rows = [row for row in drive_rows(4) if not row[0].startswith(("/cam", "/rear"))]
    write_ros2(tmp_path / "a", [row for row in rows if row[2] < START + 200 * MS])
    write_ros2(tmp_path / "b", [row for row in rows if row[2] >= START + 200 * MS])
    sweeps, found = read(tmp_path)
    assert [sweep.scene for sweep in sweeps] == ["a", "a", "b", "b"]
    for sweep in sweeps:
        np.testing.assert_allclose(sweep.ego_SE3_lidar, EGO_SE3["front"], atol=1e-12)
    assert "bag b has no fixed transforms" in found["fixed transforms"].text
