"""Data sets from the `data` section of a config."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch.utils.data import ConcatDataset

from pc3d.data.batch import ID_KINDS, Needs
from pc3d.data.classes import ClassSet
from pc3d.data.dataset import FrameConfig, FrameDataset, Sample
from pc3d.data.errors import fail
from pc3d.data.image_crops import ImageCrop
from pc3d.data.index import SweepIndex
from pc3d.data.pairing import PairingConfig
from pc3d.data.paste import PasteConfig
from pc3d.data.region_cache import RegionCache
from pc3d.data.samplers import class_balanced_rows
from pc3d.data.splits import label_fraction, read_tokens, rows_of_scenes
from pc3d.data.transforms import PointAugmentation, PointFilter, ViewCrop
from pc3d.engine.runs.ranks import rank
from pc3d.findings import Finding
from pc3d.geometry.grid import BevGrid
from pc3d.regions.build import KINDS, open_cache
from pc3d.regions.lidar_regions import RegionParams
from pc3d.regions.objects import ObjectParams
from pc3d.regions.semantics import SemanticParams
from pc3d.regions.superpixels import SuperpixelParams
from pc3d.regions.supervoxels import SupervoxelParams
from pc3d.regions.tracks import TrackParams

PARAM_KEYS = {
    "regions": "region_params",
    "superpixels": "superpixel_params",
    "semantics": "semantic_params",
    "supervoxels": "supervoxel_params",
    "objects": "object_params",
    "tracks": "track_params",
}
"""Setting with the parameters of each kind of cached ids."""


@dataclass(frozen=True)
class SourceSettings:
    """The settings of one source of frames and their types, see `build_dataset`."""

    index: Path
    root: Path | None = None
    split: str | None = None
    fraction: float | None = None
    fraction_rule: Literal["auto", "scenes", "last_scenes", "frames", "nested"] = "auto"
    fraction_draw: int = 0
    tokens: Path | None = None
    scenes: Path | None = None
    repeat: int = 1
    balance: bool = False
    pseudo_labels: Path | None = None
    regions: Path | None = None
    region_params: RegionParams | None = None
    superpixel_params: SuperpixelParams | None = None
    semantic_params: SemanticParams | None = None
    supervoxel_params: SupervoxelParams | None = None
    object_params: ObjectParams | None = None
    track_params: TrackParams | None = None


@dataclass(frozen=True)
class LoaderSettings:
    """The settings of a `data` section that are of no source and of no frame.

    Attributes:
        bad_samples: share of the frames that may be unreadable, see `engine/bad_samples.py`; 0 for none.
        calibration: what a calibration that looks wrong does to a run: stop it, `warn`, or (`off`) nothing.
        statistics_cache: folder of the local statistics of frames (26 bytes a point), which are made when a
            frame is first read; None to make them each time. They are the same either way.
        teacher_cache: folder of the maps of a frozen image encoder, which are made once and read instead of
            the images, see `engine/teacher_maps.py`; None to run the encoder in each step.
        sampler: which frames make a batch, see `pc3d.data.sampler_settings`; None for random ones.
    """

    batch_size: int
    workers: int = 0
    bad_samples: float = 0.0
    calibration: Literal["stop", "warn", "off"] = "stop"
    statistics_cache: Path | None = None
    teacher_cache: Path | None = None
    sampler: Mapping[str, Any] | None = None


SOURCE_KEYS = {field.name for field in fields(SourceSettings)}
LOADER_KEYS = {field.name for field in fields(LoaderSettings)}
FRAME_SOURCE_DEFAULTS = {"repeat": 1, "balance": False}
FRACTION_DEFAULTS = {"fraction_rule": "auto", "fraction_draw": 0}
FRAME_KEYS = {
    "cameras": "num_cameras",
    "camera_names": "cameras",
    "image_size": "image_size",
    "image_flip": "image_flip",
    "resize": "resize",
    "ego_masks": "ego_masks",
    "features": "features",
    "dense_sweeps": "dense_sweeps",
    "sweeps": "sweeps",
    "other_frames_images": "other_frames_images",
}
NESTED_KEYS = {"augmentation", "points", "pairing", "map_grid", "paste", "image_crop", "view_crop"}


class MixedDataset(ConcatDataset[Sample]):
    """Several data sets read as one; keys are (pass, position), as `StreamSampler` gives them."""

    metainfo: dict[str, Any] = {}  # noqa: RUF012  (mmengine asks for it)

    @property
    def parts(self) -> list[FrameDataset]:
        """The data sets, one after the other."""
        return self.datasets  # type: ignore[return-value]

    def __getitem__(self, key: tuple[int, int]) -> Sample:  # type: ignore[override]
        number, position = key
        for dataset in self.parts:
            if position < len(dataset):
                return dataset[number, position]
            position -= len(dataset)
        raise IndexError(f"sample {key[1]} of {len(self)}")


def build_dataset(config: dict[str, Any], needs: Needs, seed: int = 0) -> MixedDataset:
    """The training data of a `data` section.

    Args:
        config: one source (`index`, `split`, and where asked for `fraction` in percent, with `fraction_rule`
            and `fraction_draw`, see `label_fraction`, or `tokens`, a token list, or `scenes`, a list of
            scene names; `regions`, the folder of `pc3d regions`,
            with `region_params`, `superpixel_params`, ... where they were not made with the defaults;
            `pseudo_labels`, the folder of `pc3d pseudo-label`, to read labels from; `repeat`, how often
            each of its frames comes in a pass; `balance`, to repeat frames so that each detection class
            occurs equally often, see `class_balanced_rows`), or `sources`, a list of them; beside it the
            settings of `FrameConfig` (`cameras`: how many of each sample).
        needs: what the objectives read.
        seed: of augmentations and choices.

    Raises:
        ValueError: an unknown setting, or a missing one; it names the known ones.
        DataError: an index, a split or a token list that is not there.
    """
    known = SOURCE_KEYS | set(FRAME_KEYS) | NESTED_KEYS | LOADER_KEYS | {"sources"}
    unknown = sorted(set(config) - known)
    if unknown:
        raise ValueError(f"data has no setting {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    frames, sources = frame_config(config), source_settings(config)
    datasets = [dataset for source in sources for dataset in _repeated(source, frames, needs, seed)]
    if config.get("statistics_cache") is not None:
        for dataset in datasets:
            dataset.keep_statistics(config["statistics_cache"])
    return MixedDataset(datasets)


def source_settings(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The settings of each source of a `data` section, those that all share included."""
    shared = {key: value for key, value in config.items() if key in SOURCE_KEYS}
    return [{**shared, **source} for source in config.get("sources", [{}])]


def frame_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of a `data` section that prediction shares with training: what a frame shows."""
    drawn = {"cameras", "image_flip", "dense_sweeps", "other_frames_images"}
    return {key: config[key] for key in (*FRAME_KEYS, "map_grid") if key in config and key not in drawn}


def frame_config(config: dict[str, Any]) -> FrameConfig:
    """`FrameConfig` from the settings of a `data` section."""
    settings = {name: config[key] for key, name in FRAME_KEYS.items() if key in config}
    if "augmentation" in config:
        drawn = config["augmentation"]
        views = drawn if isinstance(drawn, list | tuple) else [drawn]
        settings["augmentation"] = tuple(_settings(PointAugmentation, view) for view in views)
    for key, kind in (
        ("points", PointFilter),
        ("pairing", PairingConfig),
        ("map_grid", BevGrid),
        ("paste", PasteConfig),
        ("image_crop", ImageCrop),
        ("view_crop", ViewCrop),
    ):
        if config.get(key) is not None:
            settings[key] = _settings(kind, config[key])
    return FrameConfig(**settings)


def _settings(kind: type, values: dict[str, Any]) -> Any:
    known = list(inspect.signature(kind).parameters)
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{kind.__name__} has no setting {', '.join(unknown)}; known: {', '.join(known)}")
    return kind(**values)


def _repeated(source: dict[str, Any], config: FrameConfig, needs: Needs, seed: int) -> list[FrameDataset]:
    times = source.get("repeat", 1)
    if times < 1:
        raise ValueError(f"`repeat` of a data source is {times}, expected at least 1")
    # Other seeds: each time that a frame comes in a pass, it is augmented anew.
    return [_source(source, config, needs, seed + number) for number in range(times)]


def _source(source: dict[str, Any], config: FrameConfig, needs: Needs, seed: int) -> FrameDataset:
    unknown = sorted(set(source) - SOURCE_KEYS)
    if unknown:
        raise ValueError(
            f"a data source has no setting {', '.join(unknown)}; known: {', '.join(SOURCE_KEYS)}"
        )
    if "index" not in source:
        raise ValueError("`data.index` is missing: the folder that `pc3d index` wrote")
    if source.get("regions") is None and needs.ids:
        raise ValueError(
            f"the objectives read {', '.join(needs.ids)}: set `data.regions`, see `pc3d regions`"
        )
    index = SweepIndex.open(source["index"], root=source.get("root"))
    return FrameDataset(
        index,
        needs,
        **(_balanced(index, source, seed) if source.get("balance") else _which(index, source)),
        config=config,
        caches={name: _cache(source, name) for name in needs.ids} | _pseudo_labels(source, index),
        seed=seed,
    )


def _cache(source: dict[str, Any], name: str) -> RegionCache:
    kind = ID_KINDS[name]
    params = _settings(KINDS[kind].params, source.get(PARAM_KEYS[name]) or {})
    return open_cache(source["regions"], kind, params)


def _pseudo_labels(source: dict[str, Any], index: SweepIndex) -> dict[str, RegionCache]:
    if source.get("pseudo_labels") is None:
        return {}
    cache = RegionCache.find(source["pseudo_labels"], "pseudo_labels")
    own, made = ClassSet.of(index.metadata), cache.params.get("classes")
    if own is not None and made is not None and list(own.classes) != list(made):
        fail(
            f"the pseudo-labels are of the classes {', '.join(made)}, the index has {', '.join(own.classes)}",
            source["pseudo_labels"],
            "make them with a model that was trained on the classes of the index",
        )
    return {"pseudo_labels": cache}


def _balanced(index: SweepIndex, source: dict[str, Any], seed: int) -> dict[str, Any]:
    """The key frames of a source, repeated so that the detection classes are balanced."""
    which = _which(index, source)
    if "tokens" in which:
        rows = index.rows_of(which["tokens"])
    else:
        rows = index.key_rows(which["split"]) if "split" in which else which["rows"]
    rng = np.random.default_rng([seed, len(rows)])
    return {"rows": class_balanced_rows(index, rows, rng)}


def _which(index: SweepIndex, source: dict[str, Any]) -> dict[str, Any]:
    """The key frames of a source, as arguments of `FrameDataset`."""
    if source.get("tokens") is not None:
        return {"tokens": read_tokens(Path(source["tokens"]))}
    if source.get("scenes") is not None:
        return {"rows": rows_of_scenes(index, read_tokens(Path(source["scenes"])))}
    if source.get("fraction") is not None:
        return {"tokens": _fraction(index, source)}
    if source.get("split") is not None:
        return {"split": source["split"]}
    return {"rows": index.key_rows(None)}


def _fraction(index: SweepIndex, source: dict[str, Any]) -> list[str]:
    """`label_fraction` of a source; it says on the terminal where less than one frame was asked for."""
    split, percent = source["split"], source["fraction"]
    rule, draw = (source.get(key, default) for key, default in FRACTION_DEFAULTS.items())
    tokens, frames = label_fraction(index, split, percent, rule, draw), len(index.key_rows(split))
    if percent / 100 * frames < 1 and rank() == 0:
        text = (
            f"{percent:g} % of the {frames:,} frames of {split} is less than one: {len(tokens):,} are taken"
        )
        print(Finding("data.fraction", "warning", text).line(), flush=True)
    return tokens
