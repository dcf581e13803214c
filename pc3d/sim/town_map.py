"""The map of a street plan as polygons that agree with `pc3d.sim.layout.ground_at`."""

from __future__ import annotations

import numpy as np
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from pc3d.sim.layout import CORNER_SQUARE, CORNER_STEPS, CROSSING, LANE, STOP_LINE, StreetPlan
from pc3d.sim.types import Float, MapLayers

Rect = tuple[float, float, float, float]


def _rings(shape: BaseGeometry) -> list[Float]:
    """Exterior rings of the polygons in `shape`; a polygon with holes is cut until it has none."""
    if shape.geom_type != "Polygon":
        return [ring for part in getattr(shape, "geoms", ()) for ring in _rings(part)]
    if shape.area < 1e-6:
        return []
    if len(shape.interiors):
        x0, y0, x1, y1 = shape.bounds
        x = shape.interiors[0].centroid.x
        return _rings(shape.intersection(box(x0, y0, x, y1))) + _rings(shape.intersection(box(x, y0, x1, y1)))
    return [np.array(shape.exterior.coords)[:-1]]


def _corner(x: float, y: float, to_x: float, to_y: float, radius: float) -> Polygon:
    """The road inside a corner: between the kerbs' crossing (x, y) and the rounded kerb.

    `to_x`, `to_y` (+-1) point into the block.
    """
    angle = np.linspace(0.0, np.pi / 2, CORNER_STEPS + 1)
    u, v = radius - radius * np.cos(angle), radius - radius * np.sin(angle)
    arc = np.stack([x + to_x * v, y + to_y * u], axis=1)
    return Polygon(np.concatenate([[[x, y]], arc]))


def _spans(plan: StreetPlan) -> list[tuple[float, float]]:
    """x ranges of the main street between cross streets."""
    edges = [plan.x_range[0]]
    for x, half in plan.cross:
        edges += [x - half, x + half]
    edges.append(plan.x_range[1])
    return list(zip(edges[::2], edges[1::2], strict=True))


def _walkways(plan: StreetPlan, corners: BaseGeometry) -> list[BaseGeometry]:
    """Walkway of each block: the band behind the verge, and the paved corners."""
    parks = unary_union([box(*r) for r in plan.parks])
    shapes = []
    for k, (x0, x1) in enumerate(_spans(plan)):
        left, right = k > 0, k < len(plan.cross)
        for side in (-1.0, 1.0):

            def inset(by: float, x0=x0, x1=x1, left=left, right=right, side=side) -> Polygon:
                low, high = side * (plan.half + by), side * plan.y_max
                return box(x0 + by * left, min(low, high), x1 - by * right, max(low, high))

            shape = inset(plan.verge).difference(inset(plan.verge + plan.walk))
            low, high = sorted((side * plan.half, side * (plan.half + CORNER_SQUARE)))
            squares = [box(x0, low, x0 + CORNER_SQUARE, high)] * left
            squares += [box(x1 - CORNER_SQUARE, low, x1, high)] * right
            paved = unary_union(squares).difference(inset(plan.verge)) if squares else Polygon()
            shapes.append(unary_union([shape, paved]).difference(corners).difference(parks))
    return shapes


def _across(plan: StreetPlan, offsets: tuple[float, float], half_way: bool) -> list[Polygon]:
    """Strips across every arm of every junction (crossings), or across the lanes that enter it."""
    strips = []
    a, b = plan.radius + offsets[0], plan.radius + offsets[1]
    for x, half in plan.cross:
        for to in (-1.0, 1.0):
            x0, x1 = sorted((x + to * (half + a), x + to * (half + b)))
            y0, y1 = sorted((to * plan.half, 0.0)) if half_way else (-plan.half, plan.half)
            strips.append(box(x0, y0, x1, y1))
            y0, y1 = sorted((to * (plan.half + a), to * (plan.half + b)))
            x0, x1 = sorted((x - to * half, x)) if half_way else (x - half, x + half)
            strips.append(box(x0, y0, x1, y1))
    return strips


def _lanes(plan: StreetPlan) -> tuple[list[Polygon], list[Polygon], list[Float], list[Float]]:
    """Lanes, road blocks, lane dividers and road dividers."""
    lanes, blocks, lane_lines, road_lines = [], [], [], []
    for x0, x1 in _spans(plan):
        a, b = x0 + plan.radius + 6.0, x1 - plan.radius - 6.0
        if b <= a:
            continue
        road_lines.append(np.array([[a, 0.0], [b, 0.0]]))
        for side in (-1.0, 1.0):
            low, high = sorted((side * plan.median, side * plan.half))
            blocks.append(box(a, low, b, high))
            for n in range(plan.lanes):
                low, high = sorted((side * (plan.median + n * LANE), side * (plan.median + (n + 1) * LANE)))
                lanes.append(box(a, low, b, high))
                if n:
                    y = side * (plan.median + n * LANE)
                    lane_lines.append(np.array([[a, y], [b, y]]))
    for x, half in plan.cross:
        for side in (-1.0, 1.0):
            y0, y1 = sorted((side * (plan.half + plan.radius + 6.0), side * plan.y_max))
            road_lines.append(np.array([[x, y0], [x, y1]]))
            for to in (-1.0, 1.0):
                x0, x1 = sorted((x, x + to * half))
                blocks.append(box(x0, y0, x1, y1))
                x0, x1 = sorted((x, x + to * min(half, LANE)))
                lanes.append(box(x0, y0, x1, y1))
    return lanes, blocks, lane_lines, road_lines


def map_layers(plan: StreetPlan) -> MapLayers:
    """The map of `plan` in the world frame. Walkways and drivable area meet the ground exactly."""
    x0, x1 = plan.x_range
    corner_shapes, drivable, segments = [], [], []
    for x, half in plan.cross:
        for sx in (-1.0, 1.0):
            for sy in (-1.0, 1.0):
                corner_shapes.append(_corner(x + sx * half, sy * plan.half, sx, sy, plan.radius))
        segments.append(box(x - half, -plan.half, x + half, plan.half))
        for side in (-1.0, 1.0):
            low, high = sorted((side * plan.half, side * plan.y_max))
            segments.append(box(x - half, low, x + half, high))
    corners = unary_union(corner_shapes)
    main = box(x0, -plan.half, x1, plan.half)
    for a, b in _spans(plan):
        segments.append(box(a, -plan.half, b, plan.half))
        gap = plan.radius + 6.0
        left = a if a == x0 else a + gap
        right = b if b == x1 else b - gap
        if plan.median > 0 and right > left:
            main = main.difference(box(left, -plan.median, right, plan.median))
    drivable = [main, *(box(x - h, -plan.y_max, x + h, plan.y_max) for x, h in plan.cross), corners]
    drivable += [box(*r) for r in plan.parks]
    lanes, blocks, lane_lines, road_lines = _lanes(plan)
    polygons = {
        "drivable_area": unary_union(drivable),
        "road_segment": segments,
        "road_block": blocks,
        "lane": lanes,
        "ped_crossing": _across(plan, CROSSING, half_way=False),
        "walkway": _walkways(plan, corners),
        "stop_line": _across(plan, STOP_LINE, half_way=True),
        "carpark_area": [box(*r) for r in plan.bays],
    }
    rings = {}
    for layer, shapes in polygons.items():
        shapes = shapes if isinstance(shapes, list) else [shapes]
        rings[layer] = [plan.to_world(ring) for shape in shapes for ring in _rings(shape)]
    gap = plan.radius + CROSSING[1] + 0.6
    lights = []
    for x, half in plan.cross:
        for side in (-1.0, 1.0):
            place = plan.to_world(np.array([x - side * (half + gap), -side * (plan.half + 0.7)]))
            lights.append([place[0], place[1], 4.9])
    return MapLayers(
        polygons=rings,
        lines={
            "road_divider": [plan.to_world(line) for line in road_lines],
            "lane_divider": [plan.to_world(line) for line in lane_lines],
        },
        traffic_lights=np.array(lights),
    )
