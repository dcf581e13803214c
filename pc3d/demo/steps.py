"""The steps that lead to a pretrained backbone: simulate, index, regions."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from pc3d.data.build import build_index
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.processes import worker_pool
from pc3d.regions.build import Params, build_regions, prepare
from pc3d.regions.key_frame import key_frames
from pc3d.regions.lidar_regions import RegionParams
from pc3d.regions.superpixels import SuperpixelParams
from pc3d.sim.writer import write_dataset

console = Console(highlight=False)

# Superpixels at the width of the training images, fifteen times quicker than at 1600 pixels.
REGIONS: dict[str, Params] = {"clusters": RegionParams(), "superpixels": SuperpixelParams(width=448)}


class Clock:
    """Names the steps as they begin and remembers how long each took.

    Attributes:
        seconds: step name to wall-clock seconds.
        cpu_seconds: step name to those of all cores, of processes that have ended.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        console.rule(f"[bold]{name}", align="left")
        began, cpu = time.perf_counter(), sum(os.times()[:4])
        yield
        self.seconds[name] = round(time.perf_counter() - began, 1)
        self.cpu_seconds[name] = round(sum(os.times()[:4]) - cpu, 1)


def simulate(root: Path, size: str, seed: int) -> None:
    """Write the simulated data set, unless it is there."""
    if not (root / "v1.0-sim").is_dir():
        write_dataset(root, size, seed=seed, workers=os.cpu_count())


def index(reader: str, root: Path, folder: Path, **options: Any) -> SweepIndex:
    """Index a data set, unless it is done."""
    if not folder.is_dir():
        rebuild = f"pc3d index {root} --out {folder}"
        build_index(reader, root, folder, rebuild, **options)
    return SweepIndex.open(folder)


def regions(source: SweepIndex, folder: Path) -> dict[str, dict[str, float | None]]:
    """Compute the regions of all key frames; returns the statistics of each kind.

    Raises:
        DataError: the regions of a sweep could not be made.
    """
    rows = source.key_rows(None)
    prepare(source, folder, REGIONS)
    frames = track(key_frames(source, rows), "regions", total=len(rows), console=console)
    with worker_pool(os.cpu_count() or 1) as pool:
        summary = build_regions(frames, folder, REGIONS, pool)
    if summary.failures:
        first = summary.failures[0]
        raise DataError(f"{len(summary.failures)} sweeps without regions, first {first.token}: {first.error}")
    return summary.statistics()
