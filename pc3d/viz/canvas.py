"""The look of the pictures: figures of exact pixel size, dark axes, captions, legends and scales."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.storage.whole import write_bytes
from pc3d.viz.colours import Rgb, depth_colours

BACKGROUND = "#0b0e14"
INK = "#e8ecf4"
FAINT = "#8b93a7"
_DPI = 100


@contextmanager
def pixel_figure(width: int, height: int, path: Path | str, face: str = BACKGROUND) -> Iterator[Any]:
    """A figure of exactly `width` x `height` pixels that is saved to `path` at the end."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=face)
    canvas = FigureCanvasAgg(figure)
    yield figure
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    save_picture(picture, path)


def save_picture(picture: Any, path: Path | str) -> None:
    """Write a Pillow image, all or nothing; its folder is made, and the suffix of `path` is its format."""
    from PIL import Image

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    content = io.BytesIO()
    picture.save(
        content,
        format=Image.registered_extensions()[path.suffix.lower()],
        **({"quality": 90} if jpeg else {"optimize": True}),
    )
    write_bytes(path, content.getvalue(), durable=False)


def dark_axis(figure: Any, rectangle: tuple[float, float, float, float]) -> Any:
    axis = figure.add_axes(rectangle)
    axis.set_facecolor(BACKGROUND)
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)
    return axis


def image_axis(figure: Any, picture: Rgb) -> Any:
    """An axis over the whole figure that shows `picture` pixel by pixel."""
    axis = dark_axis(figure, (0.0, 0.0, 1.0, 1.0))
    axis.imshow(picture, interpolation="none", aspect="auto")
    return axis


def enlarge(image: Rgb, smallest: int = 1200, largest: int = 1600) -> tuple[Rgb, float]:
    """The image at a width between the two, and the scale that was applied."""
    from PIL import Image

    height, width = image.shape[:2]
    scale = min(max(width, smallest), largest) / width
    if scale == 1.0:
        return image, scale
    size = (round(width * scale), round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)), scale


def caption(axis: Any, text: str, width: float) -> None:
    """One line at the top left, on a dark plate."""
    if not text:
        return
    axis.text(
        0.015,
        0.985,
        text,
        transform=axis.transAxes,
        color=INK,
        fontsize=max(width / 95, 9),
        va="top",
        zorder=9,
        bbox={"boxstyle": "round,pad=0.45", "fc": BACKGROUND, "ec": "none", "alpha": 0.72},
    )


_ROWS = 26  # of a legend in one column


def legend_columns(names: Iterable[str], width: float, pixels: float) -> int:
    """How many columns of a legend with these names fit into a picture.

    Args:
        width: as for `legend_of`. pixels: of the picture.
    """
    longest = max((len(name) for name in names), default=1)
    return max(1, int(pixels / (_font_size(width) * _DPI / 72 * (0.58 * longest + 3.6))))


def legend_height(names: Collection[str], width: float, pixels: float) -> int:
    """Pixels that a legend in as many columns as fit is high."""
    rows = -(-len(names) // legend_columns(names, width, pixels))
    return round(rows * _font_size(width) * _DPI / 72 * 1.6 + 16)


def _font_size(width: float) -> float:
    return max(width / 125, 8)


def legend_of(
    parent: Any, names: dict[str, Any], width: float, loc: str = "lower left", ncol: int | None = None
) -> None:
    """Names beside squares of their colours; in so many columns that it is not too high, unless said."""
    from matplotlib.lines import Line2D

    if not names:
        return
    ncol = -(-len(names) // _ROWS) if ncol is None else min(ncol, len(names))
    handles = [
        Line2D([], [], ls="none", marker="s", ms=8, mec="none", mfc=tuple(c / 255 for c in rgb), label=name)
        for name, rgb in names.items()
    ]
    legend = parent.legend(
        handles=handles,
        loc=loc,
        ncol=ncol,
        fontsize=_font_size(width),
        labelcolor=INK,
        facecolor=BACKGROUND,
        edgecolor="none",
        framealpha=0.72,
        handletextpad=0.3,
    )
    legend.set_zorder(9)


def depth_scale(figure: Any, width: int, height: int) -> None:
    """A strip of the depth colours with metres, at the bottom left."""
    marks = np.array([2, 5, 10, 20, 40, 60])
    length, thick = 0.22 * width, 12
    axis = figure.add_axes((20 / width, 34 / height, length / width, thick / height), zorder=8)
    strip = depth_colours(np.geomspace(marks[0], marks[-1], 256))
    axis.imshow(strip[None], aspect="auto", extent=(0, 1, 0, 1))
    at = np.log(marks / marks[0]) / np.log(marks[-1] / marks[0])
    axis.set_xticks(at, [f"{m} m" if m == marks[-1] else str(m) for m in marks], fontsize=10, color=INK)
    axis.set(yticks=[])
    axis.tick_params(length=0, pad=3)
    for spine in axis.spines.values():
        spine.set_visible(False)
    figure.patches.append(
        _plate(10 / width, 8 / height, (length + 40) / width, (thick + 40) / height, figure)
    )


def _plate(x: float, y: float, w: float, h: float, figure: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(
        (x, y), w, h, transform=figure.transFigure, fc=BACKGROUND, ec="none", alpha=0.72, zorder=7
    )
