"""Names of sensors, folders and drives that are made of topics and paths: never one for two."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence


def plain_name(topic: str) -> str:
    """A topic as the name of a sensor or folder; `/a/b` and `/a_b` have one."""
    return topic.strip("/").replace("/", "_") or "root"


def distinct_names(forms: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """A name for each thing: the first of its forms that no other has; if none is left, the last with a
    checksum of the thing.

    Things of one name all go on to their next form, so that a name does not hang on the order of things.
    Letters that differ in case only are the same, as in some file systems.

    Args:
        forms: of each thing, the likeliest first.
    """
    known = {
        thing: [*names, f"{names[-1]}_{zlib.crc32(thing.encode()):08x}"] for thing, names in forms.items()
    }
    level = dict.fromkeys(known, 0)
    while True:
        names = {thing: known[thing][level[thing]] for thing in known}
        taken = Counter(name.lower() for name in names.values())
        twice = [t for t, n in names.items() if taken[n.lower()] > 1 and level[t] + 1 < len(known[t])]
        if not twice:
            return names
        for thing in twice:
            level[thing] += 1


def topic_names(topics: Iterable[str]) -> dict[str, str]:
    """The name of each topic as a sensor or folder: `left_points`, and `left__points` beside another."""
    return distinct_names(
        {topic: [plain_name(topic), topic.strip("/").replace("/", "__") or "root"] for topic in topics}
    )
