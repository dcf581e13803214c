"""The worlds of a study on disk: simulated, indexed, with the regions that its starts read."""

from __future__ import annotations

from pathlib import Path

from pc3d.data.build import build_index
from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex
from pc3d.data.splits import write_tokens
from pc3d.engine.own_drives import region_kinds
from pc3d.evaluation.evidence import effective
from pc3d.evaluation.evidence.description import Start, Study, World
from pc3d.evaluation.evidence.effective import SEGMENTATION
from pc3d.evaluation.evidence.places import Places, WorldFolders
from pc3d.evaluation.official import check_official
from pc3d.evaluation.own.scored_classes import OWN, evaluator_of
from pc3d.regions.build import Params
from pc3d.regions.cut import cut_regions, missing_rows
from pc3d.sim.writer import write_dataset

VERSION = "v1.0-sim"
SEGMENTATION_TASK = "lidarseg"


def make_world(study: Study, places: Places, name: str, workers: int) -> None:
    """Make what lacks of a world: simulation, index, regions, lists of scenes; what is there stays.

    Args:
        workers: processes.

    Raises:
        DataError: a region or a file cannot be made, or the index lacks a split.
    """
    world = study.world(name)
    folders = places.of(world)
    index = _index(world, folders, workers)
    for split in (study.train, study.val):
        index.key_rows(split)
    if study.segmentation is not None and evaluator_of(index, SEGMENTATION_TASK) != OWN:
        check_official(index, study.val, SEGMENTATION_TASK)
    for start in study.starts:
        if not start.pretrain:
            continue
        if start.scenes:
            _list_of_scenes(study, index, folders.base, start.scenes)
        _regions(study, places, start, name, index, folders.regions, workers)


def open_world(study: Study, places: Places, name: str) -> SweepIndex:
    """The index of a world that is made."""
    folders = places.of(study.world(name))
    return SweepIndex.open(folders.index, root=folders.root)


def _index(world: World, folders: WorldFolders, workers: int) -> SweepIndex:
    if world.index is not None:
        return SweepIndex.open(world.index, root=world.root)
    assert folders.sim is not None
    if not (folders.sim / VERSION).is_dir():
        print(f"{world.name}: simulating {world.size} with seed {world.seed}", flush=True)
        write_dataset(folders.sim, world.sim_size(), seed=world.seed, workers=workers, version=VERSION)
    if not folders.index.is_dir():
        rebuild = f"pc3d index {folders.sim} --out {folders.index}"
        build_index("nuscenes", folders.sim, folders.index, rebuild, version=VERSION)
    return SweepIndex.open(folders.index, root=folders.root)


def _regions(
    study: Study, places: Places, start: Start, world: str, index: SweepIndex, out: Path, workers: int
) -> None:
    where = effective.of_places(study, places, world, start)
    config = effective.pretraining(study, start, SEGMENTATION, 1, 0, where)
    kinds: dict[str, Params]
    for kinds in region_kinds(config):
        rows = index.key_rows(study.train)
        missing = missing_rows(index, rows, out, kinds)
        if missing:
            print(f"{world}: {', '.join(kinds)} of {missing} key frames, for {start.name}", flush=True)
            cut_regions(index, rows, out, kinds, workers, table=False)


def _list_of_scenes(study: Study, index: SweepIndex, base: Path, count: int) -> None:
    names = list(dict.fromkeys(index[row].scene for row in index.key_rows(study.train).tolist()))
    if len(names) < count:
        fail(f"{count} training scenes are asked for, there are {len(names)}", index.folder, "make it larger")
    base.mkdir(parents=True, exist_ok=True)
    comment = f"the first {count} of {len(names)} scenes of {study.train}"
    write_tokens(effective.file_of_scenes(base, count), names[:count], comment)
