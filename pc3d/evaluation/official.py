"""What the official evaluators read of a data set, looked at before hours of prediction instead of after."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from pc3d.data.errors import DataError, fail
from pc3d.data.frame_types import BEVFUSION_MAP_GRID
from pc3d.data.index import SweepIndex
from pc3d.data.map_targets import scene_maps

if TYPE_CHECKING:
    from nuscenes import NuScenes

LIDAR = "LIDAR_TOP"
"""The channel that the official evaluators read, whatever a data set calls its LiDAR."""


def official_version(index: SweepIndex) -> str:
    """Version folder of the data set of an index.

    Raises:
        DataError: the data set is not in the nuScenes format, which the official evaluators read.
    """
    if "version" not in index.metadata:
        what = f"official evaluation needs a nuScenes-format data set, not {index.metadata['dataset']}"
        fail(what, index.folder, "use an index of a data set in nuScenes format (pc3d index)")
    return index.metadata["version"]


def open_devkit(root: Path | str, version: str) -> NuScenes:
    """The tables of a data set as the devkit loads them.

    Raises:
        DataError: a table, a map or a label file that it asserts is not there, with its own words.
    """
    from nuscenes import NuScenes

    where = f"{root}, version {version}"
    try:
        return NuScenes(version, str(root), verbose=False)
    except (AssertionError, OSError, LookupError, TypeError, ValueError) as error:
        text = f"{type(error).__name__}: {error}"
        raise DataError(
            f"the official evaluation cannot open the data set: {text}\n  where: {where}\n  remedy: extract "
            f"{_archive(text)} into the data set root"
        ) from error


def _archive(text: str) -> str:
    """The nuScenes archive that an error of the devkit misses."""
    if "lidarseg" in text or "label files" in text:
        return "the whole lidarseg archive"
    if "map" in text.lower():
        return "the maps of the metadata archive (maps/*.png)"
    return "the metadata archive of this version"


def split_samples(nusc: NuScenes, split: str) -> list[str]:
    """Sample tokens of an official split or of a custom one in `splits.json`, scene by scene.

    Raises:
        DataError: there is no such split, or a scene of it is missing from this version.
    """
    from nuscenes.utils.splits import get_scenes_of_split

    try:
        scenes = get_scenes_of_split(split, nusc)
    except ValueError as error:
        fail(str(error), _where(nusc), "choose val, mini_val, ... or write the split to splits.json")
    by_name = {record["name"]: record for record in nusc.scene}
    missing = [name for name in scenes if name not in by_name]
    if missing or not scenes:
        fail(
            f"{len(missing)} of the {len(scenes)} scenes of split {split!r} are not there"
            + (f", e.g. {missing[0]}" if missing else ""),
            _where(nusc),
            "choose a split of this version",
        )
    samples = []
    for name in scenes:
        token = by_name[name]["first_sample_token"]
        while token:
            samples.append(token)
            token = nusc.get("sample", token)["next"]
    return samples


def lidar_tokens(nusc: NuScenes, samples: list[str]) -> list[str]:
    """Token of the LIDAR_TOP sweep of each sample.

    Raises:
        DataError: a sample has no sweep of that channel.
    """
    found = [nusc.get("sample", sample)["data"] for sample in samples]
    without = [sample for sample, data in zip(samples, found, strict=True) if LIDAR not in data]
    if without:
        channels = ", ".join(sorted(found[samples.index(without[0])])) or "nothing"
        fail(
            f"{len(without)} of {len(samples)} samples have no {LIDAR}, the only LiDAR that the official "
            f"evaluators read (sample {without[0]} has {channels})",
            _where(nusc),
            f"name the LiDAR's channel {LIDAR} in sensor.json, and index it with --lidar {LIDAR}",
        )
    return [data[LIDAR] for data in found]


def true_labels(nusc: NuScenes, tokens: list[str]) -> list[Path]:
    """Label file of each LIDAR_TOP sweep.

    Raises:
        DataError: the version has no lidarseg, or a sweep no label file.
    """
    if not hasattr(nusc, "lidarseg"):
        fail(
            "the version has no lidarseg.json", _where(nusc), "extract the lidarseg archive into the data set"
        )
    paths = {record["token"]: Path(nusc.dataroot) / record["filename"] for record in nusc.lidarseg}
    for token in tokens:
        if token not in paths or not paths[token].is_file():
            remedy = "extract the whole lidarseg archive into the data set root"
            fail(f"sweep {token} has no labels", paths.get(token, _where(nusc)), remedy)
    return [paths[token] for token in tokens]


def check_official(index: SweepIndex, split: str, task: str) -> None:
    """Ask the official evaluator of a task all that it will assert of the data set when it scores `split`.

    It opens the devkit's tables, which are dropped again: for nuScenes a minute, against hours of prediction.

    Args:
        index: that is predicted. task: `lidarseg` or `detection`.

    Raises:
        DataError: the index is of no nuScenes-format data set or lacks samples of the split; a map, a table,
            a label file or the LIDAR_TOP channel is missing, a label or box malformed, or no box counts.
    """
    nusc = open_devkit(index.root, official_version(index))
    samples = split_samples(nusc, split)
    tokens = lidar_tokens(nusc, samples)
    _check_index(index, split, dict(zip(samples, tokens, strict=True)))
    if task == "lidarseg":
        _check_labels(nusc, tokens)
    else:
        _check_boxes(nusc, split, samples)


def check_maps(index: SweepIndex, split: str) -> None:
    """Read the map of each location that a split was driven in.

    Raises:
        DataError: there is none, or it is broken.
    """
    maps = scene_maps(index)
    seen: set[str] = set()
    for row in index.key_rows(split):
        sweep = index[int(row)]
        location = index.metadata["scene_locations"][sweep.scene]
        if location not in seen:
            seen.add(location)
            maps[sweep.scene].targets(sweep.world_SE3_ego, BEVFUSION_MAP_GRID)


def _check_index(index: SweepIndex, split: str, official: Mapping[str, str]) -> None:
    """The index must hold the samples of the split, all of them, by their official sweeps."""
    sweeps = {}
    for row in index.key_rows(split):
        sweep = index[int(row)]
        sweeps[sweep.sample_token] = sweep.token
    rebuild = f"build the index again: {index.metadata['rebuild']}"
    missing = [sample for sample in official if sample not in sweeps]
    if missing:
        what = f"the index lacks {len(missing)} of the {len(official)} samples of split {split!r}"
        remedy = "the official metrics score whole splits: complete the data set, without --skip-missing"
        fail(f"{what}, e.g. {missing[0]}", index.folder, f"{remedy}, and {rebuild}")
    strange = sorted(set(sweeps) - set(official))
    if strange:
        what = f"{len(strange)} samples of the index are not in split {split!r}, e.g. {strange[0]}"
        fail(what, index.folder, rebuild)
    other = [sample for sample, token in official.items() if sweeps[sample] != token]
    if other:
        what = f"the sweeps of the index are not those of {LIDAR}, which the official evaluators read"
        fail(f"{what} (sample {other[0]})", index.folder, f"index with --lidar {LIDAR}; {rebuild}")


def _check_labels(nusc: NuScenes, tokens: list[str]) -> None:
    """Labels that the official class map does not know would end the counting in the middle."""
    try:
        known = {int(record["index"]) for record in nusc.category}
    except (KeyError, TypeError, ValueError):
        fail("category.json gives its categories no index", _where(nusc), "extract the lidarseg archive")
    for token, path in zip(tokens, true_labels(nusc, tokens), strict=True):
        strange = sorted(set(np.unique(np.fromfile(path, dtype=np.uint8)).tolist()) - known)
        if strange:
            what = f"label {strange[0]} of sweep {token} is no category of category.json"
            fail(what, path, "copy labels and tables again from the same release of the data set")


def _check_boxes(nusc: NuScenes, split: str, samples: list[str]) -> None:
    """Let the evaluator load and filter the true boxes, beside a submission of one box far away."""
    from nuscenes.eval.detection.evaluate import DetectionEval

    from pc3d.evaluation.detection_analysis import official_config
    from pc3d.evaluation.detection_submission import out_of_range_entry

    check_truth(nusc, split, samples)
    found: dict[str, Any] = {sample: [] for sample in samples}
    found[samples[0]] = [out_of_range_entry(samples[0])]
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        results.write_text(json.dumps({"meta": {}, "results": found}))
        try:
            evaluator = DetectionEval(nusc, official_config(), str(results), split, folder, verbose=False)
        except Exception as error:  # the devkit raises bare ones
            refused(
                error, _where(nusc), "extract the annotations of this version again, or choose another split"
            )
    if not evaluator.gt_boxes.all:
        what = f"no annotated box of split {split!r} counts: none is in range and has points"
        fail(what, _where(nusc), "choose another split")


def check_truth(nusc: NuScenes, split: str, samples: list[str]) -> None:
    """Refuse a split without a box of a detection class."""
    from nuscenes.eval.detection.utils import category_to_detection_name

    for sample in samples:
        for token in nusc.get("sample", sample)["anns"]:
            if category_to_detection_name(nusc.get("sample_annotation", token)["category_name"]):
                return
    fail(
        f"no sample of split {split!r} has an annotated box of a detection class",
        _where(nusc),
        "check the names in category.json, or choose another split",
    )


def refused(error: Exception, where: object, remedy: str) -> NoReturn:
    """Raise what the official evaluator raised as a `DataError`."""
    raise DataError(
        f"the official evaluator refuses: {type(error).__name__}: {error}\n  where: {where}\n"
        f"  remedy: {remedy}"
    ) from error


def _where(nusc: Any) -> str:
    return f"{nusc.dataroot}, version {nusc.version}"
