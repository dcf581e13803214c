"""Submissions that the tests of detection score: the truth, parts of it, and a spoiled truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.index import SweepIndex
from pc3d.evaluation.detection import DetectionWriter, evaluate_detection
from pc3d.evaluation.detection_frames import true_detections

VERSION, SPLIT = "v1.0-sim", "sim_val"


def submit(index: SweepIndex, folder: Path, keep: Any = lambda frame: slice(None)) -> dict[str, Any]:
    """Score the truth, or the part of it that `keep` chooses in each frame."""
    writer = DetectionWriter(folder, SPLIT)
    rng = np.random.default_rng(0)  # scores that differ: the devkit takes errors at single confidences
    for frame in true_detections(index, SPLIT):
        rows = np.arange(len(frame.labels))[keep(frame)]
        names = [frame.attributes[row] for row in rows]
        boxes, labels = frame.boxes[rows], frame.labels[rows]
        writer.add(frame.sample_token, boxes, rng.random(len(rows)), labels, frame.world_SE3_lidar, names)
    return evaluate_detection(index.root, VERSION, SPLIT, writer.close(), folder)


def perturbed(index: SweepIndex, seed: int = 0) -> list[tuple[str, Any, Any, Any]]:
    """The truth moved by up to metres, some of it lost, some of the wrong class, some out of thin air."""
    rng = np.random.default_rng(seed)
    frames = []
    for frame in true_detections(index, SPLIT):
        boxes, labels = frame.boxes.copy(), frame.labels.copy()
        boxes[:, :2] += rng.normal(scale=rng.choice([0.2, 1.5], size=(len(boxes), 1)), size=(len(boxes), 2))
        ghosts = boxes[rng.random(len(boxes)) < 0.3].copy()
        ghosts[:, :2] += rng.uniform(-15, 15, (len(ghosts), 2))
        lost = rng.random(len(boxes)) < 0.2
        labels[rng.random(len(labels)) < 0.1] = 0
        boxes, labels = boxes[~lost], labels[~lost]
        scores = np.concatenate([rng.uniform(0.2, 1.0, len(boxes)), rng.uniform(0.0, 0.5, len(ghosts))])
        boxes = np.vstack([boxes, ghosts])
        labels = np.concatenate([labels, rng.integers(0, 10, len(ghosts))])
        frames.append((frame.token, boxes, scores, labels))
    return frames
