"""Point segmentation as nuScenes-lidarseg scores it: write a submission, run the official evaluator.

What the official mean IoU does with rare classes (nuscenes-devkit 1.2.0): points whose true class
is "ignore" do not count at all; a class that neither occurs nor is predicted is NaN and left out
of the mean; a class that does not occur but is predicted somewhere counts as IoU 0. The unions
are rounded to float32, so that its IoUs are exact below 2^24 points of a class.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.label_maps import NUSCENES_LIDARSEG_CLASSES
from pc3d.evaluation.official import lidar_tokens, open_devkit, split_samples, true_labels

if TYPE_CHECKING:
    from nuscenes import NuScenes

_SUBMISSION = {"use_camera": False, "use_lidar": True, "use_radar": False, "use_map": False}


def _prediction_path(folder: Path, split: str, lidar_token: str) -> Path:
    return folder / "lidarseg" / split / f"{lidar_token}_lidarseg.bin"


class LidarsegWriter:
    """Writes predictions in the submission format of the nuScenes-lidarseg challenge.

    Args:
        folder: made if need be; predictions go to `lidarseg/{split}/`, what was used to make
            them to `{split}/submission.json`.
        split: e.g. `val`, or a custom split of the data set.
        use_camera: whether the predictions were made with images.
        use_external: whether data beside nuScenes was used, pretraining included.
    """

    def __init__(
        self, folder: Path | str, split: str, use_camera: bool = False, use_external: bool = False
    ) -> None:
        self.folder, self.split = Path(folder), split
        (self.folder / "lidarseg" / split).mkdir(parents=True, exist_ok=True)
        meta = {**_SUBMISSION, "use_camera": use_camera, "use_external": use_external}
        submission = self.folder / split / "submission.json"
        submission.parent.mkdir(parents=True, exist_ok=True)
        submission.write_text(json.dumps({"meta": meta}), encoding="utf-8")

    def write(self, lidar_token: str, labels: Any) -> Path:
        """Write the labels of one sweep.

        Args:
            lidar_token: token of the LIDAR_TOP sample_data.
            labels: (P,) integers 0..15, a class for every point of the file in its order.

        Raises:
            ValueError: labels are not (P,) or out of range.
        """
        labels = np.asarray(labels)
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"labels of {lidar_token} are {labels.dtype} {labels.shape}, expected integer (P,)"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(NUSCENES_LIDARSEG_CLASSES):
            raise ValueError(
                f"labels of {lidar_token} span {labels.min()}..{labels.max()}, expected 0..15: "
                "every point needs a class"
            )
        path = _prediction_path(self.folder, self.split, lidar_token)
        (labels + 1).astype(np.uint8).tofile(path)
        return path


def _check_predictions(nusc: NuScenes, samples: list[str], split: str, folder: Path) -> None:
    """Raise DataError unless there is one prediction in 1..16 for each labelled point."""
    tokens = lidar_tokens(nusc, samples)
    paths = [_prediction_path(folder, split, token) for token in tokens]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        what = f"no prediction for {len(missing)} of the {len(paths)} sweeps of split {split!r}"
        fail(what, f"{missing[0]}, ...", "predict the whole split")
    for truth, path in zip(true_labels(nusc, tokens), paths, strict=True):
        labels, points = np.fromfile(path, dtype=np.uint8), truth.stat().st_size
        if len(labels) != points or not points:
            fail(f"{len(labels)} predictions for {points} points", path, "predict every point of the sweep")
        if not 1 <= labels.min() <= labels.max() <= len(NUSCENES_LIDARSEG_CLASSES):
            fail(f"predictions span {labels.min()}..{labels.max()}", path, "write classes 1..16 (label + 1)")


def _official_evaluator(nusc: NuScenes, split: str, folder: Path) -> Any:
    """The official evaluator with its split look-up widened to custom splits.

    Its constructor resolves the split and knows official names only, so this subclass sets up the
    same attributes itself; mapping, counting and metrics are the official code.
    """
    from nuscenes.eval.lidarseg.evaluate import LidarSegEval
    from nuscenes.eval.lidarseg.utils import ConfusionMatrix, LidarsegClassMapper

    class AnySplitLidarSegEval(LidarSegEval):
        def __init__(self) -> None:
            self.nusc = nusc
            self.results_folder = str(folder)
            self.eval_set = split
            self.verbose = False
            self.mapper = LidarsegClassMapper(nusc)
            self.ignore_idx = self.mapper.ignore_class["index"]
            names = self.mapper.coarse_name_2_coarse_idx_mapping
            self.id2name = {index: name for name, index in names.items()}
            self.num_classes = len(names)
            self.global_cm = ConfusionMatrix(self.num_classes, self.ignore_idx)
            self.sample_tokens = split_samples(nusc, split)

    return AnySplitLidarSegEval()


def evaluate_lidarseg(
    nuscenes_root: Path | str, version: str, split: str, results_folder: Path | str
) -> dict[str, Any]:
    """Score a submission folder with the official nuScenes-lidarseg evaluator.

    Args:
        nuscenes_root: data set root.
        version: e.g. `v1.0-trainval`.
        split: official (`val`, `mini_val`) or custom (`splits.json` in the version folder).
        results_folder: as `LidarsegWriter` makes it.

    Returns:
        `miou` and `fwiou` (official, see the module's docstring), `miou_truth` (mean over the
        classes that occur), and `iou`: class name to IoU, NaN where it is left out.

    Raises:
        DataError: no such version or split, no labels, or predictions missing or malformed.
    """
    root, folder = Path(nuscenes_root), Path(results_folder)
    if not (root / version / "lidarseg.json").is_file():
        fail("no lidarseg.json", root / version, "check root and version, or add the lidarseg labels")
    nusc = open_devkit(root, version)
    evaluator = _official_evaluator(nusc, split, folder)
    _check_predictions(nusc, evaluator.sample_tokens, split, folder)
    official = evaluator.evaluate()
    iou = {name: float(official["iou_per_class"][name]) for name in NUSCENES_LIDARSEG_CLASSES}
    occurs = evaluator.global_cm.global_cm.sum(axis=1)[1:] > 0
    return {
        "miou": official["miou"],
        "miou_truth": float(np.mean(np.array(list(iou.values()))[occurs])),
        "fwiou": official["freq_weighted_iou"],
        "iou": iou,
    }
