"""The tensors of a checkpoint of somebody else: read as data, found behind whatever prefix."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pc3d.data.errors import fail

SHOWN = 40


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file of `torch.save`, their names joined by dots over nested dictionaries.

    Half precision becomes float32. Nothing in the file is executed (`weights_only=True`).

    Raises:
        DataError: no such file, not a checkpoint, or one that needs pickled objects.
    """
    if not path.is_file():
        fail("no checkpoint", path, "download it from its project first")
    with path.open("rb") as file:
        if not file.read(2).startswith((b"PK", b"\x80")):  # a zip archive, or a pickle of old versions
            fail("the file is no PyTorch checkpoint", path, "download it again, and unpack archives first")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        objects = f"pickled objects ({named[1]})" if named else "pickled objects"
        fail(
            f"the checkpoint holds {objects}, which are code and not run here",
            path,
            "if you trust it, keep its weights only, where its own packages are installed: python -c "
            "\"import torch; file = torch.load('IN', map_location='cpu', weights_only=False); "
            "torch.save({'state_dict': file['state_dict']}, 'OUT')\"",
        )
    except Exception as error:  # of a damaged file: of many kinds
        fail(f"the checkpoint cannot be read: {error or type(error).__name__}", path, "download it again")
    tensors = dict(_flat(content, ""))
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def _flat(content: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield prefix.removesuffix("."), content.detach()
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _flat(value, f"{prefix}{key}.")


def prefixes(tensors: Mapping[str, Tensor], markers: tuple[str, ...]) -> list[str]:
    """What stands before the names of a marker, each once, ascending."""
    return sorted(
        {
            name.removesuffix(marker)
            for name in tensors
            for marker in markers
            if name == marker or name.endswith(f".{marker}")
        }
    )


def find_prefix(
    tensors: Mapping[str, Tensor], markers: tuple[str, ...], path: Path, remedy: str, prefix: str | None
) -> str:
    """What stands before the name of a marker: `state_dict.module.` and the like.

    Args:
        tensors: of the file. markers: names of which the network has one.
        path, remedy: for the error.
        prefix: the one to take where the file holds several networks.

    Raises:
        DataError: no marker, or several and no `prefix`; it lists names and shapes, or the prefixes.
    """
    found = prefixes(tensors, markers)
    if prefix is not None:
        found = [p for p in found if p == prefix]
    if not found:
        shown = "".join(f"\n    {name} {tuple(t.shape)}" for name, t in list(tensors.items())[:SHOWN])
        more = f"\n    ... and {len(tensors) - SHOWN} more" if len(tensors) > SHOWN else ""
        behind = "" if prefix is None else f" behind {prefix!r}"
        fail(
            f"no tensor of the checkpoint is named {' or '.join(markers)}{behind}; it holds:{shown}{more}",
            path,
            remedy,
        )
    if len(found) > 1:
        fail(f"the checkpoint holds several networks, behind {found}", path, "choose one with --prefix")
    return found[0]


def behind_prefix(tensors: Mapping[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors behind `prefix`, without it, and what else there is by the part where its name differs."""
    ours: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            ours[name[len(prefix) :]] = tensor
            continue
        parts = name.split(".")
        same = 0
        while prefix.split(".")[: same + 1] == parts[: same + 1]:
            same += 1
        part = ".".join(parts[: same + 1])
        counts[part] = counts.get(part, 0) + 1
    return ours, {f"{part}.*": f"not of this network; {n} tensors" for part, n in counts.items()}
