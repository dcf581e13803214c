"""Detection scores as pictures: precision over recall, AP of classes and ranges, confusion.

Every function writes one file; the ending of `path` chooses the format (.png, .jpg). The numbers are those
of `evaluation.detection`: AP is official, a class without true boxes is left blank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.viz.canvas import BACKGROUND, FAINT, INK, pixel_figure
from pc3d.viz.class_colours import class_colours

_PANEL, _GRID = "#111621", "#232a38"
_RANGE_COLOURS = ("#4cc9f0", "#f9c74f", "#f3722c")
_MATCH = "2.0"  # metres, the key of the bright curve


def _style(axis: Any) -> None:
    axis.set_facecolor(_PANEL)
    axis.tick_params(colors=FAINT, labelsize=9, length=0)
    axis.grid(color=_GRID, lw=0.8)
    axis.set_axisbelow(True)
    axis.spines[:].set_visible(False)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _title(figure: Any, text: str, height: int) -> None:
    figure.text(0.012, 1 - 24 / height, text, color=INK, fontsize=14, va="center", weight="bold")


def _ink_legend(axis: Any, **options: Any) -> None:
    options = {"fontsize": 9, "labelcolor": INK, "facecolor": BACKGROUND, "edgecolor": "none"} | options
    axis.legend(**options)


def precision_recall(
    curves: Mapping[str, Any], scores: Mapping[str, Any], path: Path | str, width: int = 1500
) -> None:
    """Precision over recall, a panel for each class: bright at 2 m, faint at the other distances.

    Args:
        curves: `metrics_details.json`. scores: what `evaluate_detection` returns.
    """
    names = list(scores["class_ap"])
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    height = 90 + 295 * rows
    distances = list(next(iter(scores["ap"].values())))
    with pixel_figure(width, height, path) as figure:
        _title(figure, "Precision over recall; a detection is right within 2 m (faint: 0.5, 1, 4 m)", height)
        top, bottom = 1 - 75 / height, 51 / height
        grid = figure.add_gridspec(
            rows, columns, left=0.04, right=0.99, top=top, bottom=bottom, wspace=0.16, hspace=0.34
        )
        for i, (name, colour) in enumerate(zip(names, class_colours(names) / 255.0, strict=True)):
            axis = figure.add_subplot(grid[i // columns, i % columns])
            _style(axis)
            axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
            there = scores["true_boxes"][name] > 0
            note = f"AP {100 * scores['ap'][name][_MATCH]:.1f} %" if there else "no true box"
            axis.set_title(f"{_words(name)}: {note}", color=INK, fontsize=10.5, loc="left")
            for distance in distances if there else ():
                curve = curves[f"{name}:{distance}"]
                bright = distance == _MATCH
                style = {"lw": 2.2, "zorder": 3} if bright else {"lw": 1.0, "alpha": 0.45}
                reached = int(np.count_nonzero(np.cumsum(curve["precision"][::-1]))) + 1
                axis.plot(curve["recall"][:reached], curve["precision"][:reached], color=colour, **style)
            if i + columns >= len(names):
                axis.set_xlabel("recall", color=FAINT, fontsize=9)
            if i % columns == 0:
                axis.set_ylabel("precision", color=FAINT, fontsize=9)


def class_ap_bars(scores: Mapping[str, Any], path: Path | str, width: int = 1100) -> None:
    """AP of each class: the bar is the mean over the four distances, which the dots are."""
    names = list(scores["class_ap"])
    height, rows = 110 + 45 * len(names), np.arange(len(names))
    with pixel_figure(width, height, path) as figure:
        head = f"AP of each class: mAP {100 * scores['map']:.1f} %, NDS {100 * scores['nds']:.1f} %"
        _title(figure, head, height)
        axis = figure.add_axes((0.18, 56 / height, 0.79, 1 - 112 / height))
        _style(axis)
        axis.grid(axis="y", visible=False)
        means = [100 * scores["class_ap"][name] for name in names]
        axis.barh(rows, means, color=class_colours(names) / 255.0, height=0.62, zorder=2)
        for row, (name, mean) in enumerate(zip(names, means, strict=True)):
            there = scores["true_boxes"][name]
            values = [100 * value for value in scores["ap"][name].values()]
            axis.scatter(
                values if there else [],
                [row] * len(values if there else []),
                s=20,
                c=INK,
                ec=BACKGROUND,
                zorder=3,
            )
            label = f"{mean:.1f}   ({there} boxes)" if there else "no true box"
            axis.text(max([mean, *values]) + 1.5, row, label, color=INK, fontsize=9.5, va="center")
        axis.set_yticks(rows, [_words(name) for name in names], color=INK, fontsize=10)
        axis.set(xlim=(0, 122), ylim=(len(names) - 0.5, -0.5), xticks=range(0, 101, 20))
        axis.set_xlabel("AP in %; dots: at 0.5, 1, 2 and 4 m, from left to right", color=FAINT, fontsize=9)


def _range_name(low: float, high: float | None) -> str:
    return f"{low:g} m and more" if high is None or not np.isfinite(high) else f"{low:g} to {high:g} m"


def range_bars(ranges: Sequence[Mapping[str, Any]], path: Path | str, width: int = 1400) -> None:
    """AP and recall at 2 m of each class by distance from the vehicle.

    Args:
        ranges: `ranges` of `detection_analysis.analyse`, at most three.
    """
    names, height = list(ranges[0]["classes"]), 720
    share = 0.8 / len(ranges)
    with pixel_figure(width, height, path) as figure:
        _title(
            figure,
            "By distance from the vehicle (boxes beyond the range of their class do not count)",
            height,
        )
        panels = (("ap_2m", "AP at 2 m, %", 0.53), ("recall", "recall at 2 m of all detections, %", 0.07))
        for key, label, bottom in panels:
            axis = figure.add_axes((0.05, bottom, 0.94, 0.37))
            _style(axis)
            axis.grid(axis="x", visible=False)
            for i, (part, colour) in enumerate(zip(ranges, _RANGE_COLOURS, strict=False)):
                values = [part["classes"][name][key] for name in names]
                at = np.arange(len(names)) + (i - (len(ranges) - 1) / 2) * share
                known = [100 * value if value is not None else 0.0 for value in values]
                legend = _range_name(part["from"], part["to"])
                axis.bar(at, known, width=share * 0.92, color=colour, label=legend, zorder=2)
                for x, value, number in zip(at, values, known, strict=True):
                    text = "none" if value is None else f"{number:.0f}"
                    colour_of_text = FAINT if value is None else INK
                    axis.text(x, number + 1.5, text, color=colour_of_text, fontsize=8, ha="center")
            axis.set(xlim=(-0.55, len(names) - 0.45), ylim=(0, 112))
            axis.set_xticks(range(len(names)), [_words(name) for name in names], color=INK, fontsize=10)
            axis.set_title(label, color=INK, fontsize=11, loc="left")
            if key == "ap_2m":
                _ink_legend(axis, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncol=3, borderaxespad=0.2)


def confusion_picture(
    counts: Sequence[Sequence[int]], classes: Sequence[str], path: Path | str, width: int = 1050
) -> None:
    """Which class the detections of a true box have, in % of its row; the last row counts false ones.

    Args:
        counts: (K, K), row the true class, column the predicted one, the last of both the background.
    """
    table, height = np.asarray(counts, dtype=np.float64), width - 50
    total = table.sum(axis=1, keepdims=True)
    shares = np.divide(table, total, out=np.zeros_like(table), where=total > 0)
    with pixel_figure(width, height, path) as figure:
        _title(
            figure, "True class (rows) and predicted class (columns) within 2 m: % of the row, count", height
        )
        axis = figure.add_axes((0.17, 0.03, 0.81, 0.78))
        axis.imshow(shares, cmap="viridis", vmin=0, vmax=1, aspect="auto")
        for row, col in np.ndindex(table.shape):
            if table[row, col]:
                axis.text(
                    col,
                    row,
                    f"{100 * shares[row, col]:.0f}\n{table[row, col]:.0f}",
                    color=BACKGROUND if shares[row, col] > 0.7 else INK,
                    fontsize=9,
                    ha="center",
                    va="center",
                )
        names = [_words(name) for name in classes]
        columns = [*names[:-1], "missed"]
        axis.set_xticks(range(len(names)), columns, rotation=40, ha="left", color=INK, fontsize=10)
        axis.set_yticks(range(len(names)), [*names[:-1], "nothing there"], color=INK, fontsize=10)
        axis.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axis.spines[:].set_visible(False)
        axis.axhline(len(names) - 1.5, color=INK, lw=1)
        axis.axvline(len(names) - 1.5, color=INK, lw=1)
