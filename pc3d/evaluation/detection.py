"""3D detection as nuScenes scores it: write a submission, run the official evaluator.

NDS and mAP (Caesar et al., nuScenes, CVPR 2020, eq. 2 and 3) by nuscenes-devkit 1.2.0 with its
configuration `detection_cvpr_2019`. All ten classes count: one that does not occur has AP 0 and errors 1.
The devkit leaves out true boxes without points, and all boxes beyond the range of their class or in a
bicycle rack, so a submission need not be filtered.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pc3d.data.errors import DataError, fail
from pc3d.data.index import SweepIndex
from pc3d.data.label_maps import NUSCENES_DETECTION_CLASSES
from pc3d.evaluation.detection_analysis import analyse, official_config
from pc3d.evaluation.detection_submission import MAX_BOXES, DetectionWriter, out_of_range_entry
from pc3d.evaluation.label_efficiency import json_values
from pc3d.evaluation.official import check_truth, official_version, open_devkit, refused, split_samples
from pc3d.evaluation.own.scored_classes import OFFICIAL
from pc3d.evaluation.settings import write_metrics
from pc3d.storage.whole import read_json

if TYPE_CHECKING:
    from nuscenes import NuScenes
    from nuscenes.eval.detection.evaluate import DetectionEval

__all__ = ["DetectionWriter", "evaluate_detection", "evaluate_predictions", "official_evaluator"]

_ERRORS = {
    "trans_err": "mATE",
    "scale_err": "mASE",
    "orient_err": "mAOE",
    "vel_err": "mAVE",
    "attr_err": "mAAE",
}


def official_evaluator(nusc: NuScenes, split: str, results: Path | str, out: Path | str) -> DetectionEval:
    """The devkit's evaluator with the boxes of a submission loaded and filtered.

    Raises:
        DataError: the submission cannot be read, misses samples of the split or holds others, a sample has
            more than 500 boxes, an entry is malformed, or the split has no true box.
    """
    from nuscenes.eval.detection.evaluate import DetectionEval

    results, out = Path(results), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    samples = split_samples(nusc, split)
    content = _read_submission(results)
    _check_samples(content["results"], samples, split, results)
    check_truth(nusc, split, samples)
    path = results
    if not any(content["results"].values()):
        # The devkit raises on a submission without any box. One that is out of every range is filtered
        # before anything is counted.
        content["results"][samples[0]] = [out_of_range_entry(samples[0])]
        path = out / "empty_submission.json"
        path.write_text(json.dumps(content))
    try:
        return DetectionEval(nusc, official_config(), str(path), split, str(out), verbose=False)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        refused(error, results, "write the submission with DetectionWriter, for a split of this version")
    finally:
        if path != results:
            path.unlink()
        with contextlib.suppress(OSError):
            (out / "plots").rmdir()  # the devkit makes it for plots that are not drawn


def _read_submission(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"submission cannot be read: {error}\n  where: {path}\n  remedy: write it with DetectionWriter"
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict) or "meta" not in content:
        fail("submission has no `meta` and `results`", path, "write it with DetectionWriter")
    return content


def _check_samples(found: dict[str, list[Any]], samples: list[str], split: str, path: Path) -> None:
    missing, strange = [token for token in samples if token not in found], set(found) - set(samples)
    if missing:
        fail(
            f"no result for {len(missing)} of {len(samples)} samples of split {split!r}, e.g. {missing[0]}",
            path,
            "predict the whole split; a sample without a detection has an empty list",
        )
    if strange:
        what = f"{len(strange)} samples are not in split {split!r}, e.g. {min(strange)}"
        fail(what, path, "write one submission for each split")
    most = max(found, key=lambda token: len(found[token]))
    if len(found[most]) > MAX_BOXES:
        what = f"{len(found[most])} boxes in sample {most}, at most {MAX_BOXES} are allowed"
        fail(what, path, "keep the best")


def evaluate_detection(
    root: Path | str, version: str, split: str, results_path: Path | str, out: Path | str
) -> dict[str, Any]:
    """Score a submission with the official nuScenes detection evaluator.

    Args:
        root: data set root. version: e.g. `v1.0-trainval`.
        split: official (`val`, `mini_val`) or custom (`splits.json` in the version folder).
        results_path: the submission, as `DetectionWriter` makes it.
        out: folder; gets `metrics_summary.json` and `metrics_details.json` (the curves of precision,
            confidence and errors over recall) as the devkit writes them, and `analysis.json`, see
            `detection_analysis.analyse`.

    Returns:
        `nds`, `map`, `mATE`, `mASE`, `mAOE`, `mAVE`, `mAAE`; `ap`: class to AP at each distance ("0.5" to
        "4.0" m); `class_ap`: class to their mean; `class_errors`: class to its five errors, NaN where the
        class has none; `true_boxes`: class to the number of true boxes that count.

    Raises:
        DataError: no such version or split, or the submission does not fit it.
    """
    root, out = Path(root), Path(out)
    if not (root / version / "sample_annotation.json").is_file():
        fail("no sample_annotation.json", root / version, "check root and version")
    nusc = open_devkit(root, version)
    evaluator = official_evaluator(nusc, split, results_path, out)
    metrics, curves = evaluator.evaluate()
    summary = {**metrics.serialize(), "meta": evaluator.meta}
    (out / "metrics_summary.json").write_text(json.dumps(summary, indent=2))
    (out / "metrics_details.json").write_text(json.dumps(curves.serialize()))
    analysis = analyse(evaluator.gt_boxes, evaluator.pred_boxes)
    (out / "analysis.json").write_text(json.dumps(json_values(analysis)))
    ap, errors = summary["label_aps"], summary["label_tp_errors"]
    true_names = [box.detection_name for box in evaluator.gt_boxes.all]
    names = NUSCENES_DETECTION_CLASSES
    return {
        "nds": float(metrics.nd_score),
        "map": float(metrics.mean_ap),
        **{short: float(summary["tp_errors"][name]) for name, short in _ERRORS.items()},
        "ap": {name: {str(distance): float(value) for distance, value in ap[name].items()} for name in names},
        "class_ap": {name: float(summary["mean_dist_aps"][name]) for name in names},
        "class_errors": {
            name: {short[1:]: float(errors[name][error]) for error, short in _ERRORS.items()}
            for name in names
        },
        "true_boxes": {name: true_names.count(name) for name in names},
    }


def evaluate_predictions(
    index: SweepIndex,
    split: str,
    folder: Path | str,
    predictions: Iterable[tuple[str, Any, Any, Any]],
    settings: Mapping[str, Any] | None = None,
    **writer: Any,
) -> dict[str, Any]:
    """Write predictions of a split as a submission and score it.

    Args:
        index: of a nuScenes-format data set.
        folder: gets `results_nusc.json`, `metrics.json` and what `evaluate_detection` writes;
            `viz.detections.draw_detections` makes the pictures of it.
        predictions: (sweep token, boxes (N, 9) in its LiDAR frame, scores (N,), labels (N,)) of every key
            frame.
        settings: what `metrics.json` says of how it was made.
        writer: options of `DetectionWriter`, e.g. `use_camera`.

    Returns:
        What `evaluate_detection` returns, `evaluator` and `frames`.

    Raises:
        DataError: the index is not of a nuScenes-format data set, or a key frame is missing.
    """
    version = official_version(index)
    frames = 0
    with DetectionWriter(folder, split, **writer) as submission:
        for token, boxes, scores, labels in predictions:
            sweep = index[index.row_of(token)]
            pose = sweep.world_SE3_ego @ sweep.ego_SE3_lidar
            submission.add(sweep.sample_token, boxes, scores, labels, pose)
            frames += 1
    result = evaluate_detection(index.root, version, split, submission.path, folder)
    result |= {"evaluator": OFFICIAL, "frames": frames}
    write_metrics(folder, result, settings)
    return result
