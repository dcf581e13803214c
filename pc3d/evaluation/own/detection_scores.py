"""Scores of boxes of any classes: by the distance of centres and by overlap."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pc3d.evaluation.own.box_frame import BoxFrame, of_class
from pc3d.evaluation.own.box_iou import Overlap, overlap_curve
from pc3d.evaluation.own.centre_distance import (
    DISTANCES,
    ERROR_DISTANCE,
    average_precision,
    distance_curve,
    mean_errors,
)
from pc3d.evaluation.own.scored_classes import VEHICLES, words_of

_IOU_VEHICLE, _IOU_OTHER = 0.7, 0.5
_OVERLAPS: tuple[Overlap, ...] = ("3d", "bev")
_SHORT = {"translation": "ATE", "scale": "ASE", "orientation": "AOE", "velocity": "AVE"}


def default_iou(name: str) -> float:
    """IoU above which a box of a class is right: 0.7 where a word of its name is a vehicle's, else 0.5.

    `car`, `vehicle.bus.rigid`, `LARGE_VEHICLE` and `boxTruck` are vehicles, `bicycle` is none.
    """
    return _IOU_VEHICLE if VEHICLES & words_of(name) else _IOU_OTHER


@dataclass(frozen=True)
class DetectionScoring:
    """How boxes are scored.

    Attributes:
        max_distance: metres from the vehicle, seen from above; boxes beyond, true and found, do not count.
        distances: metres up to which centres match, of the mean AP.
        iou: class to the IoU that makes a box right; of the others `default_iou`.
        half_turn: classes whose front and back are not told apart.
    """

    max_distance: float = 50.0
    distances: tuple[float, ...] = DISTANCES
    iou: Mapping[str, float] = field(default_factory=dict)
    half_turn: tuple[str, ...] = ("barrier",)

    def __post_init__(self) -> None:
        if not self.max_distance > 0:
            raise ValueError(f"max_distance is {self.max_distance}, expected metres above 0")
        if not self.distances or not all(0 < distance < math.inf for distance in self.distances):
            raise ValueError(f"distances are {self.distances}, expected metres above 0")
        for name, iou in self.iou.items():
            if not 0 < iou < 1:
                raise ValueError(f"the IoU of {name!r} is {iou}, expected a share between 0 and 1")

    def describe(self, classes: Sequence[str]) -> dict[str, Any]:
        """Plain values, with the IoU of each class.

        Raises:
            ValueError: a setting names a class that is none.
        """
        unknown = sorted(set(self.iou) - set(classes))
        if unknown:
            raise ValueError(f"an IoU is given for {unknown[0]!r}, which is none of {', '.join(classes)}")
        iou = {name: self.iou.get(name, default_iou(name)) for name in classes}
        half_turn = [name for name in self.half_turn if name in classes]
        return {**asdict(self), "distances": list(self.distances), "iou": iou, "half_turn": half_turn}


def score_detections(
    frames: Iterable[BoxFrame], classes: Sequence[str], scoring: DetectionScoring | None = None
) -> dict[str, Any]:
    """Score the boxes of a split.

    Args:
        frames: about the vehicle, which stands at the origin. classes: names; class k is label k.
        scoring: None takes the defaults.

    Returns:
        `map`: mean AP by centre distance over the distances and the classes with a true box; `map_all`: over
            all classes, the others as 0, as nuScenes has it.
        `ap`: class to AP at each distance ("0.5" to "4.0" m); `class_ap`: class to their mean.
        `mATE`, `mASE`, `mAOE`, `mAVE`, and `class_errors`: class to its errors at 2 m (metres, 1 - IoU,
            radians, m/s); velocity is NaN where no true box has one.
        `map_3d`, `map_bev`, `class_ap_3d`, `class_ap_bev`: AP by overlap at 40 recalls.
        `class_recall_3d`: share of the true boxes that any detection overlaps enough.
        `true_boxes`: class to the number of those that count. `scoring`: how it was scored.
        All of a class without a true box is NaN, and left out of the means.
    """
    scoring = scoring or DetectionScoring()
    settings = scoring.describe(classes)
    near = [frame.within(scoring.max_distance) for frame in frames]
    rows = {name: _class_scores(near, label, name, settings) for label, name in enumerate(classes)}
    true = {name: row["true"] for name, row in rows.items()}
    by_class = {key: {name: row[key] for name, row in rows.items()} for key in next(iter(rows.values()))}
    errors = {name: by_class["errors"][name] for name in classes}
    return {
        "map": _mean(by_class["class_ap"].values()),
        "map_all": float(np.mean([ap if true[name] else 0.0 for name, ap in by_class["class_ap"].items()])),
        "map_3d": _mean(by_class["class_ap_3d"].values()),
        "map_bev": _mean(by_class["class_ap_bev"].values()),
        **{f"m{short}": _mean(row[short] for row in errors.values()) for short in _SHORT.values()},
        "ap": by_class["ap"],
        "class_ap": by_class["class_ap"],
        "class_errors": errors,
        "class_ap_3d": by_class["class_ap_3d"],
        "class_ap_bev": by_class["class_ap_bev"],
        "class_recall_3d": by_class["class_recall_3d"],
        "true_boxes": true,
        "scoring": settings,
    }


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _class_scores(
    frames: Sequence[BoxFrame], label: int, name: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    own = of_class(frames, label)
    period = math.pi if name in settings["half_turn"] else 2 * math.pi
    true = sum(int((~frame.ignored).sum()) for frame in own)
    curves = {at: distance_curve(own, at, period) for at in settings["distances"]}
    ap = {str(at): average_precision(curve) if true else math.nan for at, curve in curves.items()}
    overlap = {kind: overlap_curve(own, settings["iou"][name], kind) for kind in _OVERLAPS}
    at_errors = curves.get(ERROR_DISTANCE) or distance_curve(own, ERROR_DISTANCE, period)
    errors = mean_errors(at_errors) if true else dict.fromkeys(_SHORT, math.nan)
    if not any(np.isfinite(frame.truth[~frame.ignored, 7:]).all(axis=1).any() for frame in own):
        errors["velocity"] = math.nan
    return {
        "true": true,
        "ap": ap,
        "class_ap": float(np.mean(list(ap.values()))),
        "errors": {_SHORT[error]: value for error, value in errors.items()},
        **{f"class_ap_{kind}": curve.average_precision for kind, curve in overlap.items()},
        "class_recall_3d": overlap["3d"].recall,
    }
