"""Regions of every key frame of an index, computed in parallel and cached."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

from pc3d.data.index import SweepIndex
from pc3d.data.region_cache import RegionCache
from pc3d.regions import semantics
from pc3d.regions.key_frame import KeyFrame
from pc3d.regions.kinds import KINDS, Params
from pc3d.regions.statistics import Counts
from pc3d.storage.whole import clean

__all__ = ["KINDS", "Params", "build_regions", "build_sweep", "open_cache", "prepare"]


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
        counts: over both, by kind.
        failures: sweeps that were left out.
    """

    computed: dict[str, int] = field(default_factory=dict)
    reused: dict[str, int] = field(default_factory=dict)
    counts: dict[str, Counts] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: BuildSummary) -> None:
        for mine, theirs in ((self.computed, other.computed), (self.reused, other.reused)):
            for kind, count in theirs.items():
                mine[kind] = mine.get(kind, 0) + count
        for kind, counts in other.counts.items():
            self.counts[kind] = self.counts[kind] + counts if kind in self.counts else counts
        self.failures += other.failures

    def statistics(self) -> dict[str, dict[str, float | None]]:
        """Means and shares of each kind of which there is a sweep."""
        return {kind: counts.summary() for kind, counts in self.counts.items()}


def open_cache(folder: str | Path, kind: str, params: Params | None = None) -> RegionCache:
    """The cache of one kind of regions under `folder`.

    By sweep token `clusters`, `supervoxels` and `objects` hold a (P,) array `regions`, `superpixels` and
    `semantics` (H, W) ids by camera name, `tracks` the arrays of `pc3d.regions.tracks.tracks`.
    """
    return RegionCache(Path(folder), kind, asdict(params or KINDS[kind].params()))


def prepare(index: SweepIndex, folder: str | Path, kinds: dict[str, Params]) -> None:
    """Make what the sweeps of an index share, before any of them; what is there already stays.

    What killed builds left unfinished in `folder` is removed.

    Raises:
        DataError: it cannot be made of this index.
    """
    clean(Path(folder), recursive=True)
    for kind, params in kinds.items():
        if isinstance(params, semantics.SemanticParams):
            semantics.prepare(open_cache(folder, kind, params), params, index)


def build_regions(
    frames: Iterable[KeyFrame],
    folder: str | Path,
    kinds: dict[str, Params],
    executor: Executor,
    in_flight: int = 64,
    on_done: Callable[[], None] = lambda: None,
) -> BuildSummary:
    """Compute and cache the regions of `frames`; what is in the cache already stays.

    Args:
        frames: read as workers come free, never all in memory; see `key_frames`.
        folder: of the caches, after `prepare`.
        kinds: parameters by kind, see `KINDS`.
        executor: a process pool, or a cluster's (Dask: `Client.get_executor()`).
        in_flight: sweeps handed out at a time.
        on_done: called after each sweep.

    Returns:
        The summary; a sweep that failed is in its `failures`, the others are done all the same.
    """
    total = BuildSummary(computed=dict.fromkeys(kinds, 0), reused=dict.fromkeys(kinds, 0))
    waiting = iter(frames)
    running: set[Future[BuildSummary]] = set()
    while True:
        for frame in islice(waiting, in_flight - len(running)):
            running.add(executor.submit(build_sweep, frame, str(folder), kinds))
        if not running:
            return total
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            total.add(future.result())
            on_done()


def build_sweep(frame: KeyFrame, folder: str, kinds: dict[str, Params]) -> BuildSummary:
    """Compute, or take from the cache, the regions of one key frame, and count them."""
    summary = BuildSummary()
    token = frame.now.token
    for kind, params in kinds.items():
        try:
            cache = open_cache(folder, kind, params)
            known = cache.has(token)
            if not known:
                cache.save(token, KINDS[kind].make(frame, params, cache))
            summary.counts[kind] = KINDS[kind].count(frame, cache.load_all(token))
            (summary.reused if known else summary.computed)[kind] = 1
        except Exception as error:  # whatever it is, it is this sweep's: the others go on
            summary.failures.append(Failure(token, kind, f"{type(error).__name__}: {error}"))
    return summary
