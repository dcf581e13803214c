"""The table of what regions find: range of the boxes, and that perfect regions find all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pc3d.data.index import SweepIndex
from pc3d.evaluation import region_recall
from pc3d.evaluation.region_recall import RANGE, scores, table, to_markdown
from pc3d.geometry.boxes import points_in_boxes
from pc3d.regions.key_frame import key_frames
from pc3d.regions.statistics import count_regions


def test_boxes_themselves_are_all_found_and_nothing_finds_none(tiny_index: Path, monkeypatch) -> None:
    index = SweepIndex.open(tiny_index)
    (frame,) = key_frames(index, index.key_rows(None)[:1])
    boxes = frame.now.boxes
    assert boxes is not None
    inside = points_in_boxes(frame.points, boxes.centers, boxes.sizes, boxes.yaws)
    ids = np.where(inside.any(axis=0), inside.argmax(axis=0), -1)
    enough = np.bincount(ids[ids >= 0], minlength=len(boxes)) >= 5
    near = (np.abs(boxes.centers[:, :2]) <= RANGE).all(axis=1)
    total = count_regions(ids, frame.points, boxes, within=RANGE)
    assert scores(total)["boxes"] == (enough & near).sum() > 0
    assert scores(total)["recall"] == 1
    assert count_regions(ids, frame.points, boxes, within=1e-3).boxes == 0
    cuts = {"all": lambda points, height: ids, "none": lambda points, height: np.full(len(points), -1)}
    monkeypatch.setattr(region_recall, "CUTS", cuts)
    found = table([frame])
    assert (found["all"]["recall"], found["none"]["recall"]) == (1, 0)
    assert found["all"]["purity against boxes"] == 1
    assert f"| all | {total.boxes} of {total.boxes} | 1.000 |" in to_markdown({"drive": found})
