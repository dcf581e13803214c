"""Index and regions of a data set, made before a pretraining run where they are missing.

Each part is whole or goes on: an index appears when it is complete, and region caches keep what is done.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from pc3d.data.batch import ID_KINDS
from pc3d.data.build import build_index
from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex
from pc3d.data.readers.detect import detect_format
from pc3d.engine.config import load_config, plain
from pc3d.engine.data import PARAM_KEYS
from pc3d.engine.pretrainer import objective_needs
from pc3d.engine.stages import stage_configs
from pc3d.processes import stopped_in_one_line
from pc3d.regions.build import KINDS, Params
from pc3d.regions.cut import cut_regions, missing_rows

_STOPPED = "what is done is kept; the same command goes on"


@dataclass(frozen=True)
class Drives:
    """A data set and the places of what is made of it.

    Attributes:
        root: of the raw files. index, regions: folders.
        reader: name of the format, None to find it. options: of the reader.
        workers: processes that cut regions.
    """

    root: Path
    index: Path
    regions: Path
    reader: str | None = None
    options: Mapping[str, Any] | None = None
    workers: int = os.cpu_count() or 1


def config_on_drives(
    path: Path, overrides: Mapping[str, Any], drives: Drives, only_look: bool = False
) -> Config:
    """A pretraining config over a data set of the user's; its index and regions are made where they lack.

    What is done and what it costs is printed.

    Args:
        path: config file. overrides: as of `load_config`; those of `data` win over what is found.
        only_look: make nothing: several processes would.

    Raises:
        DataError, ValueError: the config or the data cannot be used, or something lacks and `only_look`.
    """
    places = {"data.index": str(drives.index), "data.regions": str(drives.regions)}
    config = load_config(path, "pretrain", {**places, **overrides})
    _refuse_own_data(config, path)
    with stopped_in_one_line(_STOPPED):
        index = _index(drives, only_look)
        if "data.split" not in overrides:
            overrides = {**overrides, "data.split": training_split(index, config.data.get("split"))}
        config = load_config(path, "pretrain", {**places, **overrides})
        for kinds in region_kinds(config):
            _regions(index, config.data.split, drives, kinds, only_look)
    return config


def region_kinds(config: Config) -> list[dict[str, Params]]:
    """The regions that each stage of a config reads, with their parameters; one stage where it has none."""
    stages = list(stage_configs(config).values()) if config.get("stages") else [config]
    found: list[dict[str, Params]] = []
    for stage in stages:
        data = plain(stage.data)
        ids = objective_needs(plain(stage.objectives)).ids
        kinds = {ID_KINDS[name]: KINDS[ID_KINDS[name]].params(**_params(data, name)) for name in ids}
        if kinds and kinds not in found:
            found.append(kinds)
    return found


def _params(data: Mapping[str, Any], ids: str) -> dict[str, Any]:
    return dict(data.get(PARAM_KEYS[ids]) or {})


def _refuse_own_data(config: Config, path: Path) -> None:
    stages = [stage for stage in plain(config.get("stages")) or () if "index" in (stage.get("data") or {})]
    if config.data.get("sources") or stages:
        fail(
            "the config names data sets of its own, and --data another one",
            path,
            "take a config with one source (`pc3d configs`), or leave --data out",
        )


def _index(drives: Drives, only_look: bool) -> SweepIndex:
    if drives.index.is_dir():
        index = SweepIndex.open(drives.index)
        there = Path(index.metadata["root"]).resolve()
        named = drives.root.resolve()
        if there != (named if named.is_dir() else named.parent):  # a bag is a file below the root
            fail(
                f"the index is of another data set: {there}",
                drives.index,
                f"name another --index or --work-dir, or leave --data out to train on {there}",
            )
        _say(f"index: {drives.index} is there")
    else:
        if only_look:
            _refuse_several(drives.index)
        reader, options = _format(drives)
        _say(f"index: {drives.root} ({reader}) is read into {drives.index}; raw files stay as they are")
        rebuild = f"pc3d index {shlex.quote(str(drives.root))} --out {shlex.quote(str(drives.index))}"
        index = build_index(reader, drives.root, drives.index, rebuild, **options)
    return index


def _format(drives: Drives) -> tuple[str, dict[str, Any]]:
    """Name of the reader and its options."""
    options = dict(drives.options or {})
    if drives.reader is not None:
        return drives.reader, options
    tables = sorted(file.parent.name for file in drives.root.glob("*/sample_data.json"))
    if not tables:
        return detect_format(drives.root), options
    if len(tables) > 1 and "version" not in options:
        fail(
            f"the data set has several version folders: {', '.join(tables)}",
            drives.root,
            "make the index of one first (`pc3d index`), and name it with --index",
        )
    return "nuscenes", {"version": tables[0], **options}


def training_split(index: SweepIndex, wanted: str | None) -> str | None:
    """The split to train on: the config's where the index has it, else its `train`, else everything."""
    if wanted is None or wanted in index.splits:
        return wanted
    likely = [name for name in index.splits if "train" in name]
    split = "train" if "train" in likely else likely[0] if len(likely) == 1 else None
    taken = f"{split!r} is taken" if split else "all key frames are taken"
    known = ", ".join(index.splits) or "none"
    _say(f"data: the index has no split {wanted!r} (it has {known}): {taken}; data.split=NAME names another")
    return split


def _regions(
    index: SweepIndex, split: str | None, drives: Drives, kinds: dict[str, Params], only_look: bool
) -> None:
    rows = index.key_rows(split)
    names = ", ".join(kinds)
    missing = missing_rows(index, rows, drives.regions, kinds)
    if not missing:
        _say(f"regions: {names} of all {len(rows):,} key frames are in {drives.regions}")
        return
    if only_look:
        _refuse_several(drives.regions)
    _say(
        f"regions: {names} of {missing:,} of {len(rows):,} key frames are cut into {drives.regions} by "
        f"{drives.workers} processes; what is done is kept when it is interrupted"
    )
    cut_regions(index, rows, drives.regions, kinds, drives.workers, table=False)


def _refuse_several(place: Path) -> None:
    fail(
        "index and regions are not complete, and several processes would make them",
        place,
        "run the command once with --prepare-only and without --launcher",
    )


def _say(text: str) -> None:
    print(text, flush=True)
