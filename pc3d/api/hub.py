"""Where a checkpoint lies: a file, a run folder, or a repository of the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from pc3d.data.errors import fail

SCHEME = "hf://"
_NAME = re.compile(r"([\w.-]+/[\w.-]+?)(?:@([\w.-]+))?(?:/(.+))?")


def local_path(source: str | Path, file: str) -> Path:
    """The path of a checkpoint, fetched where it is not on this machine.

    Args:
        source: a path; or `hf://OWNER/NAME`, `hf://OWNER/NAME@REVISION`, either with `/FILE` behind it.
        file: of the repository, where the source names none.

    Raises:
        DataError: no such repository or file, or the hub cannot be reached and its cache lacks it.
    """
    text = str(source)
    if not text.startswith(SCHEME):
        return Path(source)
    match = _NAME.fullmatch(text.removeprefix(SCHEME))
    if match is None:
        fail("no name of a repository", text, "hf://OWNER/NAME, hf://OWNER/NAME@REVISION/FILE")
    from huggingface_hub import hf_hub_download

    repository, revision, inside = match.groups()
    try:
        return Path(hf_hub_download(repository, inside or file, revision=revision))
    except Exception as error:  # of many kinds, by what is missing
        reason = str(error).strip().splitlines()[0]
        fail(
            f"{inside or file} of the hub cannot be had: {reason}",
            text,
            "look at the name; without a network, fetch it before (the hub's cache is read)",
        )
