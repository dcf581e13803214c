"""Colours of points, classes and features: every function gives (P, 3) uint8 RGB."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]

#: Points without a value: ignored labels, no region, outside the encoder's range.
NEUTRAL = (96, 100, 110)

# Anchors at equal distances, interpolated linearly: dark to bright for intensity, a rainbow of
# increasing warmth for depth and height.
_INTENSITY = np.array(
    [(44, 38, 92), (58, 82, 160), (36, 140, 168), (72, 190, 134), (190, 222, 84), (255, 245, 190)], float
)
_WARMTH = np.array(
    [
        (74, 92, 220),
        (52, 160, 236),
        (44, 208, 186),
        (120, 222, 92),
        (232, 208, 60),
        (252, 136, 44),
        (226, 54, 44),
    ],
    float,
)


def categorical_colours(ids: NDArray[np.integer]) -> Rgb:
    """(P, 3) uint8 of (P,) ids (regions, superpixels): neighbouring ids differ, the same id never changes.

    The hue advances by the golden ratio; lightness alternates. Negative ids are neutral grey.
    """
    unique, inverse = np.unique(ids, return_inverse=True)
    table = np.empty((len(unique), 3), np.uint8)
    for row, value in enumerate(unique.tolist()):
        hue = (0.08 + value * 0.6180339887498949) % 1.0
        lightness = (0.62, 0.5, 0.72)[value % 3]
        rgb = np.array(colorsys.hls_to_rgb(hue, lightness, (0.85, 0.65)[value % 2]))
        # Pure blues and purples are too dark on the dark background: mix white in.
        luminance = float(rgb @ (0.2126, 0.7152, 0.0722))
        rgb += (1 - rgb) * max(0.0, (0.32 - luminance) / (1 - luminance))
        table[row] = NEUTRAL if value < 0 else (255 * rgb).round()
    return table[inverse.reshape(-1)]


def height_colours(z: NDArray[np.floating], low: float | None = None, high: float | None = None) -> Rgb:
    """(P, 3) uint8 of (P,) heights in metres; `low` and `high` default to their 2 % and 98 % quantiles."""
    return _lookup(_unit(z, low, high), _WARMTH)


def depth_colours(depth: NDArray[np.floating], near: float = 2.0, far: float = 60.0) -> Rgb:
    """(P, 3) uint8 of (P,) depths in metres: near is red, far is blue, on a logarithmic scale."""
    scale = np.log(np.maximum(depth, 1e-6) / near) / np.log(far / near)
    return _lookup(1.0 - np.clip(scale, 0.0, 1.0), _WARMTH)


def intensity_colours(intensity: NDArray[np.floating]) -> Rgb:
    """(P, 3) uint8 of (P,) intensities of any range: scaled by quantiles, then the square root."""
    return _lookup(np.sqrt(_unit(intensity, None, None)), _INTENSITY)


def similarity_colours(
    features: NDArray[np.floating], anchor: int, valid: NDArray[np.bool_] | None = None
) -> Rgb:
    """Point activation map: cosine similarity of every point with point `anchor` (FAC, Fig. 1).

    Args:
        features: (P, C) features of the points.
        anchor: row of the chosen point.
        valid: (P,) points that have a feature; the others are neutral grey.
    Raises:
        ValueError: the anchor has no feature.
    """
    keep = _valid_rows(features, valid)
    if not keep[anchor]:
        raise ValueError(f"point {anchor} lies outside the encoder's range; choose another anchor")
    norms = np.linalg.norm(features, axis=1)
    cosine = features @ features[anchor] / np.maximum(norms * norms[anchor], 1e-12)
    colours = _lookup(np.clip(np.nan_to_num(cosine), 0.0, 1.0) ** 2, _WARMTH)
    colours[~keep] = NEUTRAL
    return colours


DARKEST = 50


def pca_colours(features: NDArray[np.floating], valid: NDArray[np.bool_] | None = None) -> Rgb:
    """Features as colours: their first three principal components as red, green and blue.

    Args:
        features: (P, C) features of the points.
        valid: (P,) points that have a feature; PCA is fitted on them, the others are neutral grey.
    Returns:
        (P, 3) uint8; each component is scaled from its 2 % to its 98 % quantile, and to 50..255 so
        that no point is lost on a dark ground. The component of features with fewer than three
        dimensions of variance is mid-grey.
    """
    colours = np.tile(np.array(NEUTRAL, np.uint8), (len(features), 1))
    keep = _valid_rows(features, valid)
    if not keep.any():
        return colours
    components = principal_components(features[keep])
    shares = np.column_stack([_unit(c, None, None) for c in components.T])
    colours[keep] = np.round(DARKEST + (255 - DARKEST) * shares).astype(np.uint8)
    return colours


def principal_components(features: NDArray[np.floating], count: int = 3) -> NDArray[np.float64]:
    """(P, count) scores of (P, C) features on their first principal axes; zero where there are fewer.

    The sign of an axis is free; here its largest loading is positive, so pictures are reproducible.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :count]
    significant = variances[::-1][:count] > 1e-10 * max(float(variances.sum()), 1e-30)
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
    scores = np.zeros((len(features), count))
    scores[:, : axes.shape[1]] = centred @ (axes * np.sign(largest)) * significant
    return scores


def _valid_rows(features: NDArray[np.floating], valid: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    if features.ndim != 2:
        raise ValueError(f"features have shape {features.shape}, expected (P, C)")
    finite = np.isfinite(features).all(axis=1)
    return finite if valid is None else finite & valid


def _unit(values: NDArray[np.floating], low: float | None, high: float | None) -> NDArray[np.float64]:
    """Values scaled to 0..1 between two limits (default: 2 % and 98 % quantiles); 0.5 where all are equal."""
    values = np.asarray(values, np.float64)
    if values.size == 0:
        return values
    finite = values[np.isfinite(values)]
    if low is None:
        low = float(np.quantile(finite, 0.02)) if finite.size else 0.0
    if high is None:
        high = float(np.quantile(finite, 0.98)) if finite.size else 1.0
    if high - low <= 1e-12:
        return np.full(values.shape, 0.5)
    return np.clip(np.nan_to_num((values - low) / (high - low)), 0.0, 1.0)


def _lookup(unit: NDArray[np.float64], anchors: NDArray[np.float64]) -> Rgb:
    """(P, 3) uint8 of (P,) values in 0..1 by linear interpolation between equidistant anchors."""
    at = np.linspace(0.0, 1.0, len(anchors))
    return (
        np.column_stack([np.interp(np.nan_to_num(unit), at, channel) for channel in anchors.T])
        .round()
        .astype(np.uint8)
    )
