"""Colours of classes: those of the class set, else by what a name says, and no two alike in a set."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from pc3d.data.classes import ClassSet
from pc3d.viz.colours import NEUTRAL, Rgb, categorical_colours

Colour = tuple[int, int, int]

#: The 16 common classes. Vehicles are warm, people magenta, two-wheelers red, ground cool, the static world
#: muted: legible on the dark background of the pictures.
LIDARSEG_PALETTE: dict[str, Colour] = {
    "barrier": (148, 163, 184),
    "bicycle": (255, 104, 150),
    "bus": (255, 216, 128),
    "car": (255, 176, 32),
    "construction_vehicle": (206, 146, 110),
    "motorcycle": (227, 40, 80),
    "pedestrian": (236, 110, 255),
    "traffic_cone": (250, 240, 90),
    "trailer": (164, 98, 40),
    "truck": (238, 100, 36),
    "driveable_surface": (34, 178, 190),
    "other_flat": (176, 62, 122),
    "sidewalk": (112, 88, 190),
    "terrain": (128, 178, 72),
    "manmade": (214, 188, 150),
    "vegetation": (30, 158, 74),
}

#: Words that the data sets use for a class of the palette; the first that occurs decides.
_SYNONYMS = tuple(
    (word, name)
    for words, name in (
        ("pedestrian person people human", "pedestrian"),
        ("cone pylon", "traffic_cone"),
        ("barrier fence guardrail barrel bollard", "barrier"),
        ("construction", "construction_vehicle"),
        ("motorcycle motorcyclist motorbike", "motorcycle"),
        ("bicycle cyclist bike rider", "bicycle"),
        ("trailer", "trailer"),
        ("truck", "truck"),
        ("bus tram train", "bus"),
        ("car vehicle van", "car"),
        ("drivable driveable road lane parking driveway marking", "driveable_surface"),
        ("sidewalk walkway curb", "sidewalk"),
        ("terrain grass", "terrain"),
        ("other-ground other_ground flat", "other_flat"),
        ("ground walkable", "terrain"),
        ("vegetation trunk tree plant bush", "vegetation"),
        ("manmade building wall pole sign light static", "manmade"),
    )
    for word in words.split()
)
_APART, _FAR = 40.0, 90.0
"""Least distance of two colours of a set in RGB, where there is one: of a shade, and of a hue of its own."""


def colour_table(classes: ClassSet) -> dict[str, Colour]:
    """A colour for each class of points and of boxes; a class of both kinds has one, no two have the same."""
    names = tuple(dict.fromkeys((*classes.classes, *classes.detection)))
    table: dict[str, Colour] = {name: classes.colours[name] for name in names if name in classes.colours}
    # Those that are called as a class of the palette come before those that only sound like one.
    for name in sorted(
        set(names) - set(table), key=lambda name: (name not in LIDARSEG_PALETTE, names.index(name))
    ):
        meant = _meant(name)
        candidates = _all_hues() if meant is None else (*_shades(meant), *_all_hues())
        table[name] = _free(candidates, table.values(), _FAR if meant is None else _APART)
    return {name: table[name] for name in names}


def class_colours(names: Sequence[str], classes: ClassSet | None = None) -> Rgb:
    """(K, 3) uint8 colour of each of K names of classes; categories of boxes have `box_colours`.

    Args:
        names: in any data set's spelling (`vehicle.car`, `Car`).
        classes: of the data set. A name that is no class of it, or any where it is None, has what it says of
            the 16 common classes, else a hue of its own.
    """
    table = {} if classes is None else colour_table(classes)
    colours = [table.get(name) or _meant(name) or _hue_of(name) for name in names]
    return np.array(colours, dtype=np.uint8).reshape(-1, 3)


def box_colours(names: Sequence[str], classes: ClassSet | None = None) -> Rgb:
    """(N, 3) uint8 colour of each of N boxes, as `box_legend` says it.

    Args:
        names: categories or detection classes of the boxes.
        classes: of the data set. A box has the colour of its detection class, and is neutral grey where it
            has none. None, or a set without detection classes: the name decides, as in `class_colours`.
    """
    if classes is None or not classes.detection:
        return class_colours(names, classes)
    table = colour_table(classes)
    meant = [_detection_class(name, classes) for name in names]
    colours = [NEUTRAL if name is None else table[name] for name in meant]
    return np.array(colours, dtype=np.uint8).reshape(-1, 3)


def label_colours(labels: NDArray[np.integer], names: Sequence[str], classes: ClassSet | None = None) -> Rgb:
    """(P, 3) uint8 of (P,) class ids into `names`; ids outside 0..K-1 (ignored points) are neutral grey."""
    table = np.vstack([class_colours(names, classes), [NEUTRAL]]).astype(np.uint8)
    known = (labels >= 0) & (labels < len(names))
    return table[np.where(known, labels, len(names))]


def box_legend(names: Iterable[str], classes: ClassSet | None = None) -> dict[str, Colour]:
    """Name and colour of each class among the categories or classes of boxes, in the order of the set."""
    if classes is None or not classes.detection:
        unique = sorted(set(names))
        return dict(zip(unique, map(tuple, class_colours(unique, classes).tolist()), strict=True))
    meant = {_detection_class(name, classes) for name in names}
    table = colour_table(classes)
    legend = {name: table[name] for name in classes.detection if name in meant}
    return legend | ({"no class": NEUTRAL} if None in meant else {})


def _detection_class(name: str, classes: ClassSet) -> str | None:
    """The class of boxes that a category or class means; None where it is ignored, or not known."""
    name = name if name in classes.detection else classes.boxes.get(name, "")
    return name if name in classes.detection else None


def _meant(name: str) -> Colour | None:
    """The colour of the palette that a name asks for."""
    lower = name.lower()
    key = name if name in LIDARSEG_PALETTE else next((key for word, key in _SYNONYMS if word in lower), None)
    return None if key is None else LIDARSEG_PALETTE[key]


def _hue_of(name: str) -> Colour:
    """A hue that is always the same for a name."""
    return _tuple(categorical_colours(np.array([crc32(name.encode()) % 4096]))[0])


def _all_hues() -> tuple[Colour, ...]:
    return tuple(map(_tuple, categorical_colours(np.arange(96))))


def _shades(colour: Colour) -> tuple[Colour, ...]:
    """A colour and some that look like it, the nearest first."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(value / 255 for value in colour))
    shades = [colour]
    for lighter, turn in (
        (-0.16, 0),
        (0.14, 0),
        (0, 0.05),
        (0, -0.05),
        (-0.16, 0.05),
        (0.14, -0.05),
        (-0.26, 0),
    ):
        level = min(max(lightness + lighter, 0.24), 0.9)
        shades.append(
            _tuple(np.round(255 * np.array(colorsys.hls_to_rgb((hue + turn) % 1, level, saturation))))
        )
    return tuple(shades)


def _free(candidates: Sequence[Colour], used: Iterable[Colour], distance: float) -> Colour:
    """The first candidate that is so far from all used colours, or the farthest."""
    taken = np.array(list(used), dtype=np.float64).reshape(-1, 3)
    if not len(taken):
        return candidates[0]
    apart = np.linalg.norm(np.array(candidates)[:, None] - taken[None], axis=2).min(axis=1)
    far = np.flatnonzero(apart >= distance)
    return candidates[int(far[0]) if len(far) else int(apart.argmax())]


def _tuple(colour: NDArray) -> Colour:
    red, green, blue = (int(value) for value in colour)
    return red, green, blue
