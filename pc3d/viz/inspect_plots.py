"""Pictures of what an index holds: histograms, bars of classes, the map of its drives, the map of density."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pc3d.viz.canvas import BACKGROUND, FAINT, INK, dark_axis, pixel_figure
from pc3d.viz.colours import categorical_colours
from pc3d.viz.inspect_facts import REACH, SceneFacts

_PANEL, _GRID, _BAR = "#111621", "#232a38", "#4fd1c1"
WIDTH, HEIGHT = 760, 420
_LEGEND = 10  # drives with a name in a map


def _axis(
    figure: Any, title: str, x_label: str, rectangle: tuple[float, ...] = (0.11, 0.14, 0.86, 0.74)
) -> Any:
    axis = figure.add_axes(rectangle)
    axis.set_facecolor(_PANEL)
    axis.tick_params(colors=FAINT, labelsize=10, length=0)
    axis.grid(color=_GRID, lw=0.8)
    axis.set_axisbelow(True)
    axis.spines[:].set_visible(False)
    axis.set_title(title, color=INK, fontsize=12.5, loc="left")
    axis.set_xlabel(x_label, color=FAINT, fontsize=10)
    return axis


def _log(axis: Any) -> None:
    """A logarithmic scale of counts, on which one is to be seen."""
    from matplotlib.ticker import NullFormatter

    axis.set_yscale("log")
    axis.set_ylim(bottom=0.6)
    axis.yaxis.set_minor_formatter(NullFormatter())


def histogram(
    counts: NDArray[Any],
    edges: ArrayLike,
    path: Path,
    title: str,
    x_label: str,
    y_label: str,
    log: bool = False,
) -> None:
    """A histogram of (N,) counts between (N + 1,) edges, cut to where something is."""
    edges = np.asarray(edges, dtype=np.float64)
    filled = np.flatnonzero(counts)
    first, last = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, len(counts))
    with pixel_figure(WIDTH, HEIGHT, path) as figure:
        axis = _axis(figure, title, x_label)
        axis.bar(
            edges[first:last],
            counts[first:last],
            width=np.diff(edges)[first:last],
            align="edge",
            color=_BAR,
            ec=_PANEL,
            lw=0.3,
        )
        if log:
            _log(axis)
        else:
            axis.set_ylim(bottom=0)
        axis.set_ylabel(y_label, color=FAINT, fontsize=10)


def value_histogram(
    values: ArrayLike, path: Path, title: str, x_label: str, y_label: str, log: bool = False
) -> None:
    """A histogram of values, in bins that fit them."""
    values = np.asarray(values, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-9 + 1e-6 * abs(high):  # one bar, not a line
        by = max(abs(high) * 0.02, 1e-3)
        low, high = low - 10 * by, high + 10 * by
    counts, edges = np.histogram(values, bins=48, range=(low, high))
    with pixel_figure(WIDTH, HEIGHT, path) as figure:
        axis = _axis(figure, title, x_label)
        axis.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=_BAR, ec=_PANEL, lw=0.3)
        axis.set_xlim(low, high)
        if log:
            _log(axis)
        axis.set_ylabel(y_label, color=FAINT, fontsize=10)


def bars(
    shares: Mapping[str, float],
    colours: NDArray[np.uint8],
    path: Path,
    title: str,
    x_label: str,
    texts: Sequence[str],
) -> None:
    """A bar for each name on a logarithmic scale, with a text at its end.

    Args:
        colours: (N, 3) of the N names.
    """
    names, values = list(shares), list(shares.values())
    height = 90 + 25 * len(names)
    smallest = min((value for value in values if value > 0), default=1.0)
    left, top = min(0.5, 0.03 + 0.0117 * max(map(len, names), default=1)), 1 - 46 / height
    with pixel_figure(WIDTH, height, path) as figure:
        bottom = 46 / height
        axis = _axis(figure, title, x_label, (left, bottom, 0.97 - left, top - bottom))
        axis.grid(axis="y", visible=False)
        axis.barh(range(len(names)), values, color=colours / 255.0, height=0.68)
        axis.set_xscale("log")
        axis.set_xlim(smallest / 2, max([*values, smallest]) * 6)
        axis.set_yticks(range(len(names)), names, color=INK, fontsize=10)
        axis.set_ylim(len(names) - 0.4, -0.6)
        for row, (value, text) in enumerate(zip(values, texts, strict=True)):
            at = max(value, smallest / 2) * 1.06
            axis.text(at, row, text, color=INK, fontsize=9, va="center")


def map_of_drives(scenes: Sequence[SceneFacts], path: Path, title: str, width: int = WIDTH) -> None:
    """The ways of drives in the world of one place, in metres, each with a dot where it starts."""
    with pixel_figure(width, width, path) as figure:
        axis = _axis(figure, title, "m", (0.1, 0.08, 0.87, 0.86))
        colours = categorical_colours(np.arange(len(scenes))) / 255.0
        origin = np.floor(np.concatenate([scene.track for scene in scenes]).min(axis=0))
        far = max(float(np.abs(scene.track).max()) for scene in scenes) > 1e4
        shift = origin if far else np.zeros(2)
        for scene, colour in zip(scenes, colours, strict=True):
            x, y = (scene.track - shift).T
            axis.plot(x, y, color=colour, lw=2.0, label=scene.name if len(scenes) <= _LEGEND else None)
            axis.plot(x[:1], y[:1], "o", color=colour, ms=7, mec=BACKGROUND)
        if far:
            axis.set_xlabel(f"m east of {shift[0]:.0f}, north of {shift[1]:.0f}", color=FAINT, fontsize=10)
        _square_limits(axis, np.concatenate([scene.track for scene in scenes]) - shift)
        if len(scenes) <= _LEGEND:
            axis.legend(fontsize=9, labelcolor=INK, facecolor=BACKGROUND, edgecolor="none", loc="best")


def _square_limits(axis: Any, xy: NDArray[np.float64]) -> None:
    """The same scale on both axes, and at least 20 m: a vehicle that stands is a dot."""
    middle = (xy.min(axis=0) + xy.max(axis=0)) / 2
    half = max(float((xy.max(axis=0) - xy.min(axis=0)).max()) * 0.55, 10.0)
    axis.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))
    axis.set_aspect("equal")


def density_map(density: NDArray[np.int64], sweeps: int, path: Path, width: int = WIDTH) -> None:
    """Points by cell around the vehicle, its nose upwards, on a logarithmic scale."""
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    steps = ["#0b0e14", "#3a52a0", "#248ca8", "#48be86", "#bede54", "#fff5be"]
    colours = LinearSegmentedColormap.from_list("density", steps)
    each = np.where(density > 0, density / max(sweeps, 1), np.nan)
    with pixel_figure(width, width, path) as figure:
        axis = dark_axis(figure, (0.01, 0.05, 0.86, 0.86))
        most = float(np.nanmax(each)) if (density > 0).any() else 1.0
        least = min(1 / max(sweeps, 1), most / 2)
        shown = axis.imshow(
            each,
            extent=(-REACH, REACH, -REACH, REACH),
            cmap=colours,
            norm=LogNorm(least, most),
            interpolation="nearest",
        )
        from matplotlib.patches import Circle

        for radius in (20, 40, 60):
            axis.add_patch(Circle((0, 0), radius, fill=False, ec=FAINT, lw=0.8, alpha=0.6))
            axis.text(radius * 0.707, -radius * 0.707, f"{radius} m", color=INK, fontsize=10, ha="center")
        shape = np.array([(0, 2.4), (1.1, -1.8), (0, -1.0), (-1.1, -1.8)]) * 1.1
        axis.fill(*shape.T, fc="white", ec=BACKGROUND)
        axis.set_title("points around the vehicle, its nose upwards", color=INK, fontsize=12.5, loc="left")
        strip = figure.add_axes((0.89, 0.05, 0.02, 0.86))
        scale = figure.colorbar(shown, cax=strip)
        strip.tick_params(colors=FAINT, labelsize=9, length=0, which="both")
        scale.set_label("points per sweep and cell of 0.5 m", color=FAINT, fontsize=10)
        scale.outline.set_visible(False)
