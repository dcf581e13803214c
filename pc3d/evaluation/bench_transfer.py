"""Transfer to real data: probes fitted on one data set and scored on another, all references beside.

Two tasks: common classes from point labels (SemanticKITTI and PandaSet), and points in boxes against points
beside them (every data set with boxes). The deviations are over draws of points (and random networks): they
say nothing of other scenes, of which there are one or two.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.frame_types import FrameConfig
from pc3d.engine.environment import environment
from pc3d.evaluation.protocol.data import ProbeData, draw_points
from pc3d.evaluation.protocol.networks import Backbone
from pc3d.evaluation.protocol.references import HAND_MADE, RANDOM, RAW, WITHOUT_INTENSITY
from pc3d.evaluation.transfer.boxes import KINDS, BoxTask, box_points
from pc3d.evaluation.transfer.features import COORDINATES, Draws, FeatureSet, Networks, feature_sets
from pc3d.evaluation.transfer.samples import SOURCES, Frames, open_frames
from pc3d.evaluation.transfer.scores import (
    SCALES,
    Part,
    box_scores,
    scaled,
    segmentation_scores,
    shared_classes,
)
from pc3d.models.lidar import build_lidar_encoder

BOX_DATA = ("nuscenes", "pandaset", "argoverse2", "kitti_object")
Encoded = tuple[Draws, list[FeatureSet]]
WITHIN_A_DRIVE = "Consecutive scans prove nothing: raw coordinates reach"


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        seeds: a draw of points for each.
        random_seeds: a random network for each.
        points: drawn of each data set, in equal parts of its frames.
        frames: key frames of a data set at most, its first ones.
        least: points of a class in every draw of both data sets that the mean needs.
        fit_boxes: boxes with points that a data set needs to be fitted on, and to be in the
            tables.
        box: which points the boxes give.

    Raises:
        ValueError: no seed, or a number below 1.
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    random_seeds: tuple[int, ...] = (0, 1, 2)
    points: int = 3000
    frames: int = 3
    least: int = 10
    fit_boxes: int = 10
    box: BoxTask = field(default_factory=BoxTask)

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("name at least one seed: each is a draw of points")
        for name in ("points", "frames", "least", "fit_boxes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")


def run(
    real: Path,
    lidar: Mapping[str, Any],
    backbones: Mapping[str, Path] | None = None,
    settings: Settings | None = None,
) -> dict[str, Any]:
    """Measure the transfer between the data sets that lie in a folder.

    Args:
        real: folder with semantic_kitti/, pandaset/, nuscenes/, argoverse2/, kitti_object/, some or all.
        lidar: config of the random networks where no backbone is given; else they are built as those are.
        backbones: name to `backbone.safetensors`.

    Returns:
        `points` and `boxes`: by direction its lines, each with one number for each draw (`transfer.table`
        makes them Markdown); `left_out`: what is not there and why; `settings`, `networks`, `environment`.

    Raises:
        DataError: a backbone or a data set that is there cannot be read; no two data sets are there.
        ValueError: a backbone is named as a reference.
    """
    settings = settings or Settings()
    networks = _networks(lidar, backbones or {}, settings.random_seeds)
    with TemporaryDirectory() as work:
        frames, left_out = _open(real, Path(work), settings.frames)
        points = _by_labels(frames, networks, settings)
        boxes = _by_boxes(frames, networks, settings)
    if not points and not boxes:
        folders = ", ".join(f"{folder}/" for folder in dict.fromkeys(one.folder for one in SOURCES.values()))
        fail("no two data sets are there", real, f"name the folder that holds two or more of {folders}")
    return {
        "points": points,
        "boxes": boxes,
        "left_out": left_out,
        "settings": asdict(settings),
        "networks": {
            "lidar": dict(lidar),
            "backbones": {name: str(path) for name, path in (backbones or {}).items()},
        },
        "environment": environment(),
    }


def _networks(
    lidar: Mapping[str, Any], backbones: Mapping[str, Path], seeds: Sequence[int]
) -> list[tuple[str, Backbone]]:
    """The given ones, after random ones of the same make."""
    taken = {COORDINATES, RAW, HAND_MADE, WITHOUT_INTENSITY, RANDOM}
    if wrong := sorted(taken & set(backbones)):
        raise ValueError(f"a backbone is named {wrong[0]!r} as a reference is: give it another name")
    given = {name: Backbone.of(path) for name, path in backbones.items()}
    alike: dict[str, list[str]] = defaultdict(list)
    for name, backbone in given.items():
        alike[json.dumps(dict(backbone.config), sort_keys=True)].append(name)
    random: list[tuple[str, Backbone]] = []
    for names in alike.values():
        line = RANDOM if len(alike) == 1 else f"{RANDOM} like {', '.join(names)}"
        random += [(line, given[names[0]].random(seed)) for seed in seeds]
    if not given:
        like = Backbone(build_lidar_encoder(lidar), lidar, FrameConfig())
        random = [(RANDOM, like.random(seed)) for seed in seeds]
    return [*random, *given.items()]


def _open(real: Path, work: Path, most: int) -> tuple[dict[str, Frames], dict[str, str]]:
    frames, left_out = {}, {}
    for name, source in SOURCES.items():
        if (real / source.folder).is_dir():
            frames[name] = open_frames(name, real, work, most)
        else:
            left_out[source.title] = f"no folder {source.folder}/"
    return frames, left_out


def _by_labels(frames: Mapping[str, Frames], networks: Networks, settings: Settings) -> list[dict]:
    """Common classes, from one data set to the other and back, and within a drive."""
    kitti = frames.get("semantic_kitti")
    sides = {key: part for key, part in frames.items() if _has_labels(part)}
    pairs = []
    for key in ("pandaset", "pandaset_both"):
        if "semantic_kitti" in sides and key in sides:
            pairs += [("semantic_kitti", key, ""), (key, "semantic_kitti", "")]
    if kitti is not None and len(kitti.tokens) > 1:
        sides["first"] = kitti.part("SemanticKITTI, first scan", kitti.tokens[:1])
        sides["next"] = kitti.part("SemanticKITTI, the scans after it", kitti.tokens[1:])
        pairs.append(("first", "next", WITHIN_A_DRIVE))
    encoded: dict[str, Encoded] = {}
    for key in dict.fromkeys(key for pair in pairs for key in pair[:2]):
        encoded[key] = _encoded(_labelled_draws(sides[key], settings), networks)
    return [_labels_direction(encoded[a], encoded[b], note, sides[a], settings) for a, b, note in pairs]


def _has_labels(frames: Frames) -> bool:
    first = frames.index[frames.index.row_of(frames.tokens[0])]
    return first.lidarseg_path is not None and bool(frames.classes.classes)


def _labelled_draws(frames: Frames, settings: Settings) -> Draws:
    of_each = -(-settings.points // len(frames.tokens))
    draws = [
        draw_points(frames.index, frames.tokens, points_per_sweep=of_each, seed=seed)
        for seed in settings.seeds
    ]
    return Draws.of(frames.title, draws)


def _encoded(draws: Draws, networks: Networks) -> Encoded:
    print(f"{draws.title}: features of {len(draws.data)} points", file=sys.stderr)
    return draws, list(feature_sets(draws.data, networks))


def _labels_direction(
    train: Encoded,
    val: Encoded,
    note: str,
    frames: Frames,
    settings: Settings,
) -> dict[str, Any]:
    names = frames.classes.classes
    labels = [[side[0].labels(draw) for draw in range(len(settings.seeds))] for side in (train, val)]
    shared, why = shared_classes(labels[0], labels[1], len(names), settings.least)
    if not shared:
        fail(
            f"no class has {settings.least} points in every draw",
            f"{train[0].title} to {val[0].title}",
            "draw more points",
        )

    def score(a: Part, b: Part) -> dict[str, float]:
        return segmentation_scores(a, b, shared, len(names))

    return {
        "train": train[0].title,
        "val": val[0].title,
        "note": note,
        "classes": [names[label] for label in shared],
        "left_out_of_the_mean": {names[label]: reason for label, reason in why.items()},
        "out_of_range": _out_of_range(train, val),
        "lines": _lines(train, val, score),
    }


def _by_boxes(frames: Mapping[str, Frames], networks: Networks, settings: Settings) -> list[dict]:
    """Points in boxes against points beside them, between all data sets that have boxes."""
    encoded, boxes = {}, {}
    there = [name for name in BOX_DATA if name in frames]
    for name in there if len(there) > 1 else ():
        draws, boxes[name] = _box_draws(frames[name], settings)
        encoded[name] = _encoded(draws, networks)
    rows = []
    for train in encoded:
        for val in encoded:
            if train == val or boxes[train] < settings.fit_boxes:
                continue
            rows.append(
                {
                    "train": frames[train].title,
                    "val": frames[val].title,
                    "boxes": {"train": boxes[train], "val": boxes[val]},
                    "in_mean": boxes[val] >= settings.fit_boxes,
                    "out_of_range": _out_of_range(encoded[train], encoded[val]),
                    "lines": _lines(encoded[train], encoded[val], box_scores),
                }
            )
    return rows


def _box_draws(frames: Frames, settings: Settings) -> tuple[Draws, int]:
    """Draws of the points that boxes give, and how many boxes have some."""
    index = frames.index
    found = [box_points(index[index.row_of(token)], frames.classes, settings.box) for token in frames.tokens]
    draws = []
    for seed in settings.seeds:
        rows = [
            points.draw(settings.box.per_box, np.random.default_rng([seed, at]))
            for at, points in enumerate(found)
        ]
        labels = np.concatenate([points.labels[of] for points, of in zip(found, rows, strict=True)])
        draws.append(ProbeData(index, frames.tokens, tuple(rows), labels, KINDS))
    count = sum(len(np.unique(points.box[points.box >= 0])) for points in found)
    return Draws.of(frames.title, draws), count


def _out_of_range(train: Encoded, val: Encoded) -> dict[str, float]:
    """Largest share of the points that a network does not see, for which its features are zeros."""
    unseen = [(one.name, 1.0 - one.seen) for _, sets in (train, val) for one in sets if one.seen < 1]
    return {name: max(share for other, share in unseen if other == name) for name, _ in unseen}


def _lines(
    train: Encoded, val: Encoded, score: Callable[[Part, Part], dict[str, float]]
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Line of the table, scale of the features and score to a number for each draw (and random network)."""
    lines: dict[str, Any] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for fitted, scored in zip(train[1], val[1], strict=True):
        for draw in range(len(train[0].positions)):
            at, to = train[0].positions[draw], val[0].positions[draw]
            for scale in SCALES:
                x, y = scaled(fitted.features[at], scored.features[to], scale)
                found = score((x, train[0].labels(draw)), (y, val[0].labels(draw)))
                for name, value in found.items():
                    lines[fitted.name][scale][name].append(value)
    return {name: {scale: dict(found) for scale, found in of.items()} for name, of in lines.items()}
