"""The map-style data set: what the objectives need of a key frame, and nothing more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from pc3d.data.batch import Needs
from pc3d.data.classes import ClassSet
from pc3d.data.errors import fail
from pc3d.data.frames import FrameConfig, FrameSample, FrameSources, ImageDraw, load_dense_frame, load_frame
from pc3d.data.images import load_ego_masks
from pc3d.data.index import SweepIndex
from pc3d.data.map_targets import scene_maps
from pc3d.data.paste import PasteDatabase
from pc3d.data.records import Sweep
from pc3d.data.region_cache import RegionCache
from pc3d.data.statistics_cache import StatisticsCache
from pc3d.data.sweeps import STATISTICS, stored_features
from pc3d.data.teacher_cache import TeacherCache

_OTHER = 0x0F0A
"""Sets the draw of another frame's images apart from the other draws of a sample."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample before `collate`: frames by name."""

    token: str
    frames: dict[str, FrameSample]
    meta: dict[str, Any]


def _objects(config: FrameConfig, needs: Needs, classes: ClassSet | None) -> PasteDatabase | None:
    """The objects that are pasted, checked against what is loaded."""
    if config.paste is None:
        return None
    if not needs.boxes:
        raise ValueError(
            "`paste` puts boxes into frames: it serves detectors only, and no boxes are read here"
        )
    if needs.cameras and not config.paste.with_images:
        raise ValueError(
            "`paste` puts objects into the points that the images do not show: leave it out where images "
            "are read, or set its `with_images` to accept that"
        )
    objects = PasteDatabase.open(config.paste.database)
    objects.check(stored_features(config.features), config.sweeps, config.paste, classes)
    return objects


class FrameDataset(Dataset[Sample]):
    """Key frames of an index with what `needs` asks for.

    The random numbers of a sample come from (seed, epoch, position): it is the same whatever worker
    loads it. Call `set_epoch` before each epoch; it reaches workers that are already running.

    Args:
        index: of the data set.
        needs: what is loaded.
        split, tokens, rows: which key frames: those of a split, of a list of sweep tokens, or of index
            rows; exactly one of the three.
        config: see `FrameConfig`.
        caches: cache of each kind of ids that `needs` asks for, by the name of the need; and
            `pseudo_labels`, where labels are to be read from there.
        seed: of all random choices.

    Raises:
        DataError: no such split or token; no database of objects to paste, or one of other points or
            classes.
        ValueError: `needs` asks for ids whose cache is not given, or for an unknown frame; objects are to
            be pasted where boxes are not read, or where images are (see `PasteConfig`).
    """

    def __init__(
        self,
        index: SweepIndex,
        needs: Needs,
        split: str | None = None,
        tokens: Iterable[str] | None = None,
        rows: Sequence[int] | None = None,
        config: FrameConfig | None = None,
        caches: Mapping[str, RegionCache] | None = None,
        seed: int = 0,
    ) -> None:
        if sum(choice is not None for choice in (split, tokens, rows)) != 1:
            raise ValueError("say which key frames: exactly one of split, tokens and rows")
        caches = dict(caches or {})
        for name in needs.ids:
            if name not in caches:
                raise ValueError(
                    f"the objectives need {name}: give FrameDataset their cache, caches={{{name!r}: ...}}"
                )
        if needs.statistics and "intensity" not in (config or FrameConfig()).features:
            raise ValueError('the objectives read local statistics: `features` must have "intensity"')
        if needs.occupancy is not None and STATISTICS in (config or FrameConfig()).features:
            raise ValueError(
                "the objectives mask a part of each sweep, which local statistics as `features` would tell"
            )
        unknown = set(needs.frames) - {"t", "t-1", "t+1", "dense"}
        if unknown:
            raise ValueError(f"unknown frames {sorted(unknown)}, there are t, t-1, t+1 and dense")
        self.index = index
        self.needs = needs
        self.config = config or FrameConfig()
        classes = ClassSet.of(index.metadata)
        self._sources = FrameSources(
            needs,
            self.config,
            classes,
            caches,
            load_ego_masks(self.config.ego_masks),
            _objects(self.config, needs, classes),
            scene_maps=scene_maps(index) if needs.maps else {},
        )
        self.seed = seed
        self._split = split
        self._rows = self._choose(tokens, rows)
        if self.config.other_frames_images and len(self.rows):
            self.shown_row(0)  # that there is one is known at once
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def _choose(self, tokens: Iterable[str] | None, rows: Sequence[int] | None) -> NDArray[np.int64] | None:
        """Rows as given; None for a split, whose rows stay memory-mapped in the index."""
        if self._split is not None:
            self.index.key_rows(self._split)
            return None
        return self.index.rows_of(tokens) if tokens is not None else np.array(rows, dtype=np.int64)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Index rows of the samples."""
        return self.index.key_rows(self._split) if self._rows is None else self._rows

    def keep_statistics(self, folder: str | Path) -> None:
        """Read the local statistics of frames from a folder; what is not there is computed and written."""
        cache = StatisticsCache.create(folder, self.index.fingerprint, self.config.sweeps)
        self._sources = replace(self._sources, statistics=cache)

    @property
    def caches(self) -> Mapping[str, RegionCache]:
        """Cache of each kind of ids that is read."""
        return self._sources.caches

    def __len__(self) -> int:
        return len(self.rows)

    def set_epoch(self, epoch: int) -> None:
        """Change the random numbers of the samples for the epoch that comes."""
        self._epoch.fill_(epoch)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """The sample at a position, or at (epoch, position) as `StreamSampler` gives it."""
        epoch, position = key if isinstance(key, tuple) else (int(self._epoch), key)
        if not 0 <= position < len(self):
            raise IndexError(f"sample {position} of {len(self)}")
        rng = np.random.default_rng([self.seed, epoch, position])
        row = int(self.rows[position])
        sweep = self.index[row]
        if not sweep.is_key_frame:
            fail("the sweep is no key frame", f"sweep {sweep.token} (row {row})", "name key frames only")
        cameras = self._draw_cameras(sweep, rng) if self.needs.cameras else ()
        draw = self._draw(cameras, rng)
        other = self.shown_row(position)
        shown = None if other is None else self.index[other]
        frames = {"t": load_frame(self._sources, sweep, draw, rng, earlier=self._earlier(row), shown=shown)}
        for name in self.needs.frames:
            if name == "dense":
                frames[name] = self._dense(row, sweep, frames["t"], rng)
            elif name != "t":
                then = self._neighbour(row, name)
                shown = None if other is None else self.index[self._neighbour(other, name)]
                sources = self._sources.of_frame(name)
                draw = self._draw(cameras if sources.needs.cameras else (), rng)
                frames[name] = load_frame(
                    sources,
                    self.index[then],
                    draw,
                    rng,
                    tracks_from=sweep.token,
                    earlier=self._earlier(then),
                    shown=shown,
                )
        meta = {"scene": sweep.scene, "sample_token": sweep.sample_token, "path": str(sweep.path), "row": row}
        return Sample(sweep.token, frames, meta)

    def _neighbour(self, row: int, name: str) -> int:
        """Row of the frame "t-1" or "t+1"; at the end of a scene the current frame stands in."""
        other = self.index.neighbour(row, int(name[1:]))
        return row if other is None else other

    def shown_row(self, position: int) -> int | None:
        """Row of the key frame whose images a sample shows, None for its own: `other_frames_images`.

        Raises:
            DataError: all frames are of one scene.
        """
        if not self.config.other_frames_images:
            return None
        rows, scene = self.rows, self.index.scene_rows(int(self.rows[position]))
        others = rows[(rows < scene.start) | (rows >= scene.stop)]
        if not len(others):
            fail(
                "the images of another scene are asked for, and there is one scene only",
                self.index.folder,
                "give more scenes, or leave data.other_frames_images out",
            )
        return int(np.random.default_rng([self.seed, position, _OTHER]).choice(others))

    def image_rows(self) -> NDArray[np.int64]:
        """Rows of all sweeps whose images the samples show, ascending."""
        rows = set(self.rows.tolist())
        if self.needs.neighbour_images:
            names = [name for name in self.needs.frames if name in ("t-1", "t+1")]
            rows |= {self._neighbour(row, name) for row in rows for name in names}
        return np.array(sorted(rows), dtype=np.int64)

    def image_draw(self, sweep: Sweep) -> ImageDraw:
        """All cameras of a sweep that samples may show, drawn without any augmentation."""
        names = self.config.cameras or tuple(camera.name for camera in sweep.cameras)
        return ImageDraw(names, (False,) * len(names), self.config.image_size, self.config.resize)

    def use_teacher(self, cache: TeacherCache) -> None:
        """Read the maps of a teacher instead of the images.

        Raises:
            ValueError: the images are augmented.
        """
        if self.config.image_flip or self.config.image_crop is not None:
            raise ValueError("images that are augmented have no maps to be read: image_flip=0, no image_crop")
        self._sources = replace(self._sources, teacher=cache)

    def _draw_cameras(self, sweep: Sweep, rng: np.random.Generator) -> tuple[str, ...]:
        names = [camera.name for camera in sweep.cameras]
        if self.config.cameras is not None:
            names = list(self.config.cameras)
        if not names:
            fail(
                "the sweep has no camera",
                f"sweep {sweep.token}",
                "choose objectives that need no images, or name the cameras, `camera_names` in the config",
            )
        if self.config.num_cameras is None or self.config.num_cameras >= len(names):
            return tuple(names)
        return tuple(names[i] for i in sorted(rng.choice(len(names), self.config.num_cameras, replace=False)))

    def _draw(self, cameras: tuple[str, ...], rng: np.random.Generator) -> ImageDraw:
        flips = tuple(bool(flip) for flip in rng.random(len(cameras)) < self.config.image_flip)
        return ImageDraw(cameras, flips, self.config.image_size, self.config.resize)

    def _earlier(self, row: int) -> list[Sweep]:
        """The sweeps before a key frame that its views show too."""
        return [self.index[other] for other in self.index.previous_sweeps(row, self.config.sweeps - 1)]

    def _dense(self, row: int, sweep: Sweep, now: FrameSample, rng: np.random.Generator) -> FrameSample:
        earlier = (self.index[other] for other in self.index.previous_sweeps(row, self.config.dense_sweeps))
        plain = list(takewhile(lambda other: not other.is_key_frame, earlier))
        return load_dense_frame(self._sources.of_frame("dense"), sweep, plain, now, rng)
