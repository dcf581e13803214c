"""Poses for drives that have none: LiDAR odometry by KISS-ICP (Vizzo et al., RA-L 2023)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.records import Float32, Float64

if TYPE_CHECKING:
    from kiss_icp.kiss_icp import KissICP

MIN_POINTS = 100
"""Fewer usable points than this make no registration."""


@dataclass(frozen=True)
class OdometryConfig:
    """Which points are registered, and how.

    Attributes:
        min_range, max_range: metres; nearer points (the own vehicle) and farther ones take no part.
        voxel_size: of the map, metres (KISS-ICP: a hundredth of `max_range`).
        ground_below: z (metres, LiDAR frame) below which a point may lie on the road, None to register
            all points alike.
        ground_stride: only every so-manyth point below `ground_below` is registered [our choice]. The
            LiDAR's rings on the road stand still in its own frame while it moves over them, and hold the
            estimate of a slow vehicle back.
        threads: of the registration.
    """

    min_range: float = 3.0
    max_range: float = 100.0
    voxel_size: float = 1.0
    ground_below: float | None = None
    ground_stride: int = 50
    threads: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.min_range < self.max_range:
            raise ValueError(f"min_range {self.min_range} and max_range {self.max_range}: expected 0 <= < <")
        if self.voxel_size <= 0 or self.ground_stride < 1 or self.threads < 1:
            raise ValueError("voxel_size must be above 0, ground_stride and threads at least 1")


def require_kiss_icp() -> None:
    """Raise ImportError with the remedy where the package `kiss-icp` is not installed."""
    try:
        import kiss_icp  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "LiDAR odometry needs the package kiss-icp: pip install 'pc3d[odometry]'"
        ) from error


def lidar_odometry(
    scans: Iterable[tuple[Float32, Float64 | None]], config: OdometryConfig | None = None
) -> Iterator[Float64]:
    """Estimate where the LiDAR was at each scan of one drive, scan by scan.

    Args:
        scans: points (P, >= 3), metres, LiDAR frame, and the time of each, (P,) in any unit, or None
            where the format stores none; ascending in time. With times the scan is straightened by the
            last motion, and its pose is that at its latest point.
        config: see `OdometryConfig`.

    Yields:
        (4, 4) float64 world_SE3_lidar of each scan; the world is the LiDAR frame of the first.

    Raises:
        ImportError: kiss-icp is not installed.
        DataError: a scan has too few points within the range.
        ValueError: times that are not one finite number a point.
    """
    config = config or OdometryConfig()
    pipeline = _pipeline(config)
    for number, (points, times) in enumerate(scans):
        keep = _registered(points, config)
        if int(keep.sum()) < MIN_POINTS:
            fail(
                f"only {int(keep.sum())} points between {config.min_range} and {config.max_range} m",
                f"scan {number} of the drive",
                "leave the scan out, or change the range of the odometry",
            )
        pipeline.register_frame(points[keep, :3].astype(np.float64), _times(times, points, keep))
        yield pipeline.last_pose.copy()


def _pipeline(config: OdometryConfig) -> KissICP:
    require_kiss_icp()
    from kiss_icp.config import KISSConfig
    from kiss_icp.kiss_icp import KissICP

    settings = KISSConfig()
    settings.data.min_range = config.min_range
    settings.data.max_range = config.max_range
    settings.mapping.voxel_size = config.voxel_size
    settings.registration.max_num_threads = config.threads
    return KissICP(settings)


def _registered(points: Float32, config: OdometryConfig) -> NDArray[np.bool_]:
    """(P,) bool: within the range, and of the points that may be road only every so-manyth."""
    distance = np.linalg.norm(points[:, :3], axis=1)
    keep = (distance > config.min_range) & (distance < config.max_range)
    if config.ground_below is not None:
        ground = np.flatnonzero(keep & (points[:, 2] < config.ground_below))
        keep[ground] = False
        keep[ground[:: config.ground_stride]] = True
    return keep


def _times(times: Float64 | None, points: Float32, keep: NDArray[np.bool_]) -> Float64:
    """Times of the registered points; none where they do not differ, which KISS-ICP cannot scale."""
    if times is None:
        return np.zeros(0)
    times = np.asarray(times, dtype=np.float64)
    if times.shape != (len(points),) or not np.isfinite(times).all():
        raise ValueError(
            f"times {times.shape} of {len(points)} points: give one finite number a point, or None"
        )
    kept = times[keep]
    return kept if np.ptp(kept) > 0 else np.zeros(0)
