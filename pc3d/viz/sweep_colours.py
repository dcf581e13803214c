"""Colours of a sweep's points by what is known of them: labels, regions, features of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import ClassSet
from pc3d.data.errors import fail
from pc3d.data.labels import load_labels
from pc3d.data.points import load_sweep
from pc3d.data.records import Float32, Sweep
from pc3d.data.region_cache import RegionCache
from pc3d.storage.whole import read_json
from pc3d.viz.class_colours import label_colours
from pc3d.viz.colours import (
    NEUTRAL,
    Rgb,
    categorical_colours,
    height_colours,
    intensity_colours,
    pca_colours,
    similarity_colours,
)

if TYPE_CHECKING:
    from pc3d.data.batch import PointView

OF_COLUMNS = ("ring", "time", "elongation", "return", "lidar")
"""Colourings by further columns of the points."""
COLOURINGS = ("height", "intensity", "label", "prediction", "region", "pca", "similarity", *OF_COLUMNS)


@dataclass(frozen=True)
class ColourOptions:
    """How points are coloured.

    Attributes:
        colour: one of `COLOURINGS`.
        classes: of the data set, for `label`, and for `prediction` by a model that does not say its own.
        checkpoint: a backbone (`pca`, `similarity`) or a segmenter (these and `prediction`).
        regions: folder of region caches; without one, `region` computes the clusters.
        anchor: x, y (m, LiDAR frame): `similarity` compares with the point that is nearest to it.
    """

    colour: str = "height"
    classes: ClassSet | None = None
    checkpoint: Path | None = None
    regions: Path | None = None
    anchor: tuple[float, float] = (10.0, 0.0)


def point_colours(points: Float32, sweep: Sweep, options: ColourOptions) -> Rgb:
    """(P, 3) uint8 colours of a sweep's (P, 4 or more) points.

    Raises:
        DataError: the labels, the regions or the checkpoint are not there.
        ValueError: unknown colouring.
    """
    ground = ground_height(sweep)
    classes = shown_classes(options)
    names = classes.classes if classes else ()
    makers: dict[str, Callable[[], Rgb]] = {
        "height": lambda: height_colours(points[:, 2], ground - 0.5, ground + 6.0),
        "intensity": lambda: intensity_colours(points[:, 3]),
        "label": lambda: label_colours(true_labels(points, sweep, options), names, classes),
        "prediction": lambda: label_colours(predict(points, options), names, classes),
        "region": lambda: categorical_colours(region_ids(points, sweep, options.regions)),
        "pca": lambda: pca_colours(*encode(points, options)),
        "similarity": lambda: _similarity(points, options),
        **{name: partial(_column_colours, sweep, name) for name in OF_COLUMNS},
    }
    if options.colour not in makers:
        raise ValueError(f"no colouring {options.colour!r}; choose one of {', '.join(COLOURINGS)}")
    return makers[options.colour]()


def _column_colours(sweep: Sweep, name: str) -> Rgb:
    """(P, 3) of a further column: of each LiDAR and return a colour, of the others by their values; grey
    where a LiDAR has no such column."""
    values = load_sweep(sweep, (name,))[:, 4]
    known = np.isfinite(values)
    if name in ("lidar", "return"):
        return categorical_colours(np.where(known, values, -1).astype(np.int64))
    if not known.all():
        values = np.where(known, values, np.median(values[known]))
    colours = height_colours(values)
    colours[~known] = NEUTRAL
    return colours


def ground_height(sweep: Sweep) -> float:
    """z of the road in the LiDAR frame; 1.8 m below a sensor whose extrinsics do not tell."""
    height = float(sweep.ego_SE3_lidar[2, 3])
    return -height if height > 0.5 else -1.8


def shown_classes(options: ColourOptions) -> ClassSet | None:
    """The classes whose colours points have: of the data set, or what the model was trained on; or None."""
    if options.colour == "label":
        return options.classes
    if options.colour != "prediction":
        return None
    from pc3d.engine.checkpoints import classes_of_model

    return classes_of_model(_checkpoint(options)) or options.classes


def true_labels(points: Float32, sweep: Sweep, options: ColourOptions) -> NDArray[np.int64]:
    """(P,) class of each point, -1 ignored.

    Raises:
        DataError: the sweep has no labels.
    """
    if sweep.lidarseg_path is None or options.classes is None:
        only = "" if sweep.is_key_frame else " (--key-frames leaves the others of a sequence out)"
        fail(
            "the sweep has no point labels",
            f"sweep {sweep.token}",
            f"choose a labelled key frame{only} or another --colour",
        )
    return load_labels(sweep, len(points), options.classes)


def predict(points: Float32, options: ColourOptions) -> NDArray[np.int64]:
    """(P,) class of each point as a fine-tuned segmenter says.

    Raises:
        DataError: there is no checkpoint, or it is no segmenter.
    """
    import torch

    from pc3d.engine.checkpoints import load_segmenter

    segmenter = load_segmenter(_checkpoint(options))
    with torch.no_grad():
        return segmenter.predict(_view(points, _checkpoint(options))).numpy()


def encode(points: Float32, options: ColourOptions) -> tuple[Float32, NDArray[np.bool_]]:
    """Point features of a pretrained backbone, or of a fine-tuned segmenter's encoder.

    Args:
        points: (P, 4 or more) x y z intensity, one sweep.
    Returns:
        (P, C) float32, L2-normalised, and (P,) bool: False outside the encoder's range.
    Raises:
        DataError: there is no checkpoint, or it does not say how its encoder was built.
    """
    import torch

    from pc3d.engine.checkpoints import load_encoder

    checkpoint = _checkpoint(options)
    with torch.no_grad():
        features = load_encoder(checkpoint)(_view(points, checkpoint), want_bev=False)
        directions = torch.nn.functional.normalize(features.points.float(), dim=1)
    return directions.numpy(), features.valid.numpy()


def _checkpoint(options: ColourOptions) -> Path:
    if options.checkpoint is None:
        fail(
            f"colouring by {options.colour} needs a checkpoint",
            "the options",
            "give --checkpoint RUN/backbone.safetensors (prediction: RUN/segmenter.safetensors)",
        )
    return options.checkpoint


def _view(points: Float32, checkpoint: Path) -> PointView:
    """The points with the input columns of a checkpoint: intensity, and statistics where it has them."""
    import torch

    from pc3d.data.batch import PointView
    from pc3d.data.frame_statistics import rounded_statistics
    from pc3d.data.sweeps import STATISTICS
    from pc3d.engine.checkpoints import frames_of

    columns = np.ascontiguousarray(points[:, :4])
    if STATISTICS in frames_of(checkpoint).features:
        columns = np.hstack([columns, rounded_statistics(columns).astype(np.float32)])
    return PointView(
        points=torch.from_numpy(columns.copy()),
        batch=torch.zeros(len(points), dtype=torch.long),
        row=torch.arange(len(points)),
        lidar_SE3=torch.eye(4)[None],
        size=1,
    )


def _similarity(points: Float32, options: ColourOptions) -> Rgb:
    features, valid = encode(points, options)
    distance = np.hypot(*(points[:, :2] - np.asarray(options.anchor)).T)
    return similarity_colours(features, int(np.where(valid, distance, np.inf).argmin()), valid)


def region_ids(points: Float32, sweep: Sweep, folder: Path | None) -> NDArray[np.integer]:
    """(P,) region ids of the cache, whatever its parameters, or clusters made now."""
    if folder is None:
        from pc3d.regions.lidar_regions import lidar_regions

        return lidar_regions(points, -ground_height(sweep))
    params = [read_json(file) for file in sorted(Path(folder).glob("clusters-*/params.json"))]
    caches = [RegionCache(folder, "clusters", one) for one in params]
    having = [cache for cache in caches if cache.has(sweep.token)]
    if len(having) != 1:
        fail(
            f"{len(having)} of the {len(caches)} cluster caches hold the sweep, expected one",
            f"{folder} (sweep {sweep.token})",
            "make them with `pc3d regions`, or remove those with other parameters",
        )
    regions = having[0].load(sweep.token)
    if len(regions) != len(points):
        fail(
            f"{len(regions)} regions for {len(points)} points",
            having[0].path(sweep.token),
            "make the regions again",
        )
    return regions
