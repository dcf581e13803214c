"""Regions of every key frame of an index, computed in parallel and cached."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

from pc3d.data.errors import fail
from pc3d.data.images import load_image
from pc3d.data.points import load_points
from pc3d.data.records import Sweep
from pc3d.data.region_cache import RegionCache
from pc3d.regions.ground import RegionParams
from pc3d.regions.lidar_regions import lidar_regions
from pc3d.regions.statistics import RegionCounts, SuperpixelCounts, count_regions, count_superpixels
from pc3d.regions.superpixels import SuperpixelParams, superpixels

Params = RegionParams | SuperpixelParams

KINDS: dict[str, type[RegionParams] | type[SuperpixelParams]] = {
    "clusters": RegionParams,
    "superpixels": SuperpixelParams,
}
"""Kinds of regions and the class of their parameters, which are also the key of their cache."""


@dataclass(frozen=True)
class Failure:
    """A sweep whose regions of one kind could not be made, and why."""

    token: str
    kind: str
    error: str


@dataclass
class BuildSummary:
    """What a build did, and statistics of all that is cached now.

    Attributes:
        computed, reused: sweeps by kind.
        clusters, superpixels: counts over both.
        failures: sweeps that were left out.
    """

    computed: dict[str, int] = field(default_factory=dict)
    reused: dict[str, int] = field(default_factory=dict)
    clusters: RegionCounts = field(default_factory=RegionCounts)
    superpixels: SuperpixelCounts = field(default_factory=SuperpixelCounts)
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: BuildSummary) -> None:
        for mine, theirs in ((self.computed, other.computed), (self.reused, other.reused)):
            for kind, count in theirs.items():
                mine[kind] = mine.get(kind, 0) + count
        self.clusters += other.clusters
        self.superpixels += other.superpixels
        self.failures += other.failures

    def statistics(self) -> dict[str, dict[str, float | None]]:
        """Means and shares of each kind that was asked for."""
        summaries = {"clusters": self.clusters.summary(), "superpixels": self.superpixels.summary()}
        return {kind: summaries[kind] for kind in self.computed}


def open_cache(folder: str | Path, kind: str, params: Params | None = None) -> RegionCache:
    """The cache of one kind of regions under `folder`.

    `clusters` holds a (P,) int16 per sweep token, `superpixels` (H, W) int16 ids by camera name.
    """
    return RegionCache(Path(folder), kind, asdict(params or KINDS[kind]()))


def build_regions(
    sweeps: Iterable[Sweep],
    folder: str | Path,
    kinds: dict[str, Params],
    executor: Executor,
    in_flight: int = 64,
    on_done: Callable[[], None] = lambda: None,
) -> BuildSummary:
    """Compute and cache the regions of `sweeps`; what is in the cache already stays.

    Args:
        sweeps: read as workers come free, never all in memory.
        folder: of the caches.
        kinds: parameters by kind, see `KINDS`.
        executor: a process pool, or a cluster's (Dask: `Client.get_executor()`).
        in_flight: sweeps handed out at a time.
        on_done: called after each sweep.

    Returns:
        The summary; a sweep that failed is in its `failures`, the others are done all the same.
    """
    total = BuildSummary(computed=dict.fromkeys(kinds, 0), reused=dict.fromkeys(kinds, 0))
    waiting = iter(sweeps)
    running: set[Future[BuildSummary]] = set()
    while True:
        for sweep in islice(waiting, in_flight - len(running)):
            running.add(executor.submit(build_sweep, sweep, str(folder), kinds))
        if not running:
            return total
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            total.add(future.result())
            on_done()


def build_sweep(sweep: Sweep, folder: str, kinds: dict[str, Params]) -> BuildSummary:
    """Compute, or take from the cache, the regions of one sweep, and count them."""
    summary = BuildSummary()
    for kind, params in kinds.items():
        try:
            cache = open_cache(folder, kind, params)
            known = cache.has(sweep.token)
            if isinstance(params, RegionParams):
                summary.clusters += _clusters(sweep, cache, known, params)
            else:
                summary.superpixels += _superpixels(sweep, cache, known, params)
            (summary.reused if known else summary.computed)[kind] = 1
        except Exception as error:  # whatever it is, it is this sweep's: the others go on
            summary.failures.append(Failure(sweep.token, kind, f"{type(error).__name__}: {error}"))
    return summary


def sensor_height(sweep: Sweep, params: RegionParams) -> float:
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


def _clusters(sweep: Sweep, cache: RegionCache, known: bool, params: RegionParams) -> RegionCounts:
    points = None
    if not known or sweep.boxes is not None:
        points = load_points(sweep.path, sweep.lidar_format, sweep.token)
    if not known:
        assert points is not None
        cache.save(sweep.token, lidar_regions(points, sensor_height(sweep, params), params))
    regions = cache.load(sweep.token)
    return count_regions(regions, points, sweep.boxes)


def _superpixels(sweep: Sweep, cache: RegionCache, known: bool, params: SuperpixelParams) -> SuperpixelCounts:
    if not known:
        cache.save(
            sweep.token,
            {
                camera.name: superpixels(load_image(camera.path, sweep.token), params)
                for camera in sweep.cameras
            },
        )
    return sum((count_superpixels(ids) for ids in cache.load_all(sweep.token).values()), SuperpixelCounts())
