"""Label multipliers as a table and as a picture: the random start's curve, and an arrow to it from each."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pc3d.evaluation.label_curve import Bound, LabelCurve
from pc3d.evaluation.label_multiplier import LabelMultiplier
from pc3d.storage.whole import write_bytes

Starts = Mapping[str, LabelMultiplier]
"""By name. Their label shares are in percent."""


def to_markdown(starts: Starts, metric: str = "mIoU", scale: float = 100.0) -> str:
    """A line per start, the random start's curve below, and n.

    Args:
        scale: of the scores, 100 for percent.

    Raises:
        ValueError: there are none, or they were compared over different curves.
    """
    curve, any_start = _common(starts), next(iter(starts.values()))
    level = f"[{100 * any_start.level:g} %]"
    lines = [
        f"| start | labels | {metric} | random start needs | label multiplier {level} | gap closed {level} |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, found in starts.items():
        needs = Bound(found.multiplier.value * found.share, found.multiplier.sign).text(" %")
        lines.append(
            f"| {name} | {found.share:g} % | {scale * found.score:.1f} | {needs} | {found.text()} | "
            f"{found.gap_text() or 'no gap'} |"
        )
    points = ", ".join(
        f"{share:g} %: {scale * mean:.1f}" for share, mean in zip(curve.shares, curve.means, strict=True)
    )
    lines += ["", f"Random start, {metric} by label share: {points}.", ""]
    by_count: dict[str, list[str]] = {}
    for name, found in starts.items():
        worlds = f"{found.worlds} world{'s' * (found.worlds != 1)}, {found.runs} run{'s' * (found.runs != 1)}"
        by_count.setdefault(f"{worlds}; {found.note}" if found.note else worlds, []).append(name)
    lines += [f"- {', '.join(names)}: {count}" for count, names in by_count.items()]
    return "\n".join(lines) + "\n"


def plot(
    starts: Starts, path: Path | str, metric: str = "mIoU", scale: float = 100.0, title: str = ""
) -> None:
    """Draw the curve of the random start over the label share and each start's score with its own share.

    From a start an arrow goes to the share with which the random start has the same score, or out of the
    picture where the multiplier is censored; the pale bar along it is the interval. Hollow points are means
    that the monotone curve does not go through. The suffix of `path` is the format.

    Raises:
        ValueError: there are none, or they were compared over different curves.
    """
    from matplotlib.figure import Figure

    curve = _common(starts)
    figure = Figure(figsize=(9.4, 4.8), dpi=150, layout="constrained")
    axes = figure.subplots()
    left, right = curve.shares[0] / 1.9, curve.shares[-1] * 1.9
    axes.set_xscale("log")
    heights = [scale * score for score in curve.scores]
    axes.plot(curve.shares, heights, color="0.45", linewidth=2, marker="o", zorder=2)
    for share, mean, score in zip(curve.shares, curve.means, curve.scores, strict=True):
        if mean != score:  # hollow: what was measured, where the curve is not that
            axes.plot(share, scale * mean, "o", markerfacecolor="white", markeredgecolor="0.45", zorder=2)
    for index, found in enumerate(starts.values()):
        _arrow(axes, found, scale, f"C{index}", (left, right))
    axes.set_xlim(left, right)
    axes.set_xticks(curve.shares, [f"{share:g} %" for share in curve.shares])
    axes.minorticks_off()
    axes.set_xlabel("labelled share of the training frames")
    axes.set_ylabel(f"{metric} [%]" if scale == 100 else metric)
    axes.set_title(title or "Labels that the random start needs for the same score", loc="left")
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _names(axes, starts, curve, scale)
    picture = io.BytesIO()
    figure.savefig(picture, format=Path(path).suffix[1:])
    write_bytes(Path(path), picture.getvalue())


def _common(starts: Starts) -> LabelCurve:
    if not starts:
        raise ValueError("there is no start to show")
    (first, found), *others = starts.items()
    odd = next((name for name, other in others if other.curve != found.curve), None)
    if odd is not None:
        raise ValueError(f"{first} and {odd} have different curves: compare starts of the same worlds")
    return found.curve


def _arrow(axes: Any, found: LabelMultiplier, scale: float, colour: str, ends: tuple[float, float]) -> None:
    """One start: its score, the arrow to the curve, and the interval along it."""

    def place(bound: Bound) -> float:
        return {"<": ends[0], ">": ends[1]}.get(bound.sign, bound.value * found.share)

    score = scale * found.score
    if found.interval is not None:
        between = [place(bound) for bound in found.interval]
        bar = {"linewidth": 9, "alpha": 0.18, "solid_capstyle": "butt", "zorder": 1}
        axes.plot(between, [score, score], color=colour, **bar)
    axes.annotate(
        "",
        (place(found.multiplier), score),
        (found.share, score),
        arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0},
        zorder=3,
    )
    axes.plot(found.share, score, "o", color=colour, markersize=8, markeredgecolor="white", zorder=4)


def _names(axes: Any, starts: Starts, curve: LabelCurve, scale: float) -> None:
    """Names and multipliers in a column on the right, at the height of their arrows but apart."""
    low, high = axes.get_ylim()
    entries = [
        (
            scale * found.score,
            f"{name}\n{_times(found)}",
            f"C{index}",
        )
        for index, (name, found) in enumerate(starts.items())
    ]
    entries.append((scale * curve.scores[-1], "random start", "0.35"))
    heights = spread([height for height, _, _ in entries], (high - low) * 0.1)
    for (height, text, colour), at in zip(entries, heights, strict=True):
        axes.annotate(
            text,
            (1.0, height),
            (1.03, (at - low) / (high - low)),
            xycoords=("axes fraction", "data"),
            textcoords="axes fraction",
            color=colour,
            fontsize=9,
            va="center",
            linespacing=1.25,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "alpha": 0.6},
        )


def _times(found: LabelMultiplier) -> str:
    if found.interval is None:
        return f"{found.multiplier.text()} times the labels"
    low, high = (bound.text() for bound in found.interval)
    return f"{found.multiplier.text()} times the labels [{low} to {high}]"


def spread(heights: Sequence[float], apart: float) -> list[float]:
    """Heights that are at least `apart`, in the same order and as near to what they were as can be."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    groups: list[list[float]] = []  # sum of the wished places of the first, number
    for rank, index in enumerate(order):
        groups.append([heights[index] - rank * apart, 1.0])
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] > groups[-1][0] / groups[-1][1]:
            total, number = groups.pop()
            groups[-1][0] += total
            groups[-1][1] += number
    placed = [total / number for total, number in groups for _ in range(int(number))]
    found = [0.0] * len(heights)
    for rank, index in enumerate(order):
        found[index] = placed[rank] + rank * apart
    return found
