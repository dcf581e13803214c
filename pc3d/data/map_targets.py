"""Targets of map segmentation: the layers of the nuScenes map expansion drawn on a BEV grid."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import shapely
from numpy.typing import NDArray

from pc3d.data.errors import DataError, fail
from pc3d.data.index import SweepIndex
from pc3d.data.records import Float64
from pc3d.geometry.grid import BevGrid

MAP_CLASSES: tuple[str, ...] = (
    "drivable_area",
    "ped_crossing",
    "walkway",
    "stop_line",
    "carpark_area",
    "divider",
)
"""The classes of BEVFusion (Liu et al., ICRA 2023); a divider is a road divider or a lane divider."""

DIVIDER_WIDTH = 1.0
"""Metres: the two pixels that the devkit and BEVFusion draw at 0.5 m a cell."""

_MAP_END = 1e5
"""Metres; the largest of the four maps is 5 km wide."""
_LINE_LAYERS = ("road_divider", "lane_divider")


class MapRasteriser:
    """The map of one location as masks of `MAP_CLASSES` in the frame of an augmented view.

    A polygon is drawn as `NuScenesMap.get_map_mask` draws it, so that IoUs compare with published ones:
    cut at the grid's edge, corners rounded to cells, the outline belongs to it. A mask is therefore about
    a cell larger than its polygon towards the upper ends of x and y, which counts at a stop line. A
    divider is a band around its line; at 0.5 m it covers the three cells of the devkit's line. Unlike
    there, a hole does not erase another polygon of its layer, and a divider that the grid's edge cuts in
    two is drawn. A polygon that is no valid one is left out, except of the drivable area.

    The geometry is read when first needed and kept for the process, so that an object pickles as three
    values.

    Args:
        root: of the data set, with `maps/expansion/LOCATION.json` (version 1.3).
        location: of the log, e.g. "boston-seaport".
        divider_width: metres (of the world: a view that is scaled shows it scaled).
    """

    def __init__(self, root: Path | str, location: str, divider_width: float = DIVIDER_WIDTH) -> None:
        if divider_width <= 0:
            raise ValueError(f"divider_width is {divider_width}, expected metres above 0")
        self._key = (str(root), location, float(divider_width))

    def targets(self, world_SE3_view: Float64, grid: BevGrid) -> NDArray[np.bool_]:
        """Draw every class.

        The map has no height. A cell lies on the view's plane z = 0 and falls along the world's z, so the
        few degrees that a sensor is tilted shift nothing that counts.

        Args:
            world_SE3_view: (4, 4) affine map from the view (LiDAR frame after rotation, mirroring and
                scaling) to the world, whose x and y (m) are those of the map.
            grid: in the view's frame.

        Returns:
            (6, rows, cols) bool in the order of `MAP_CLASSES`; rows along y, columns along x.

        Raises:
            DataError: no such map, or its file is broken or outdated.
            ValueError: the map of the view cannot be inverted.
        """
        planar = _planar(np.asarray(world_SE3_view, dtype=np.float64))
        x, y = (grid.x_min, grid.x_max), (grid.y_min, grid.y_max)
        corners = np.array([(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])])
        patch = shapely.Polygon(_apply(planar, corners))
        view_from_world = _inverse(planar)
        cells_from_world = (view_from_world - [[0, 0, x[0]], [0, 0, y[0]]]) / grid.cell
        layers = _load_layers(*self._key)
        return np.stack(
            [
                # The devkit rounds the corners of polygons and cuts off the digits of those of lines.
                _draw(
                    layers[name], patch, cells_from_world, grid, np.floor if name == "divider" else np.round
                )
                for name in MAP_CLASSES
            ]
        )


def scene_maps(index: SweepIndex) -> dict[str, MapRasteriser]:
    """The map of each scene of an index by the scene's name; scenes of one location share it.

    Raises:
        DataError: the index does not say where its scenes were driven, or there is no map of a location.
    """
    locations = index.metadata.get("scene_locations")
    if locations is None:
        fail(
            "the index does not know where its scenes were driven, so their maps cannot be found",
            index.folder,
            "build it again (maps exist for data in the nuScenes format): "
            f"{index.metadata.get('rebuild', 'pc3d index ROOT --out INDEX')}",
        )
    for location in sorted(set(locations.values())):
        _check_file(_map_file(index.root, location))
    maps = {location: MapRasteriser(index.root, location) for location in set(locations.values())}
    return {scene: maps[location] for scene, location in locations.items()}


class _Layer(NamedTuple):
    """The areas of one class, and an index of where they are."""

    polygons: NDArray[np.object_]
    tree: shapely.STRtree


def _draw(
    layer: _Layer,
    patch: shapely.Polygon,
    cells_from_world: Float64,
    grid: BevGrid,
    to_cell: Callable[[Float64], Float64],
) -> NDArray[np.bool_]:
    """(rows, cols) mask of what lies in `patch`, the grid's outline in the world."""
    import cv2

    mask = np.zeros((grid.rows, grid.cols), dtype=np.uint8)
    near = layer.polygons[layer.tree.query(patch, predicate="intersects")]
    for part in shapely.get_parts(shapely.intersection(near, patch)):
        if part.geom_type != "Polygon":  # What only touches the grid's edge.
            continue
        outline, *holes = (
            to_cell(_apply(cells_from_world, np.array(ring.coords))).astype(np.int32)
            for ring in (part.exterior, *part.interiors)
        )
        # A polygon with holes has a canvas of its own, for its holes are not those of the others.
        own = np.zeros_like(mask) if holes else mask
        cv2.fillPoly(own, [outline], (1,))
        if holes:
            cv2.fillPoly(own, holes, (0,))
            mask |= own
    return mask.astype(np.bool_)


def _apply(affine: Float64, points: Float64) -> Float64:
    """(N, 2) points under a (2, 3) affine map."""
    return points @ affine[:, :2].T + affine[:, 2]


def _planar(world_SE3_view: Float64) -> Float64:
    """(2, 3) affine map from x, y of the view to those of the world."""
    if world_SE3_view.shape != (4, 4) or not abs(np.linalg.det(world_SE3_view[:2, :2])) > 1e-6:
        raise ValueError(f"world_SE3_view must be (4, 4) and invertible in x, y: {world_SE3_view}")
    return world_SE3_view[:2][:, [0, 1, 3]]


def _inverse(affine: Float64) -> Float64:
    linear = np.linalg.inv(affine[:, :2])
    return np.column_stack([linear, -linear @ affine[:, 2]])


@cache
def _load_layers(root: str, location: str, divider_width: float) -> dict[str, _Layer]:
    """The areas of every class; the devkit's records, many times their size, are dropped."""
    town = _open_map(Path(root), location)
    explorer = town.explorer
    layers = {}
    try:
        _check_nodes(town.node)
        for name in MAP_CLASSES:
            if name == "divider":
                polygons = _dividers(town, divider_width)
            elif name == "drivable_area":
                tokens = [token for record in town.drivable_area for token in record["polygon_tokens"]]
                polygons = [shapely.make_valid(explorer.extract_polygon(token)) for token in tokens]
            else:
                every = [explorer.extract_polygon(record["polygon_token"]) for record in getattr(town, name)]
                polygons = [polygon for polygon in every if polygon.is_valid]
            layers[name] = _Layer(np.array(polygons, dtype=object), shapely.STRtree(polygons))
    except Exception as error:  # of a damaged file, the geometry library's own among them
        _broken(_map_file(Path(root), location), error)
    return layers


def _check_nodes(nodes: list[dict[str, Any]]) -> None:
    """Every corner lies on the map: one elsewhere would bend or hide what it belongs to."""
    xy = np.array([(node["x"], node["y"]) for node in nodes], dtype=np.float64)
    if not (np.abs(xy) < _MAP_END).all():
        node = nodes[int(np.argmax(~(np.abs(xy) < _MAP_END).all(axis=1)))]
        raise ValueError(f"node {node['token']} lies at x {node['x']}, y {node['y']}")


def _dividers(town: Any, width: float) -> list[shapely.Polygon]:
    """Every divider as the band within `width` / 2 of its line."""
    lines = [
        town.explorer.extract_line(record["line_token"])
        for layer in _LINE_LAYERS
        for record in getattr(town, layer)
    ]
    bands = [line.buffer(width / 2, quad_segs=2) for line in lines if not line.is_empty]
    # A line that closes upon itself is a band with a hole; one that is broken may have several parts.
    return [part for band in bands for part in getattr(band, "geoms", [band])]


def _map_file(root: Path, location: str) -> Path:
    return root / "maps" / "expansion" / f"{location}.json"


def _open_map(root: Path, location: str) -> Any:
    """The devkit's map of a location."""
    try:
        from nuscenes.map_expansion.map_api import NuScenesMap, locations
    except ImportError as error:
        raise ImportError("maps need nuscenes-devkit: pip install nuscenes-devkit") from error
    path = _map_file(root, location)
    if location not in locations:
        fail(f"location {location!r} is none of {', '.join(locations)}", path, "correct the log table")
    _check_file(path)
    try:
        return NuScenesMap(str(root), location)
    except Exception as error:  # The devkit raises a bare one for an outdated version.
        _broken(path, error)


def _check_file(path: Path) -> None:
    if not path.is_file():
        fail(
            f"there is no map of {path.stem}",
            path,
            "download the nuScenes map expansion (version 1.3) and extract it into maps/",
        )


def _broken(path: Path, error: Exception) -> NoReturn:
    raise DataError(
        f"the map cannot be read: {type(error).__name__}: {error}\n  where: {path}\n  remedy: download the "
        "nuScenes map expansion (version 1.3) again"
    ) from error
