"""What a lens does to a ray: four camera models as one formula, there and back.

Each model takes the ray (x, y, 1) of the camera frame to a point of its own plane:

    brown, rational   the ray where it meets the plane z = 1 (OpenCV's `projectPoints`)
    fisheye           the angle from the axis in place of the radius (Kannala and Brandt, TPAMI 2006; OpenCV's
                      `fisheye`)
    mei               through the unit sphere, seen from `xi` behind its centre (Mei and Rives, ICRA 2007)

In that plane a point at the radius q is moved to the radius
q (1 + n1 q^2 + n2 q^4 + n3 q^6 + n4 q^8) / (1 + d1 q^2 + d2 q^4 + d3 q^6), and by Brown's tangential terms.
What is left is the intrinsics. All models see what lies ahead (z > 0) only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.storage.compiled import njit

Float64 = NDArray[np.float64]

MODELS: dict[str, tuple[str, ...]] = {
    "brown": ("k1", "k2", "p1", "p2", "k3"),
    "rational": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "fisheye": ("k1", "k2", "k3", "k4"),
    "mei": ("xi", "k1", "k2", "p1", "p2"),
}
"""The coefficients of each camera model, in OpenCV's order; of `brown` the last ones may be left out."""

COLUMNS = ("plane", "n1", "n2", "n3", "n4", "d1", "d2", "d3", "p1", "p2", "xi", "reach")
"""What `Lens.row` holds: `plane` 0 pinhole, 1 z = 1, 2 angle, 3 sphere; `reach` the largest q of it."""
_Radial = tuple[tuple[float, ...], tuple[float, ...]]  # n1 to n4, and d1 to d3
_PINHOLE, _FLAT, _ANGLE, _SPHERE = 0.0, 1.0, 2.0, 3.0
_FARTHEST = 30.0
"""Radius at depth 1, 88 degrees from the axis, beyond which no ray of a flat plane is looked for."""
_TINY = 1e-300  # under a root: no 0 / 0 on the axis, and nothing beside any other number
_STEPS, _LAST_STEPS = 14, 8  # of random lenses all are exact after 12 and 7
_CLOSE = 1e-9  # of the plane's unit: a thousandth of a thousandth of a pixel


def check_lens(model: str, coefficients: Sequence[float]) -> None:
    """Raise ValueError unless `model` is one of `MODELS` and `coefficients` are so many finite numbers."""
    if model not in MODELS:
        raise ValueError(f"camera model is {model!r}, expected one of {', '.join(MODELS)}")
    names = MODELS[model]
    fits = len(coefficients) <= len(names) if model == "brown" else len(coefficients) == len(names)
    if not (fits and all(np.isfinite(coefficients))):
        few = "up to " if model == "brown" else ""
        raise ValueError(
            f"distortion of the camera model {model} is {tuple(coefficients)}, expected {few}{len(names)} "
            f"finite numbers: {' '.join(names)}"
        )
    if model == "mei" and coefficients[0] < 0:
        raise ValueError(f"xi of the camera model mei is {coefficients[0]}, expected 0 or more")


@dataclass(frozen=True)
class Lens:
    """A camera model of `MODELS` with its coefficients.

    Raises:
        ValueError: see `check_lens`.
    """

    model: str = "brown"
    coefficients: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_lens(self.model, self.coefficients)

    @property
    def is_pinhole(self) -> bool:
        """Whether the lens bends nothing. A fisheye always does."""
        return self.row[0] == _PINHOLE

    @cached_property
    def row(self) -> tuple[float, ...]:
        """The same as numbers, `COLUMNS`: what kernels and batches hold."""
        if self.model != "fisheye" and not any(self.coefficients):
            return (_PINHOLE, *[0.0] * 10, _FARTHEST)
        plane, (n, d), p, xi = self._terms()
        most = {_FLAT: _FARTHEST, _ANGLE: np.pi / 2, _SPHERE: 1 / max(xi, 1 / _FARTHEST)}[plane]
        # A little less than the turning point, which may be a pole.
        return (plane, *n, *d, *p, xi, min(_turning(n, d) * (1 - 1e-9), most))

    def _terms(self) -> tuple[float, _Radial, tuple[float, ...], float]:
        """The plane, the radial and the tangential coefficients, and xi."""
        c = tuple(map(float, self.coefficients))
        if self.model == "fisheye":
            return _ANGLE, (c, (0.0, 0.0, 0.0)), (0.0, 0.0), 0.0
        if self.model == "mei":
            return _SPHERE, ((*c[1:3], 0.0, 0.0), (0.0, 0.0, 0.0)), c[3:], c[0]
        k1, k2, p1, p2, k3, k4, k5, k6 = (*c, *[0.0] * 8)[:8]
        return _FLAT, ((k1, k2, k3, 0.0), (k4, k5, k6)), (p1, p2), 0.0

    @cached_property
    def radius(self) -> float:
        """Largest radius at depth 1 up to which the radial part is one-to-one.

        Beyond it the formula folds back, and points far outside the view would land in the image.
        """
        plane, xi = self.row[0], self.row[10]
        turning = _turning(self.row[1:5], self.row[5:8])
        if plane == _ANGLE:
            return float(np.tan(turning)) if turning < np.pi / 2 else float("inf")
        if plane == _SPHERE and not turning * xi < 1:  # 0 times infinity among them
            return float("inf")
        return turning * _lift(turning, self.row, np) if plane == _SPHERE else turning

    @property
    def magnification(self) -> float:
        """Of the middle of the image: the focal length times this is in pixels per radian there."""
        return 1 / (1 + self.row[10])

    def bend(self, xy: Float64) -> Float64:
        """(P, 2) bent coordinates of (P, 2) rays at depth 1; NaN beyond `radius`."""
        x, y = np.asarray(xy, dtype=np.float64).T
        found = np.stack(_bent(x, y, self.row), axis=1)
        found[x * x + y * y > self.radius**2] = np.nan
        return found

    def straighten(self, xy: Float64) -> Float64:
        """(P, 2) rays at depth 1 of (P, 2) bent coordinates; NaN where no ray ahead lands."""
        x, y = np.asarray(xy, dtype=np.float64).T
        with np.errstate(all="ignore"):
            return np.stack(straightened(x, y, self.row, np), axis=1)


PINHOLE = Lens()
lens_of = lru_cache(maxsize=512)(Lens)
"""`Lens`, made once for each model and coefficients."""


def _turning(n: Sequence[float], d: Sequence[float]) -> float:
    """Smallest q, if below 1e6, at which the radial formula turns back or has a pole, else infinity."""
    top, low = np.array([*n[::-1], 1.0]), np.array([*d[::-1], 1.0])  # polynomials of q^2
    slope = top * np.arange(2 * len(n) + 1, 0, -2)  # d/dq of q * top
    turns = slope
    if any(d):
        turns = np.polysub(
            np.polymul(slope, low), 2 * np.polymul([1.0, 0.0], np.polymul(top, np.polyder(low)))
        )
    # Of the reversed polynomials, whose first coefficient is 1: the last ones may be as good as 0.
    roots = np.concatenate([np.roots(turns[::-1]), np.roots(low[::-1])])
    found = roots.real[(np.abs(roots.imag) < 1e-9 * np.abs(roots)) & (roots.real > 1e-12)]
    return float(1 / np.sqrt(found.max())) if len(found) else float("inf")


def _bent(x, y, lens):  # type: ignore[no-untyped-def]
    """Bent coordinates of a ray at depth 1, or of arrays of them; `lens` is a `Lens.row`."""
    plane, n1, n2, n3, n4, d1, d2, d3, p1, p2, xi, _ = lens
    if plane == 0.0:
        return x, y
    r2 = x * x + y * y
    if plane == 2.0:
        r = np.sqrt(r2 + 1e-300)
        scale = np.arctan(r) / r
        x, y, r2 = x * scale, y * scale, r2 * (scale * scale)
    elif plane == 3.0:
        scale = 1 / (1 + xi * np.sqrt(1 + r2))
        x, y, r2 = x * scale, y * scale, r2 * (scale * scale)
    radial = 1 + r2 * (n1 + r2 * (n2 + r2 * (n3 + r2 * n4)))
    radial /= 1 + r2 * (d1 + r2 * (d2 + r2 * d3))
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


bent = njit(cache=True)(_bent)
"""The same for kernels."""


def _radial(s: Any, lens: Any) -> tuple[Any, Any]:
    """The radial factor at s = q^2, and its derivative by s."""
    _, n1, n2, n3, n4, d1, d2, d3, *_ = lens
    top, low = 1 + s * (n1 + s * (n2 + s * (n3 + s * n4))), 1 + s * (d1 + s * (d2 + s * d3))
    top_slope = n1 + s * (2 * n2 + s * (3 * n3 + s * (4 * n4)))
    low_slope = d1 + s * (2 * d2 + s * (3 * d3))
    factor = top / low
    return factor, (top_slope - factor * low_slope) / low


def _unbent_radius(radius: Any, lens: Any, xp: Any) -> Any:
    """The q up to `reach` that the radial formula takes to `radius`: Newton's steps, kept in a bracket."""
    low = radius * 0
    high = low + lens[-1]
    q, last = xp.minimum(radius, high), high
    for _ in range(_STEPS):
        factor, slope = _radial(q * q, lens)
        over = q * factor - radius
        low, high = xp.where(over > 0, low, q), xp.where(over > 0, q, high)
        by = over / (factor + 2 * q * q * slope)
        quick = (abs(by) <= last / 2) | (abs(by) <= _CLOSE)
        found = xp.where((q - by >= low) & (q - by <= high) & quick, q - by, (low + high) / 2)
        q, last = found, abs(found - q)
    return q


def _step(x: Any, y: Any, a: Any, b: Any, lens: Any) -> tuple[Any, Any, Any, Any]:
    """Newton's step from (x, y) in the model's plane to what bends to (a, b), and what (x, y) misses."""
    p1, p2 = lens[8], lens[9]
    s = x * x + y * y
    factor, slope = _radial(s, lens)
    miss_a = x * factor + 2 * p1 * x * y + p2 * (s + 2 * x * x) - a
    miss_b = y * factor + p1 * (s + 2 * y * y) + 2 * p2 * x * y - b
    aa = factor + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
    bb = factor + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
    ab = 2 * (x * y * slope + p1 * x + p2 * y)
    area = aa * bb - ab * ab
    return (bb * miss_a - ab * miss_b) / area, (aa * miss_b - ab * miss_a) / area, miss_a, miss_b


def _lift(q: Any, lens: Any, xp: Any) -> Any:
    """Radius at depth 1 by q, of the sphere."""
    xi = lens[10]
    s = q * q
    factor = (xi + xp.sqrt(xp.clip(1 + (1 - xi * xi) * s, 0.0, None))) / (1 + s)
    return factor / (factor - xi)


def straightened(a: Any, b: Any, lens: Any, xp: ModuleType) -> tuple[Any, Any]:
    """The rays (x, y) at depth 1 that are bent to (a, b); NaN where there is none in the field.

    Args:
        a, b: arrays or tensors of double precision.
        lens: the numbers of `COLUMNS`, each a number or an array that broadcasts with `a`.
        xp: numpy, or torch for tensors.
    """
    plane, reach = lens[0], lens[-1]
    radius = xp.sqrt(a * a + b * b + _TINY)
    q = _unbent_radius(radius, lens, xp)
    # At the turning point Newton's step is endless; tangential terms may carry an image a little farther.
    shrunk = xp.where(q > reach * (1 - 1e-6), 0.9 * q, q) / radius
    x, y = a * shrunk, b * shrunk
    for _ in range(_LAST_STEPS):
        step_x, step_y, _, _ = _step(x, y, a, b, lens)
        x, y = x - step_x, y - step_y
    _, _, miss_a, miss_b = _step(x, y, a, b, lens)
    q = xp.sqrt(x * x + y * y + _TINY)
    inside = (abs(miss_a) + abs(miss_b) <= _CLOSE * (1 + radius)) & (q <= reach)
    scale = xp.where(
        plane == _ANGLE, xp.tan(q) / q, xp.where(plane == _SPHERE, _lift(q, lens, xp), 1.0 + 0 * q)
    )
    bare = plane == _PINHOLE
    return tuple(  # type: ignore[return-value]
        xp.where(bare, given, xp.where(inside, found * scale, np.nan)) for given, found in ((a, x), (b, y))
    )
