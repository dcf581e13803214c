"""A drive as a sequence of pictures: numbered files in a folder, or an animated GIF."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex
from pc3d.storage.whole import write_bytes
from pc3d.viz.canvas import BACKGROUND

_GIF_WIDTH = 960
_COLOURS = 128
_LONGEST, _SHORTEST = 2.0, 0.04  # seconds that a picture of a GIF stays

Draw = Callable[[int, Path], None]
"""Draws the sweep of a row into a file."""


def draw_sequence(
    index: SweepIndex,
    rows: Sequence[int],
    out: Path,
    draw: Draw,
    said: Callable[[int, int], None] = lambda *_: None,
) -> list[Path]:
    """Draw rows one after the other.

    Args:
        out: a `.gif` file, whose pictures stay as long as the sweeps are apart, or a folder of `ROW.png`.
        said: is told how many of how many are done.

    Returns:
        What was written.
    """
    if out.suffix.lower() == ".gif":
        with tempfile.TemporaryDirectory() as folder:
            pictures = _draw(rows, Path(folder), draw, said)
            _write_gif(pictures, _seconds(index, rows), out)
        return [out]
    if out.suffix:
        fail(f"a sequence is no {out.suffix} file", out, "name a folder, or a .gif file")
    out.mkdir(parents=True, exist_ok=True)
    return _draw(rows, out, draw, said)


def _draw(rows: Sequence[int], folder: Path, draw: Draw, said: Callable[[int, int], None]) -> list[Path]:
    paths = []
    for number, row in enumerate(rows, start=1):
        paths.append(folder / f"{row:06d}.png")
        draw(row, paths[-1])
        said(number, len(rows))
    return paths


def _seconds(index: SweepIndex, rows: Sequence[int]) -> list[float]:
    """How long each picture stays; the last one as long as is usual."""
    times = np.array([index[row].timestamp for row in rows], dtype=np.float64) / 1e6
    steps = np.diff(times)
    usual = float(np.median(steps)) if len(steps) else 1.0
    return np.clip([*steps.tolist(), usual], _SHORTEST, _LONGEST).tolist()


def _write_gif(pictures: Sequence[Path], seconds: Sequence[float], out: Path) -> None:
    from PIL import Image

    small = []
    for path in pictures:
        with Image.open(path) as picture:
            scale = min(1.0, _GIF_WIDTH / picture.width)
            size = (round(picture.width * scale), round(picture.height * scale))
            small.append(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS))
    # Sweeps without images may have smaller pictures than those with.
    size = (max(one.width for one in small), max(one.height for one in small))
    frames = []
    for one in small:
        canvas = Image.new("RGB", size, BACKGROUND)
        canvas.paste(one, ((size[0] - one.width) // 2, (size[1] - one.height) // 2))
        frames.append(canvas.quantize(_COLOURS))
    content = io.BytesIO()
    frames[0].save(
        content,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=[round(1000 * one) for one in seconds],
        loop=0,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, content.getvalue(), durable=False)
