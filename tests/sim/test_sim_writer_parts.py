"""The parts of the writer by themselves: plots, visibility, annotations, map expansion, semantic prior."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.measure import points_in_poly

from pc3d.sim.annotations import KeyFrame, annotate, visible_share
from pc3d.sim.lanes import along_traffic
from pc3d.sim.layout import draw_plan
from pc3d.sim.maps import MapExpansion
from pc3d.sim.semantic_prior import write_semantic_prior
from pc3d.sim.tables import visibility_token
from pc3d.sim.town_map import map_layers
from pc3d.sim.towns import PLOT, TOWNS, needed_canvas, plan_scenes
from pc3d.sim.types import CameraShot, MapLayers, SensorRig, Track

SIZE = (160, 120)
K = np.array([[100.0, 0.0, 80.0], [0.0, 100.0, 60.0], [0.0, 0.0, 1.0]])
FORWARD = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""ego_SE3_cam of a camera at the ego origin that looks along +x."""
RIG = SensorRig(np.eye(4), {"CAM_FRONT": (FORWARD, K)}, SIZE)


def car(instance: int = 0, x: float = 10.0, yaw: float = 0.0) -> Track:
    return Track(
        instance=instance,
        category="vehicle.car",
        size=np.array([4.0, 2.0, 1.5]),
        times=np.array([0.0, 0.5]),
        centers=np.array([[x, 0.0, 0.0], [x + 1.0, 0.0, 0.0]]),
        yaws=np.full(2, yaw),
        velocities=np.full((2, 2), [2.0, 0.0]),
        attribute=("vehicle.moving",) * 2,
    )


def shot(own: np.ndarray, depth: np.ndarray) -> CameraShot:
    blank = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
    instances = np.where(own, 0, -1).astype(np.int32)
    return CameraShot(np.stack([blank] * 3, axis=-1), blank, instances, depth.astype(np.float32))


def frame(image: CameraShot, points: np.ndarray | None = None) -> KeyFrame:
    points = np.zeros((0, 5), dtype=np.float32) if points is None else points
    return KeyFrame("sample", 0.0, np.eye(4), points, {"CAM_FRONT": image})


def front_face(track: Track) -> np.ndarray:
    """Pixels whose centre sees the front face of a car straight ahead."""
    v, u = np.mgrid[: SIZE[1], : SIZE[0]] + 0.5
    depth = track.centers[0, 0] - track.size[0] / 2
    wide, high = 100 * track.size[1:] / 2 / depth
    return (np.abs(u - 80) <= wide) & (np.abs(v - 60) <= high)


@settings(max_examples=25, deadline=None)
@given(hidden=st.floats(0.0, 1.0), x=st.floats(5.0, 40.0))
def test_visible_share_is_the_part_not_behind_the_wall(hidden: float, x: float) -> None:
    track = car(x=x)
    face = front_face(track)
    columns = np.flatnonzero(face.any(axis=0))
    wall = np.zeros_like(face)
    wall[:, : columns[0] + round(hidden * len(columns))] = True
    own = face & ~wall
    depth = np.where(wall, 2.0, np.where(own, x - 2.0, np.inf))
    share = visible_share(track, 0, frame(shot(own, depth)), RIG)
    # The lattice on which the silhouette is looked at has at most 64 steps across its mean edge.
    assert share == pytest.approx(own.sum() / face.sum(), abs=0.05 + 1.0 / len(columns))


def test_visible_share_does_not_count_gaps_of_the_silhouette() -> None:
    track = car()
    face = front_face(track)
    own = face.copy()
    own[::2] = False  # one sees through the object, nothing hides it
    assert visible_share(track, 0, frame(shot(own, np.where(own, 8.0, np.inf))), RIG) == 1.0


def test_visible_share_of_what_no_pixel_shows_is_zero() -> None:
    nothing = np.zeros((SIZE[1], SIZE[0]), dtype=bool)
    for track in (car(), car(x=-10.0)):
        assert visible_share(track, 0, frame(shot(nothing, np.full(nothing.shape, np.inf))), RIG) == 0.0


@pytest.mark.parametrize(
    ("share", "token"), [(0.0, "1"), (0.4, "1"), (0.41, "2"), (0.6, "2"), (0.79, "3"), (0.81, "4"), (1, "4")]
)
def test_visibility_levels(share: float, token: str) -> None:
    assert visibility_token(share) == token


def test_annotates_only_what_is_near_and_known_of() -> None:
    nothing = np.zeros((SIZE[1], SIZE[0]), dtype=bool)
    dark = shot(nothing, np.full(nothing.shape, np.inf))
    points = np.array([[10.0, 0.5, 0.5, 1, 1], [100.0, 0, 0, 1, 1], [30.0, 5, 0, 1, 1]], dtype=np.float32)
    tracks = [car(0, 10.0), car(1, 100.0), car(2, 30.0)]
    instances, annotations = annotate([frame(dark, points)], tracks, RIG, "scene")
    assert len(instances) == len(annotations) == 1, "too far, or never hit and never seen"
    assert annotations[0]["translation"] == [10.0, 0.0, 0.0]
    assert annotations[0]["size"] == [2.0, 4.0, 1.5]
    assert annotations[0]["num_lidar_pts"] == 1


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 76), seed=st.integers(0, 2**40))
def test_scenes_lie_apart_on_the_official_canvases(count: int, seed: int) -> None:
    plans = plan_scenes(count - count // 3, count // 3, seed, "v1.0-sim")
    assert len({plan.name for plan in plans}) == len({plan.seed for plan in plans}) == count
    for town in TOWNS:
        origins = np.array([plan.origin for plan in plans if plan.town == town])
        if not len(origins):
            continue
        apart = np.abs(origins[:, None] - origins[None]).max(axis=-1)
        assert (apart[~np.eye(len(origins), dtype=bool)] >= PLOT).all()
        canvas = needed_canvas(plan for plan in plans if plan.town == town)
        assert (origins >= PLOT / 2).all()
        assert (origins + PLOT / 2 <= canvas).all()
        assert (np.array(canvas) <= town.canvas).all()


def test_too_many_or_no_scenes_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 76"):
        plan_scenes(77, 0, 0, "v1.0-sim")
    with pytest.raises(ValueError, match="at least one scene"):
        plan_scenes(0, 0, 0, "v1.0-sim")


def layers(ring: np.ndarray) -> MapLayers:
    return MapLayers({"drivable_area": [ring]}, {}, np.zeros((0, 3)))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_map_of_a_scene_stays_on_its_plot(seed: int) -> None:
    polygons = map_layers(draw_plan(np.random.default_rng(seed), (0.0, 0.0))).polygons
    assert max(np.abs(ring).max() for rings in polygons.values() for ring in rings) < PLOT / 2


def test_map_outside_of_the_canvas_is_refused() -> None:
    ring = np.array([[10.0, 10.0], [90.0, 10.0], [110.0, 20.0]])
    with pytest.raises(ValueError, match=r"drivable_area 0 of here .* leaves the canvas"):
        MapExpansion((100.0, 100.0)).add_scene("here", layers(ring))
    with pytest.raises(ValueError, match="needs three"):
        MapExpansion((200.0, 200.0)).add_scene("here", layers(ring[:2]))


@settings(max_examples=50, deadline=None)
@given(yaw=st.floats(-3.2, 3.2), first=st.integers(0, 3), mirrored=st.booleans(), aside=st.floats(2.0, 20.0))
def test_lanes_keep_right_of_the_road_divider(yaw: float, first: int, mirrored: bool, aside: float) -> None:
    turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    divider = np.array([[-50.0, 0.0], [50.0, 0.0]])
    expected = np.array([[-20.0, -2.0], [20.0, -2.0], [20.0, 1.5], [-20.0, 1.5]]) - [0.0, aside]
    ring = np.roll(expected, first, axis=0)[:: -1 if mirrored else 1]
    np.testing.assert_allclose(along_traffic(ring @ turn, [divider @ turn]), expected @ turn, atol=1e-9)


def test_lanes_lead_on_across_the_junction() -> None:
    divider = np.array([[0.0, 20.0], [150.0, 20.0]])
    first = np.array([[10.0, 10.0], [50.0, 10.0], [50.0, 14.0], [10.0, 14.0]])
    far, aside = first + np.array([60.0, 0.0]), first + np.array([60.0, 14.0])
    expansion = MapExpansion((150.0, 100.0))
    lines = {"road_divider": [divider]}
    expansion.add_scene("here", MapLayers({"lane": [far, first, aside]}, lines, np.zeros((0, 3))))
    content = expansion.content
    after, before, other = (record["token"] for record in content["lane"])
    (link,) = (record["token"] for record in content["lane_connector"])
    assert content["connectivity"] == {
        before: {"incoming": [], "outgoing": [link]},
        link: {"incoming": [before], "outgoing": [after]},
        after: {"incoming": [link], "outgoing": []},
        other: {"incoming": [], "outgoing": []},
    }
    (path,) = content["arcline_path_3"][link]
    assert path["start_pose"] == [50.0, 12.0, 0.0]
    assert path["end_pose"] == [70.0, 12.0, 0.0]
    nodes = {record["token"]: set(record["exterior_node_tokens"]) for record in content["polygon"]}
    edges = {record["token"]: set(record["node_tokens"]) for record in content["line"]}
    lane, joined = content["lane"][1], content["lane_connector"][0]
    assert edges[lane["to_edge_line_token"]] <= nodes[joined["polygon_token"]]
    height = {record["token"]: record["y"] for record in content["node"]}
    left = [segment["node_token"] for segment in lane["left_lane_divider_segments"]]
    assert [height[node] for node in left] == [14.0, 14.0], "left of a lane that runs east is north"


@settings(max_examples=15, deadline=None)
@given(
    points=st.lists(st.tuples(st.floats(1, 129), st.floats(1, 149)), min_size=3, max_size=6, unique=True),
    seed=st.integers(0, 1000),
)
def test_semantic_prior_is_the_polygons(
    tmp_path_factory: pytest.TempPathFactory, points: list[tuple[float, float]], seed: int
) -> None:
    canvas = (130.2, 150.0)  # a width of no whole number of bytes, a height of more than one band
    ring = np.array(points)
    ring = ring[np.argsort(np.arctan2(*(ring - ring.mean(axis=0)).T))]  # star-shaped: no crossings
    path = tmp_path_factory.mktemp("prior") / "prior.png"
    write_semantic_prior(path, canvas, [ring])
    with Image.open(path) as image:
        assert image.mode == "L"
        mask = np.asarray(image)
    assert mask.shape == (1500, 1302)
    assert set(np.unique(mask)) <= {0, 255}
    where = np.random.default_rng(seed).uniform([0, 0], canvas, (2000, 2))
    cols = np.round(where[:, 0] * 10).astype(int).clip(0, 1301)
    rows = np.round(1500 - where[:, 1] * 10).astype(int).clip(0, 1499)
    drawn, true = mask[rows, cols] == 255, points_in_poly(where, ring)
    edges = np.roll(ring, -1, axis=0) - ring
    along = ((where[:, None] - ring) * edges).sum(-1) / np.maximum((edges**2).sum(-1), 1e-12)
    away = np.linalg.norm(where[:, None] - ring - along.clip(0, 1)[..., None] * edges, axis=-1).min(axis=1)
    # A pixel of the drawn edge, and half of one because the point is rounded to its pixel.
    assert (drawn == true)[away > 0.25].all()
    assert Path(path).stat().st_size < 200_000
