"""Where the files of a cache lie that has one for each sweep, or for each of its images."""

from __future__ import annotations

import re
from hashlib import blake2b
from pathlib import Path


def token_file(folder: Path, token: str, suffix: str = ".npz") -> Path:
    """File of a sweep in a cache; tokens are spread over 256 folders and may hold any character."""
    return spread_file(folder, token, token, "token", 80, suffix)


def spread_file(folder: Path, key: str, name: str, instead: str, longest: int, suffix: str) -> Path:
    """File of a key in one of 256 folders, begun with a name that a person reads.

    Args:
        name: shown where it is plain and no longer than `longest`; else `instead`.
    """
    digest = blake2b(key.encode(), digest_size=8).hexdigest()
    shown = name if re.fullmatch(rf"[A-Za-z0-9_.-]{{1,{longest}}}", name) else instead
    return folder / digest[:2] / f"{shown}-{digest[2:]}{suffix}"
