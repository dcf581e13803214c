"""Ground of a sweep: plane fits in slabs along x (Zermas et al., ICRA 2017), or Patchwork++."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.records import Sweep
from pc3d.ops.symmetric import least_axis, scatter
from pc3d.storage.compiled import njit


@dataclass(frozen=True)
class GroundParams:
    """Which points are ground, and where the ego vehicle is; the defaults are CALICO's [C: authors' code].

    Lengths in metres. [O] marks our choice where the code is not followed.

    Attributes:
        sensor_height: of the LiDAR above the road, where a data set's extrinsics do not tell it;
            None takes theirs.
        xy_range: points with |x| or |y| beyond it belong to no region.
        ground: `slabs` (plane fits) or `patchwork` (Patchwork++, the optional package) [O].
        slab_width: width along x of the slabs, counted from -xy_range.
        min_slab_points: a slab with fewer points has no ground.
        below_ground: candidates lie no further than this below the nominal ground, -sensor_height.
        lowest_points: how many lowest candidates make the representative height.
        seed_height: the first seeds lie lower than this above the representative.
        plane_rounds: plane fits of a slab.
        plane_distance: points lower than this above the plane are seeds of the next, at last ground.
        ego_half_width: half side of the square about the sensor that the ego vehicle fills as far as the
            LiDAR sees it [O; CALICO's code has 1.5, and nuScenes' LiDAR sees the bonnet up to 1.85].

    Raises:
        ValueError: an unknown choice, or a length or count that is not positive.
    """

    sensor_height: float | None = None
    xy_range: float = 54.0
    ground: Literal["slabs", "patchwork"] = "slabs"
    slab_width: float = 10.0
    min_slab_points: int = 50
    below_ground: float = 0.5
    lowest_points: int = 50
    seed_height: float = 0.5
    plane_rounds: int = 5
    plane_distance: float = 0.2
    ego_half_width: float = 2.0

    def __post_init__(self) -> None:
        if self.ground not in ("slabs", "patchwork"):
            raise ValueError(f"ground is {self.ground!r}, expected 'slabs' or 'patchwork'")
        check_positive(self, "xy_range", "slab_width", "lowest_points", "plane_rounds")


def check_positive(params: object, *names: str) -> None:
    """Raise ValueError unless each of the attributes is above zero."""
    for name in names:
        if not getattr(params, name) > 0:
            raise ValueError(f"{name} is {getattr(params, name)}, it must be positive")


def sensor_height(sweep: Sweep, params: GroundParams) -> float:
    """Height of the LiDAR above the road in metres: the parameters', else that above the ego frame.

    Raises:
        DataError: neither tells it, as the extrinsics have the sensor at or below the road.
    """
    height = float(sweep.ego_SE3_lidar[2, 3]) if params.sensor_height is None else params.sensor_height
    if height <= 0:
        fail(
            f"the LiDAR stands {height:.2f} m above the ego frame, whose origin should be on the road",
            f"sweep {sweep.token}",
            "give its height above the road with --sensor-height",
        )
    return height


def checked_points(points: NDArray) -> NDArray[np.float64]:
    """(P, 3) float64 coordinates of `points` (P, >= 3).

    Raises:
        ValueError: another shape, or a coordinate that is not finite.
    """
    if points.ndim != 2 or points.shape[1] < 3:
        raise ValueError(f"points have shape {points.shape}, expected (P, >= 3)")
    xyz = points[:, :3].astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(xyz).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{len(bad)} of {len(xyz)} points have a coordinate that is not finite (first: row {bad[0]}); "
            "drop them where the sweep is read"
        )
    return xyz


def in_range(xyz: NDArray, params: GroundParams) -> NDArray[np.bool_]:
    """(P,) bool: |x| and |y| within `params.xy_range`."""
    return (np.abs(xyz[:, :2]) <= params.xy_range).all(axis=1)


def in_ego_square(xyz: NDArray, params: GroundParams) -> NDArray[np.bool_]:
    """(P,) bool: |x| and |y| below `params.ego_half_width`."""
    return (np.abs(xyz[:, :2]) < params.ego_half_width).all(axis=1)


def rows_off_ground(points: NDArray, sensor_height: float, params: GroundParams) -> NDArray[np.int64]:
    """Rows in range, off the ground and off the ego vehicle. Arguments and errors as of `ground_mask`."""
    xyz = checked_points(points)
    kept = in_range(xyz, params) & ~in_ego_square(xyz, params)
    return np.flatnonzero(kept & ~ground_mask(points, sensor_height, params))


def ground_mask(
    points: NDArray, sensor_height: float, params: GroundParams | None = None
) -> NDArray[np.bool_]:
    """Which points are ground. Points outside the range are not.

    Args:
        points: (P, >= 3) float, metres, LiDAR frame, z up.
        sensor_height: of the LiDAR above the road, metres (1.84 on nuScenes).

    Returns:
        (P,) bool.

    Raises:
        ValueError: a wrong shape, coordinates that are not finite.
        ImportError: `params.ground` is `patchwork` and pypatchworkpp is not installed.
    """
    params = params or GroundParams()
    xyz = checked_points(points)
    if params.ground == "patchwork":
        return _patchwork(xyz, sensor_height, params)
    ground = np.zeros(len(xyz), dtype=bool)
    rows = np.flatnonzero(in_range(xyz, params))
    slab = np.floor((xyz[rows, 0] + params.xy_range) / params.slab_width).astype(np.int64)
    order = np.argsort(slab, kind="stable")
    for members in np.split(rows[order], np.flatnonzero(np.diff(slab[order])) + 1):
        if len(members) >= max(params.min_slab_points, 1):
            ground[members] = _slab_ground(xyz[members], sensor_height, params)
    return ground


def _slab_ground(xyz: NDArray, sensor_height: float, params: GroundParams) -> NDArray[np.bool_]:
    """(P,) bool: ground among the points of one slab."""
    z = xyz[:, 2]
    candidates = z >= -sensor_height - params.below_ground
    if not candidates.any():
        return candidates
    count = min(params.lowest_points, int(candidates.sum()))
    # Sorted: a partition's order, and with it the rounding of the mean, differs with the processor.
    lowest = np.sort(z[candidates])[:count].mean()
    ground = candidates & (z < lowest + params.seed_height)
    for _ in range(params.plane_rounds):
        if ground.sum() < 3:
            return np.zeros(len(xyz), dtype=bool)  # no plane goes through fewer
        ground = _below_plane(xyz, np.flatnonzero(ground), params.plane_distance)
    return ground


@njit(cache=True)
def _below_plane(xyz, seeds, distance):  # type: ignore[no-untyped-def]
    """(P,) bool: lower than `distance` above the plane through the seeds; no BLAS, see `ops/symmetric.py`."""
    mean, spread = scatter(xyz, seeds)
    normal = least_axis(spread)
    if normal[2] < 0.0:
        normal = -normal
    below = np.empty(len(xyz), np.bool_)
    for p in range(len(xyz)):
        x, y, z = xyz[p, 0] - mean[0], xyz[p, 1] - mean[1], xyz[p, 2] - mean[2]
        below[p] = x * normal[0] + y * normal[1] + z * normal[2] < distance
    return below


def _patchwork(xyz: NDArray, sensor_height: float, params: GroundParams) -> NDArray[np.bool_]:
    """Ground by Patchwork++ (Lee et al., IROS 2022)."""
    try:
        import pypatchworkpp
    except ImportError as error:
        raise ImportError("ground='patchwork' needs pypatchworkpp: pip install pc3d[patchwork]") from error
    settings = pypatchworkpp.Parameters()
    settings.sensor_height = sensor_height
    settings.max_range = float(np.hypot(params.xy_range, params.xy_range))
    settings.verbose = False
    settings.enable_RNR = False  # it needs intensities on one scale, which data sets do not share
    estimator = pypatchworkpp.patchworkpp(settings)
    ground = np.zeros(len(xyz), dtype=bool)
    rows = np.flatnonzero(in_range(xyz, params))
    if len(rows):
        estimator.estimateGround(np.c_[xyz[rows], np.zeros(len(rows))].astype(np.float32))
        ground[rows[np.asarray(estimator.getGroundIndices(), dtype=np.int64)]] = True
    return ground
