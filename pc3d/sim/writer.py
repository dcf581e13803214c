"""Writes a simulated data set in nuScenes format, which the official devkit loads unchanged."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from pathlib import Path

from pc3d.data.errors import fail
from pc3d.processes import worker_pool
from pc3d.sim.categories import LIDARSEG_NAMES
from pc3d.sim.maps import MapExpansion
from pc3d.sim.rig import CAMERAS
from pc3d.sim.scene_files import SEMANTICS, SceneRows, write_scene
from pc3d.sim.semantic_prior import write_semantic_prior
from pc3d.sim.sizes import SIZES, SimSize
from pc3d.sim.tables import LIDAR, TABLES, Tables, fixed_tables, token, write_json
from pc3d.sim.towns import ScenePlan, Town, needed_canvas, plan_scenes
from pc3d.storage.folders import new_folder

CHANNELS = (LIDAR, *CAMERAS)
MARKER = "simulated.json"
"""File at the root of a data set that this module wrote: with which size and seed."""

Progress = Callable[[int, int], None]


def write_dataset(
    root: Path,
    size: str | SimSize,
    seed: int = 0,
    workers: int | None = None,
    version: str = "v1.0-sim",
    progress: Callable[[int, int], None] | None = None,
    *,
    executor: Executor | None = None,
    overwrite: bool = False,
) -> Path:
    """Simulates drives and writes them as a data set in nuScenes format.

    The same size and seed give the same bytes, whatever runs it. The files are written into a temporary
    folder beside `root`, which becomes `root` at the end: an interrupted run leaves no half data set.

    Args:
        root: folder of the data set; it must not exist, be empty, or see `overwrite`.
        size: a name of `pc3d.sim.sizes.SIZES` (`tiny`, `demo`, `bench`) or a size of your own.
        seed: of everything random, not negative.
        workers: processes, None for one per core; 1 stays in this process.
        version: name of the folder with the tables.
        progress: called with (scenes written, scenes in all), first with 0 written.
        executor: runs the scenes instead of own processes; it must see the file system of `root`.
        overwrite: replace a data set that this function wrote before. Nothing else is ever replaced.

    Returns:
        `root`.

    Raises:
        DataError: `root` holds something that may not be replaced, or the size is not known.
        ValueError: no scenes, more than the four towns hold, or a negative seed.

    A script that calls this with several workers needs the `if __name__ == "__main__":` guard.
    """
    root = Path(root).absolute()
    scale = _size_of(size)
    plans = plan_scenes(scale.train_scenes, scale.val_scenes, seed, version)
    _check_free(root, overwrite)
    root.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(root, durable=False) as folder:  # thousands of files, which can be made again
        _make_folders(folder, version)
        scenes: list[SceneRows] = []
        report = progress or (lambda done, total: None)
        report(0, len(plans))
        for scene in _simulate(folder, version, plans, scale, workers, executor):
            scenes.append(scene)
            report(len(scenes), len(plans))
        _write_tables(folder, version, plans, scenes)
        _write_maps(folder, plans, scenes)
        made = {"made_by": "pc3d.sim", "version": version, "seed": seed, "size": asdict(scale)}
        write_json(folder / MARKER, made)
    return root


def _size_of(size: str | SimSize) -> SimSize:
    if isinstance(size, SimSize):
        return size
    if size not in SIZES:
        fail(f"size {size!r} is not known", "pc3d.sim.sizes.SIZES", f"use one of {', '.join(SIZES)}")
    return SIZES[size]


def _check_free(root: Path, overwrite: bool) -> None:
    """Raises DataError where `root` holds something else than a data set that may be replaced."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return
    if not (root / MARKER).is_file():
        fail("the folder holds something that is no simulated data set", root, "choose another folder")
    if not overwrite:
        fail("a simulated data set is there already", root, "choose another folder, or replace it (--force)")


def _make_folders(folder: Path, version: str) -> None:
    for path in (version, f"lidarseg/{version}", "maps/expansion", f"sweeps/{LIDAR}"):
        (folder / path).mkdir(parents=True)
    for channel in CHANNELS:
        (folder / "samples" / channel).mkdir(parents=True)
    for channel in CAMERAS:
        (folder / SEMANTICS / channel).mkdir(parents=True)


def _simulate(
    folder: Path,
    version: str,
    plans: Sequence[ScenePlan],
    size: SimSize,
    workers: int | None,
    executor: Executor | None,
) -> Iterator[SceneRows]:
    """Writes the scenes' files and yields their rows in the order of the plans."""
    workers = min(workers or os.cpu_count() or 1, len(plans))
    write = functools.partial(write_scene, folder, version, size=size)
    if executor is not None:
        yield from executor.map(write, plans)
    elif workers == 1:
        yield from map(write, plans)
    else:
        with worker_pool(workers) as pool:
            yield from pool.map(write, plans)


def _write_tables(
    folder: Path, version: str, plans: Sequence[ScenePlan], scenes: Sequence[SceneRows]
) -> None:
    tables: Tables = {name: [] for name in TABLES}
    tables.update(fixed_tables(LIDARSEG_NAMES, CHANNELS))
    for scene in scenes:
        for name, rows in scene.tables.items():
            tables[name] += rows
    for town, group in _by_town(plans, scenes).items():
        plan = group[0][0]
        tables["log"].append(
            {
                "token": plan.log_token,
                "logfile": plan.logfile,
                "vehicle": "sim",
                "date_captured": "2024-01-01",
                "location": town.name,
            }
        )
        tables["map"].append(
            {
                "token": token(plan.dataset, "map", town.name),
                "log_tokens": [plan.log_token],
                "category": "semantic_prior",
                "filename": f"maps/{town.map_hash}.png",
            }
        )
    for name, rows in tables.items():
        write_json(folder / version / f"{name}.json", rows)
    splits: dict[str, list[str]] = {"sim_train": [], "sim_val": []}
    for plan in plans:
        splits[plan.split].append(plan.name)
    write_json(folder / version / "splits.json", splits)


def _write_maps(folder: Path, plans: Sequence[ScenePlan], scenes: Sequence[SceneRows]) -> None:
    for town, group in _by_town(plans, scenes).items():
        canvas = needed_canvas(plan for plan, _ in group)
        expansion = MapExpansion(canvas)
        surface = []
        for plan, scene in group:
            expansion.add_scene(plan.namespace, scene.layers)
            surface += scene.layers.polygons["drivable_area"] + scene.layers.polygons["walkway"]
        write_json(folder / "maps" / "expansion" / f"{town.name}.json", expansion.content)
        write_semantic_prior(folder / "maps" / f"{town.map_hash}.png", canvas, surface)


def _by_town(
    plans: Sequence[ScenePlan], scenes: Sequence[SceneRows]
) -> dict[Town, list[tuple[ScenePlan, SceneRows]]]:
    towns: dict[Town, list[tuple[ScenePlan, SceneRows]]] = {}
    for plan, scene in zip(plans, scenes, strict=True):
        towns.setdefault(plan.town, []).append((plan, scene))
    return towns
