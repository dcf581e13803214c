"""The result of `bench_transfer.run` as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pc3d.evaluation.protocol.references import HAND_MADE
from pc3d.evaluation.transfer.features import COORDINATES

CAUTION = (
    "Mean and sample deviation are over draws of points (and, of random networks, over their seeds), not "
    "over scenes: each data set is one to three scans of one or two places. Nothing is claimed from one scan."
)
_ABOUT_POINTS = (
    "mIoU in percent over the classes that both have; points of other classes count as false positives. "
    "Columns: features standardised by the part that is fitted on, what that is above hand-made (paired by "
    "draw), and features of each part standardised by itself."
)
_PROBES = {"logistic": "logistic", "knn": "kNN"}
_SCALES = ("train", "each")
_BOX_SCORES = {
    "ap": "An object or none, average precision of the logistic probe (chance: the share of objects, 50)",
    "knn": "An object or none, balanced accuracy of the kNN probe (chance: 50)",
    "kinds": "Points in boxes: vehicle or pedestrian, balanced accuracy of the logistic probe (chance: 50)",
}


def to_markdown(result: Mapping[str, Any]) -> str:
    """Tables of a result, with what the numbers are and what they are not."""
    settings, made = result["settings"], result["environment"]
    about = (
        f"{len(settings['seeds'])} draws of {settings['points']} points of each data set; "
        f"{len(settings['random_seeds'])} random networks. *Re-estimated*: batch-norm statistics of the data "
        "set that is looked at, which needs no label. "
        f"Made {made['started'][:10]} on {made['machine']}, {made['threads']} thread(s)."
    )
    parts = ["# Transfer to real data", CAUTION, about]
    if result["points"]:
        parts += ["## Classes of points", _ABOUT_POINTS]
    for direction in result["points"]:
        parts += _direction(direction)
    if result["boxes"]:
        parts += ["## Points in boxes against points beside them", _about_boxes(result)]
        parts += [part for key in _BOX_SCORES for part in _box_table(result["boxes"], key)]
    if result["left_out"]:
        absent = "; ".join(f"{name} ({why})" for name, why in result["left_out"].items())
        parts += [f"Not there: {absent}."]
    return "\n\n".join(parts) + "\n"


def _about_boxes(result: Mapping[str, Any]) -> str:
    box, least = result["settings"]["box"], result["settings"]["fit_boxes"]
    counts = {one[side]: one["boxes"][side] for one in result["boxes"] for side in ("train", "val")}
    boxes = ", ".join(f"{name} {count}" for name, count in counts.items())
    ground = "with the ground" if box["ground"] else "without the ground"
    return (
        f"Up to {box['per_box']} points of each box, and as many within {box['reach']:g} m of one, {ground}; "
        f"what is outside of all boxes but within {box['margin']:g} m of one is left out. Percent. Boxes "
        f"with such points: {boxes}; with fewer than {least} a data set is in no table."
    )


def _direction(direction: Mapping[str, Any]) -> list[str]:
    title = f"### {direction['train']} to {direction['val']}"
    about = f"Classes: {', '.join(direction['classes'])}."
    if direction["left_out_of_the_mean"]:
        why = "; ".join(f"{name}: {reason}" for name, reason in direction["left_out_of_the_mean"].items())
        about += f" Left out of the mean: {why}."
    if unseen := {name: share for name, share in direction["out_of_range"].items() if "beside" not in name}:
        shares = "; ".join(f"{name} {100 * share:.0f} %" for name, share in unseen.items())
        about += f" Out of range, with zeros for features: {shares} of the points."
    lines, names = direction["lines"], _PROBES.values()
    endings = ("", ", above hand-made", ", each by itself")
    head = ["features", *(name + ending for ending in endings for name in names)]
    rows = [
        [
            name,
            *(_cell(line["train"][probe]) for probe in _PROBES),
            *(_above(line["train"][probe], lines[HAND_MADE]["train"][probe]) for probe in _PROBES),
            *(_cell(line["each"][probe]) for probe in _PROBES),
        ]
        for name, line in lines.items()
    ]
    note = [f"**{direction['note']} {_best(lines[COORDINATES]):.0f}.**"] if direction["note"] else []
    return [title, *note, about, _table(head, rows)]


def _box_table(boxes: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    """One score of all directions that have it, and enough boxes."""
    has_it = (one for one in boxes if all(key in line["train"] for line in one["lines"].values()))
    boxes = [one for one in has_it if one["in_mean"]]
    if not boxes:
        return []
    head = ["features", *(f"{one['train']} to {one['val']}" for one in boxes), "mean", "mean, each by itself"]
    rows = []
    for name in boxes[0]["lines"]:
        cells = [_cell(one["lines"][name]["train"][key]) for one in boxes]
        means = [[statistics.mean(one["lines"][name][scale][key]) for one in boxes] for scale in _SCALES]
        rows.append([name, *cells, *(f"{statistics.mean(of):.1f}" for of in means)])
    return [f"{_BOX_SCORES[key]}:", _table(head, rows)]


def _best(line: Mapping[str, Mapping[str, Sequence[float]]]) -> float:
    return max(statistics.mean(values) for values in line["train"].values())


def _cell(values: Sequence[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


def _above(values: Sequence[float], reference: Sequence[float]) -> str:
    """Mean and deviation of the differences to the reference in the same draw; each random network of a line
    has all draws, one network after the other."""
    differences = [value - reference[at % len(reference)] for at, value in enumerate(values)]
    return (
        ""
        if values is reference
        else f"{'+' if statistics.mean(differences) >= 0 else ''}{_cell(differences)}"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
