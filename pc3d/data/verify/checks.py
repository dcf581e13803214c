"""What opened files can show, each by a name: how bad it is, what is said, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from pc3d.findings import State

_COPY = "copy them again from the data set"


@dataclass(frozen=True)
class Check:
    """One thing that is looked at.

    Attributes:
        state: of its finding. what: is said after `12 of 40`. remedy: what to do.
        share: of those that were looked at, up to which nothing is said.
    """

    state: State
    what: str
    remedy: str
    share: float = 0.0


CHECKS: dict[str, Check] = {
    "missing files": Check(
        "problem", "are missing or empty", "extract the archives again, or `--root` where the data set moved"
    ),
    "damaged files": Check("problem", "cannot be read", f"{_COPY}; `data.bad_samples` passes over a share"),
    "few points": Check("warning", "have less than half of the points that are usual in their scene", _COPY),
    "points at the origin": Check(
        "warning", "have most of their points in one place at the sensor", "leave points without a return out"
    ),
    "reach": Check(
        "warning",
        "have nearly all points within 2 m of the LiDAR",
        "x y z are in metres: name the factor in the LiDAR format",
    ),
    "rings": Check(
        "warning", "have a column ring that is none", "name the columns in their order in the LiDAR format"
    ),
    "intensity": Check(
        "warning", "have no intensity but one value", "write it, or leave it out of `data.features`"
    ),
    "times of points": Check(
        "warning",
        "have points more than 1 s from the time of their sweep",
        "name the unit of the times in the LiDAR format (seconds; `@` for times of the epoch)",
    ),
    "equal times of points": Check(
        "warning",
        "have one and the same time for all points, though their column is there",
        "write the time of each point, or leave the column out",
    ),
    "upright": Check(
        "problem",
        "have their ground above the LiDAR",
        "compare the mount of the LiDAR: ego_SE3_lidar is from LiDAR to ego, z is up",
        share=0.5,
    ),
    "blank images": Check("warning", "are of one colour", "look for covered or broken cameras"),
    "label content": Check(
        "warning", "hold ignored categories only", "write the id of a category for each point"
    ),
    "labels of one class": Check(
        "warning",
        "give all points of a scan one class",
        "look whether they are labels or a constant, and whether the class file tells their raw ids apart",
    ),
    "labels in boxes": Check(
        "warning",
        "give fewer than 75 % of the points in boxes the class of their box",
        "give each sweep its own label file, a label for each of its points in their order",
    ),
    "boxes beside points": Check(
        "warning",
        "have boxes that hold less than half of the points that the tables say",
        "give each sweep its own boxes, of its own time and in its own frame",
    ),
    "copied files": Check(
        "warning",
        "have the content of another time, though the vehicle moved",
        "copy them again, and look for a sensor that stood still",
    ),
    "copied scenes": Check(
        "warning", "begin with the points of another scene", "leave one of them out: it would count twice"
    ),
}
