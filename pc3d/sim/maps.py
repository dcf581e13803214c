"""The map expansion (version 1.3) of a simulated town, which `NuScenesMap` opens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from skimage.measure import points_in_poly

from pc3d.sim.lanes import along_traffic, arcline_path, connector, lanes_straight_on
from pc3d.sim.tables import Row, token
from pc3d.sim.types import Float, MapLayers

_AREAS = (
    "drivable_area", "road_segment", "road_block", "lane",
    "ped_crossing", "walkway", "stop_line", "carpark_area",
)  # fmt: skip
_LINES = ("road_divider", "lane_divider", "traffic_light")

_CUE_RANGE = 10.0
"""Metres within which a stop line belongs to a crossing or a traffic light."""


class _Area(NamedTuple):
    record: Row
    ring: Float
    nodes: list[str]

    @property
    def centre(self) -> Float:
        return self.ring.mean(axis=0)


class MapExpansion:
    """The map expansion of one town, filled scene by scene; `content` is what its JSON file holds.

    Args:
        canvas: (width, height) of the town in metres; every coordinate lies on it.
    """

    def __init__(self, canvas: tuple[float, float]) -> None:
        self.canvas = canvas
        self._node_at: dict[tuple[float, float], str] = {}
        self.content: dict[str, Any] = {
            "version": "1.3",
            **{layer: [] for layer in ("polygon", "line", "node", *_AREAS, "lane_connector", *_LINES)},
            "arcline_path_3": {},
            "connectivity": {},
            "canvas_edge": list(canvas),
        }

    def add_scene(self, namespace: str, layers: MapLayers) -> None:
        """Adds the map of one scene; its tokens are hashed from `namespace`.

        Raises:
            ValueError: a coordinate lies outside the canvas, or a ring has too few points.
        """
        rings = dict(layers.polygons)
        for layer in ("road_block", "lane"):
            dividers = layers.lines.get("road_divider", [])
            rings[layer] = [along_traffic(ring, dividers) for ring in rings.get(layer, [])]
        areas = {layer: self._areas(namespace, layer, rings.get(layer, [])) for layer in _AREAS}
        for area in areas["drivable_area"]:
            area.record["polygon_tokens"] = [area.record.pop("polygon_token")]
        segments = areas["road_segment"]
        for area in segments:
            area.record["is_intersection"] = not any(_contains(area, lane.centre) for lane in areas["lane"])
            area.record["drivable_area_token"] = _holder(area.centre, areas["drivable_area"])
        for area in areas["ped_crossing"]:
            area.record["road_segment_token"] = _holder(area.centre, segments)
        for area in areas["carpark_area"]:
            area.record.update(orientation=0.0, road_block_token="")
        for area in areas["road_block"]:
            self._set_edges(area)
            area.record["road_segment_token"] = _holder(area.centre, segments)
        self._set_lanes(namespace, areas["lane"])
        lights = self._add_lights(namespace, layers.traffic_lights)
        for area in areas["stop_line"]:
            _set_cue(area, areas["ped_crossing"], lights, areas["road_block"])
        self._add_dividers(namespace, layers.lines, segments)

    def _areas(self, namespace: str, layer: str, rings: Iterable[Float]) -> list[_Area]:
        """A record with its polygon for each ring."""
        areas = []
        for i, ring in enumerate(rings):
            name = token(namespace, layer, i)
            if len(ring) < 3:
                raise ValueError(f"ring {i} of {layer} in {namespace} has {len(ring)} points, needs three")
            nodes = self._nodes(ring, name, f"{layer} {i} of {namespace}")
            polygon = {"token": token(name, "polygon"), "exterior_node_tokens": nodes, "holes": []}
            self.content["polygon"].append(polygon)
            areas.append(_Area({"token": name, "polygon_token": polygon["token"]}, ring, nodes))
        self.content[layer] += [area.record for area in areas]
        return areas

    def _nodes(self, points: Float, name: str, what: str) -> list[str]:
        """Tokens of the nodes at (K, 2) points; shapes that touch share them, as in the official maps."""
        if not ((points >= 0).all() and (points <= self.canvas).all()):
            low, high = points.min(axis=0).round(1).tolist(), points.max(axis=0).round(1).tolist()
            raise ValueError(f"{what} spans {low} to {high} m and leaves the canvas of {self.canvas} m")
        tokens = []
        for x, y in points.tolist():
            place = (round(x, 3), round(y, 3))
            if place not in self._node_at:
                node = token(name, "node", *place)
                self._node_at[place] = node
                self.content["node"].append({"token": node, "x": x, "y": y})
            tokens.append(self._node_at[place])
        return tokens

    def _line(self, nodes: Sequence[str], *names: object) -> str:
        line = token(*names, "line")
        self.content["line"].append({"token": line, "node_tokens": list(nodes)})
        return line

    def _set_edges(self, area: _Area) -> None:
        """Lines at which traffic enters and leaves; they share the nodes of the ring."""
        name = area.record["token"]
        start_right, end_right, end_left, start_left = area.nodes
        area.record["from_edge_line_token"] = self._line((start_left, start_right), name, "from")
        area.record["to_edge_line_token"] = self._line((end_left, end_right), name, "to")

    def _set_lanes(self, namespace: str, lanes: Sequence[_Area]) -> None:
        """Edges, sides and middles of the lanes, and connectors to the lanes straight on."""
        for area in lanes:
            self._set_edges(area)
            start_right, end_right, end_left, start_left = area.nodes
            area.record.update(
                lane_type="CAR",
                left_lane_divider_segments=_divider_segments((start_left, end_left)),
                right_lane_divider_segments=_divider_segments((start_right, end_right)),
            )
        pairs = [(lanes[i], lanes[j]) for i, j in lanes_straight_on([area.ring for area in lanes])]
        connectors = self._areas(namespace, "lane_connector", [connector(a.ring, b.ring) for a, b in pairs])
        connectivity = self.content["connectivity"]
        for area in (*lanes, *connectors):
            name = area.record["token"]
            self.content["arcline_path_3"][name] = [arcline_path(area.ring)]
            connectivity[name] = {"incoming": [], "outgoing": []}
        for (before, after), link in zip(pairs, connectors, strict=True):
            for one, two in ((before, link), (link, after)):
                connectivity[one.record["token"]]["outgoing"].append(two.record["token"])
                connectivity[two.record["token"]]["incoming"].append(one.record["token"])

    def _add_lights(self, namespace: str, positions: Float) -> list[_Area]:
        lights = []
        for i, (x, y, z) in enumerate(positions.tolist()):
            name = token(namespace, "traffic_light", i)
            ends = np.array([[x, y], [x + 0.3, y]])
            nodes = self._nodes(ends, name, f"traffic light {i} of {namespace}")
            record = {
                "token": name,
                "line_token": self._line(nodes, name),
                "traffic_light_type": "VERTICAL",
                "from_road_block_token": "",
                "items": [],
                "pose": {"tx": x, "ty": y, "tz": z, "rx": 0.0, "ry": 0.0, "rz": 0.0},
            }
            lights.append(_Area(record, ends, nodes))
        self.content["traffic_light"] += [light.record for light in lights]
        return lights

    def _add_dividers(self, namespace: str, lines: dict[str, list[Float]], segments: list[_Area]) -> None:
        for layer in ("road_divider", "lane_divider"):
            for i, points in enumerate(lines.get(layer, [])):
                name = token(namespace, layer, i)
                nodes = self._nodes(points, name, f"{layer} {i} of {namespace}")
                record: Row = {"token": name, "line_token": self._line(nodes, name)}
                if layer == "road_divider":
                    record["road_segment_token"] = _holder(points.mean(axis=0), segments)
                else:
                    record["lane_divider_segments"] = _divider_segments(nodes)
                self.content[layer].append(record)


def _set_cue(area: _Area, crossings: list[_Area], lights: list[_Area], blocks: list[_Area]) -> None:
    """Why traffic stops at a stop line: a traffic light or a crossing nearby, else a stop sign."""

    def near(cues: list[_Area]) -> list[str]:
        return [c.record["token"] for c in cues if math.dist(c.centre, area.centre) < _CUE_RANGE]

    at_lights, at_crossings = near(lights), near(crossings)
    kind = "TRAFFIC_LIGHT" if at_lights else "PED_CROSSING" if at_crossings else "STOP_SIGN"
    area.record.update(
        stop_line_type=kind,
        ped_crossing_tokens=at_crossings,
        traffic_light_tokens=at_lights,
        road_block_token=_holder(area.centre, blocks),
    )


def _contains(area: _Area, point: Float) -> bool:
    return bool(points_in_poly(point[None], area.ring)[0])


def _holder(point: Float, areas: Iterable[_Area]) -> str:
    """Token of the first area that contains a point, "" if none does."""
    return next((area.record["token"] for area in areas if _contains(area, point)), "")


def _divider_segments(nodes: Sequence[str]) -> list[Row]:
    return [{"node_token": node, "segment_type": "SINGLE_ZIGZAG_WHITE"} for node in nodes]
