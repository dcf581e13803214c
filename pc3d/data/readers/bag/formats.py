"""The LiDAR formats of a bag: those of the first one, where they fit; else its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pc3d.data.errors import fail
from pc3d.data.readers.bag.columns import point_format_of, shared
from pc3d.data.readers.bag.files import BagPath
from pc3d.data.readers.bag.guesses import look_at
from pc3d.data.readers.bag.look import Look, misfits
from pc3d.data.readers.bag.opened import Bag
from pc3d.data.readers.bag.options import BagOptions
from pc3d.findings import Finding

Formats = dict[str, str]


def first_formats(
    bag: Bag, path: BagPath, topics: Sequence[str], options: BagOptions
) -> tuple[Formats, list[Finding]]:
    """The LiDAR format of each topic of points of the first bag, and what was guessed.

    Raises:
        DataError: see `look_at`; the clouds of a topic hold no point.
    """
    looks: dict[str, Look] = {}
    found: list[Finding] = []
    for topic in topics:
        look = look_at(bag, topic, options, path.file) if topic in bag.kinds else None
        if look is not None:
            looks[topic] = look
        elif topic in bag.kinds:
            fail(f"the clouds of {topic} hold no point", path.file, "choose another topic")
        else:
            text = f"the first bag {path.scene} lacks it: it is left out"
            found.append(Finding(f"LiDAR {topic}", "warning", text, "index its bag by itself"))
    formats: Formats = {}
    for topic, look in looks.items():
        formats[topic], said = _format(look, looks, options, path)
        found += said
    return formats, found


def formats_of(bag: Bag, path: BagPath, first: Formats, options: BagOptions) -> tuple[Formats, list[Finding]]:
    """The LiDAR formats of a later bag: the first one's, unless they do not fit its clouds.

    One sensor has one unit, though its guess would differ a little from drive to drive.

    Raises:
        DataError: see `look_at`; clouds lack a field that an option names.
    """
    seen = {topic: look_at(bag, topic, options, path.file) for topic in first if topic in bag.kinds}
    looks = {topic: look for topic, look in seen.items() if look is not None}
    formats, found = dict(first), []
    for topic, look in looks.items():
        reasons = misfits(look, first[topic])
        if not reasons:
            continue
        formats[topic], said = _format(look, looks, options, path)
        odd = [f"{finding.name}: {finding.text}" for finding in said if finding.state != "ok"]
        if formats[topic] == first[topic] and not any("as stated" in text for text in odd):
            continue
        text = f"other than in the first bag ({'; '.join(reasons)}); read as {formats[topic]}"
        remedy = "index it by itself, with --intensity and --point-time as they are there"
        found.append(Finding(f"points of {topic} in bag {path.scene}", "warning", text, remedy))
    return formats, found


def _format(
    look: Look, looks: Mapping[str, Look], options: BagOptions, path: BagPath
) -> tuple[str, list[Finding]]:
    time, intensity = (
        shared(values, looks, look.topic) for values in (options.point_time, options.intensity)
    )
    return point_format_of(look, time, intensity, path.file)
