"""Messages of bags: clouds in any layout, pictures, lenses, transforms, each against something else."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from pc3d.data.errors import DataError
from pc3d.data.points import point_format
from pc3d.data.readers.bag.clouds import cloud_columns
from pc3d.data.readers.bag.columns import Look, point_format_of
from pc3d.data.readers.bag.lenses import Unusable, lens_info
from pc3d.data.readers.bag.matching import nearest
from pc3d.data.readers.bag.trajectory import Trajectory
from pc3d.data.readers.bag.transforms import TransformTree
from pc3d.geometry.camera import project
from pc3d.geometry.lens import lens_of

CODES = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 8: "d"}


@st.composite
def layouts(draw: st.DrawFn) -> SimpleNamespace:
    """A PointCloud2 of random bytes: gaps, any order of fields, padded rows or a step of 0, both endians."""
    offset, fields = draw(st.integers(0, 3)), []
    for number in range(draw(st.integers(1, 5))):
        code, count = draw(st.sampled_from(sorted(CODES))), draw(st.integers(0, 3))
        name = draw(st.sampled_from(["x", "ring", f"field{number}"]))
        fields.append(SimpleNamespace(name=name, offset=offset, datatype=code, count=count))
        offset += struct.calcsize(CODES[code]) * max(1, count) + draw(st.integers(0, 5))
    height, width = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    row = draw(st.sampled_from([0, width * offset, width * offset + draw(st.integers(1, 9))]))
    length = (height - 1) * (row or width * offset) + width * offset + draw(st.integers(0, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return SimpleNamespace(
        height=height,
        width=width,
        fields=draw(st.permutations(fields)),
        is_bigendian=draw(st.booleans()),
        point_step=offset,
        row_step=row,
        data=rng.integers(0, 256, length).astype(np.uint8),
    )


@settings(max_examples=60, deadline=None)
@given(layouts())
def test_any_layout_is_what_a_loop_with_struct_reads(cloud: SimpleNamespace) -> None:
    columns = cloud_columns(cloud, "here")
    order, data = (">" if cloud.is_bigendian else "<"), cloud.data.tobytes()
    row = cloud.row_step or cloud.width * cloud.point_step
    expected: dict[str, list[float]] = {}
    for field in cloud.fields:
        size = struct.calcsize(CODES[field.datatype])
        for k in range(max(1, field.count)):
            name = f"{field.name}.{k}" if k else field.name
            starts = [
                r * row + c * cloud.point_step + field.offset + k * size
                for r in range(cloud.height)
                for c in range(cloud.width)
            ]
            values = [struct.unpack_from(order + CODES[field.datatype], data, at)[0] for at in starts]
            expected.setdefault(name, values)
    assert columns.keys() == expected.keys()
    for name, values in expected.items():
        assert columns[name].dtype.isnative
        np.testing.assert_array_equal(columns[name], np.array(values, columns[name].dtype))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"point_step": 10}, "ends at byte 12"),
        ({"data": np.zeros(23, np.uint8)}, "has 23 bytes"),
        ({"row_step": 12, "height": 2, "width": 2}, "12 bytes a row"),
        ({"fields": [SimpleNamespace(name="x", offset=0, datatype=9, count=1)]}, "unknown datatype 9"),
    ],
)
def test_a_broken_cloud_is_one_error(change: dict, says: str) -> None:
    fields = [SimpleNamespace(name=n, offset=4 * k, datatype=7, count=1) for k, n in enumerate("xyz")]
    whole = {
        "height": 1,
        "width": 2,
        "fields": fields,
        "is_bigendian": False,
        "point_step": 12,
        "row_step": 24,
        "data": np.zeros(24, np.uint8),
    }
    cloud_columns(SimpleNamespace(**whole), "here")
    with pytest.raises(DataError, match=says):
        cloud_columns(SimpleNamespace(**{**whole, **change}), "here")


def _info(model: str, D: list[float], ros1: bool = False, **other: object) -> SimpleNamespace:
    K = np.array([[400.0, 0, 310], [0, 410, 230], [0, 0, 1]])
    names = ("D", "K", "R", "P") if ros1 else ("d", "k", "r", "p")
    values = (D, K.reshape(-1), np.eye(3).reshape(-1), np.column_stack([K, np.zeros(3)]).reshape(-1))
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    rest = {"width": 640, "height": 480, "binning_x": 0, "binning_y": 0, "roi": roi, **other}
    return SimpleNamespace(distortion_model=model, **dict(zip(names, values, strict=True)), **rest)


POINTS = np.random.default_rng(4).uniform([-2, -1.5, 4], [2, 1.5, 9], (50, 3))


@pytest.mark.parametrize("ros1", [True, False])
@pytest.mark.parametrize(
    ("model", "D"),
    [
        ("plumb_bob", [-0.3, 0.1, 0.001, -0.002, 0.01]),
        ("rational_polynomial", [0.2, 0.1, 0.001, -0.002, 0.01, 0.3, 0.05, 0.01]),
        ("rational_polynomial", [0.2, 0.1, 0.001, -0.002, 0.01, 0.3, 0.05, 0.01, 0.0, 0.0, 0.0, 0.0]),
        ("equidistant", [0.05, -0.01, 0.002, -0.001]),
    ],
)
def test_a_point_lies_half_a_pixel_from_where_opencv_has_it(model: str, D: list[float], ros1: bool) -> None:
    info = _info(model, D, ros1)
    lens = lens_info(info, (640, 480), rectified=False)
    ours, _ = project(POINTS, lens.intrinsics, lens_of(lens.model, lens.distortion))
    K = np.array([[400.0, 0, 310], [0, 410, 230], [0, 0, 1]])
    if model == "equidistant":
        theirs, _ = cv2.fisheye.projectPoints(POINTS[:, None], np.zeros(3), np.zeros(3), K, np.array(D))
    else:
        theirs, _ = cv2.projectPoints(POINTS, np.zeros(3), np.zeros(3), K, np.array(D))
    np.testing.assert_allclose(ours, theirs.reshape(-1, 2) + 0.5, atol=1e-6)


def test_binned_and_cut_images_see_points_where_their_pixels_are() -> None:
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=400, height=300)
    info = _info("plumb_bob", [], roi=roi, binning_x=2, binning_y=2)
    whole, _ = project(POINTS, lens_info(_info("plumb_bob", []), (640, 480), False).intrinsics)
    part = lens_info(info, (200, 150), False)
    cut, _ = project(POINTS, part.intrinsics)
    np.testing.assert_allclose(cut, (whole - [100, 40]) / 2)
    assert "binned 2 x 2" in part.note
    small = lens_info(_info("plumb_bob", []), (320, 240), False)
    np.testing.assert_allclose(project(POINTS, small.intrinsics)[0], whole / 2)
    assert small.note.startswith("scaled")


def test_rectified_images_are_turned_by_R() -> None:
    R = Rotation.from_euler("xyz", [0.02, -0.03, 0.01]).as_matrix()
    P = np.array([[300.0, 0, 320, -30.0], [0, 300, 240, 0], [0, 0, 1, 0]])
    info = _info("plumb_bob", [-0.3, 0.1, 0, 0, 0])
    info.r, info.p = R.reshape(-1), P.reshape(-1)
    lens = lens_info(info, (640, 480), rectified=True)
    assert lens.distortion == ()
    assert lens.shift == pytest.approx(0.1)
    # What CameraInfo says of P: it takes points of the rectified frame of the first camera to pixels.
    homogeneous = (P @ np.vstack([R @ POINTS.T, np.ones(len(POINTS))])).T
    expected = homogeneous[:, :2] / homogeneous[:, 2:] + 0.5
    in_camera = (POINTS @ lens.info_R_cam) - [lens.shift, 0, 0]
    np.testing.assert_allclose(project(in_camera, lens.intrinsics)[0], expected)


@pytest.mark.parametrize(
    ("info", "size", "says"),
    [
        ("zero K", (640, 480), "not calibrated"),
        ("own_model", (640, 480), "own_model"),
        ("equidistant", (640, 480), "expected 4"),
        ("rational_polynomial", (640, 480), "thin prism"),
        ("plumb_bob", (640, 400), "640 x 400 pixels"),
    ],
)
def test_cameras_that_cannot_be_used_say_why(info: str, size: tuple[int, int], says: str) -> None:
    D = {"own_model": [0.1], "equidistant": [0.1], "rational_polynomial": [0.1] * 12}
    message = _info("plumb_bob" if info == "zero K" else info, D.get(info, []))
    if info == "zero K":
        message.k = np.zeros(9)
    with pytest.raises(Unusable, match=says):
        lens_info(message, size, rectified=False)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_poses_between_are_those_of_scipys_slerp(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.choice(1000, 6, replace=False)) * 10**7
    turns, places = Rotation.random(6, random_state=rng), rng.normal(size=(6, 3))
    path = Trajectory("here")
    for at in rng.permutation(6):
        sign = rng.choice([-1, 1])
        path.add(int(times[at]), tuple(places[at]), tuple(sign * turns[at].as_quat() * 3))
    asked = rng.integers(times[0], times[-1] + 1, 5)
    expected = Slerp(times, turns)(asked).as_matrix()
    for time, rotation in zip(asked.tolist(), expected, strict=True):
        found = path.at(time)
        np.testing.assert_allclose(found[:3, :3], rotation, atol=1e-6)
        line = [np.interp(time, times, places[:, axis]) for axis in range(3)]
        np.testing.assert_allclose(found[:3, 3], line, atol=1e-9)
        assert path.off(time) == pytest.approx(1e-9 * np.abs(times - time).min())
    np.testing.assert_allclose(path.at(int(times[0]) - 5)[:3, 3], places[0])
    np.testing.assert_allclose(path.at(int(times[-1]) + 5)[:3, 3], places[-1])
    assert path.off(int(times[-1]) + 10**9) == pytest.approx(1.0)


def test_a_way_through_the_tree_is_the_product_of_its_transforms() -> None:
    rng = np.random.default_rng(5)
    poses = {}
    tree = TransformTree()
    for parent, child in (("map", "odom"), ("odom", "base"), ("base", "lidar"), ("base", "cam")):
        turn, place = Rotation.random(random_state=rng), rng.normal(size=3)
        poses[parent, child] = np.block(
            [[turn.as_matrix(), place[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]]
        )
        tree.add(parent, child, 0, tuple(place), tuple(turn.as_quat()), static=True)
    found = tree.at("cam", "map", 7, "test")
    expected = np.linalg.inv(poses["base", "cam"]) @ np.linalg.inv(
        poses["map", "odom"] @ poses["odom", "base"]
    )
    np.testing.assert_allclose(found, expected, atol=1e-12)
    with pytest.raises(
        DataError, match=r"(?s)from 'velo' to 'base'.*base, cam, lidar, map, odom.*--transforms"
    ):
        tree.at("base", "velo", 0, "test")


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 300), max_size=8), st.lists(st.integers(0, 300), max_size=8), st.integers(1, 40)
)
def test_the_nearest_partner_is_that_of_a_loop(times: list[int], others: list[int], within: int) -> None:
    times, others = sorted(times), sorted(others)
    found = nearest(times, others, 1e-9 * within)
    for time, at in zip(times, found.tolist(), strict=True):
        near = [abs(other - time) for other in others if abs(other - time) <= within]
        assert (at < 0) == (not near)
        assert at < 0 or abs(others[at] - time) == min(near)


def _look(**fields: np.ndarray) -> Look:
    count = len(next(iter(fields.values())))
    xyz = {name: np.linspace(1, 9, count).astype(np.float32) for name in "xyz"}
    return Look("/points", [{**xyz, **fields}], [1_700_000_000.0], 0.1)


SPAN = np.linspace(0, 0.0999, 50)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"time": (SPAN - 0.0999).astype(np.float32)}, "time"),  # Velodyne: the end of the sweep is 0
        ({"t": (SPAN * 1e9).astype(np.uint32)}, "time=t*1e-09"),  # Ouster
        ({"timestamp": 1_700_000_000.0 + SPAN}, "time=timestamp@"),  # Hesai
        ({"timestamp": (1_700_000_000.0 + SPAN) * 1e9}, "time=timestamp*1e-09@"),
        ({"time_stamp": (SPAN * 1e6).astype(np.uint32)}, "time=time_stamp*1e-06"),
        ({"time": np.full(50, 3.0, np.float32)}, ""),
        ({"timestamp": 1_600_000_000.0 + SPAN}, ""),  # another clock
        ({"t": (SPAN * 3e12).astype(np.uint64).astype(np.uint32)}, ""),
    ],
)
def test_times_of_points_are_guessed_and_said(fields: dict[str, np.ndarray], expected: str) -> None:
    text, found = point_format_of(_look(**fields), None, None, "here")
    columns = text.removeprefix("pointcloud2:x,y,z").partition(";")[0].removeprefix(",")
    assert columns == expected
    point_format(text)
    finding = next(one for one in found if one.name.startswith("times"))
    assert finding.state == "ok" if "time" in fields and not expected else "warning"
    assert finding.state == "ok" or "--point-time" in finding.remedy


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.linspace(0, 0.99, 50).astype(np.float32), "intensity/1"),
        (np.arange(50, dtype=np.float32), "intensity/255"),
        (np.arange(50, dtype=np.uint8), "intensity/255"),
        (np.zeros(50, np.float32), ""),
        (np.linspace(-1, 5, 50).astype(np.float32), ""),
        (np.linspace(0, 3000, 50).astype(np.uint16), "intensity/2800"),
    ],
)
def test_the_scale_of_intensity_is_guessed_and_said(values: np.ndarray, expected: str) -> None:
    text, found = point_format_of(_look(intensity=values), None, None, "here")
    assert text.removeprefix("pointcloud2:x,y,z").partition(";")[0].removeprefix(",") == expected
    assert ("tanh" in text) == (values.max() > 255)
    point_format(text)
    assert next(one for one in found if one.name.startswith("intensity")).state == "warning"


def test_what_a_user_says_is_taken_and_no_warning() -> None:
    look = _look(intensity=np.arange(50, dtype=np.float32), t=(SPAN * 1e9).astype(np.uint32))
    text, found = point_format_of(look, "t:ns", "intensity/100", "here")
    assert text == "pointcloud2:x,y,z,intensity/100,time=t*1e-09;drop=invalid"
    assert {one.state for one in found} == {"ok"}
    assert point_format_of(look, "none", "none", "here")[0] == "pointcloud2:x,y,z;drop=invalid"
    with pytest.raises(DataError, match=r"no field 'tt'.*did you mean 't'"):
        point_format_of(look, "tt:us", None, "here")
    with pytest.raises(DataError, match="--point-time is 't:minutes'"):
        point_format_of(look, "t:minutes", None, "here")
