"""Weights for the stacks that people run: which targets there are, and how a checkpoint goes out.

A new target is one file here and one line in `TARGETS`.
"""

from __future__ import annotations

from pathlib import Path

import torch

from pc3d.data.errors import did_you_mean
from pc3d.export import hub_folder, image, mmdet3d, onnx_target, openpcdet, unets
from pc3d.export.base import Exported, Options, Target
from pc3d.export.source import read_source
from pc3d.storage.whole import new_file, write_bytes

TARGETS: dict[str, Target] = {
    "openpcdet": openpcdet.TARGET,
    "mmdet3d": mmdet3d.TARGET,
    **unets.TARGETS,
    **image.TARGETS,
    **onnx_target.TARGETS,
    **hub_folder.TARGETS,
}


def export_checkpoint(
    checkpoint: Path, target: str, out: Path, options: Options | None = None
) -> tuple[list[Path], Exported]:
    """Write the network of a checkpoint for a target: its weights, and the snippet of its config.

    Args:
        checkpoint: `.safetensors` of pretraining or fine-tuning, or the folder of a run.
        target: key of `TARGETS`.
        out: folder to write into; it is made.
        options: what the checkpoint does not tell.

    Returns:
        The files, weights first; and what is in them.

    Raises:
        ValueError: an unknown target or option.
        DataError: the checkpoint cannot be read, or its network cannot be equal in the target, and why.
    """
    if target not in TARGETS:
        near, known = did_you_mean(target, TARGETS), ", ".join(TARGETS)
        raise ValueError(f"unknown target {target!r}{near}; known: {known}")
    chosen = TARGETS[target]
    exported = chosen.export(read_source(Path(checkpoint), chosen.part), options or Options())
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    weights = exported.write(out) if exported.write else [_write(chosen, exported, out / f"{target}.pth")]
    snippet = out / f"{target}.{chosen.suffix}"
    write_bytes(snippet, _snippet(chosen, exported, weights[0], Path(checkpoint)).encode())
    return [*weights, snippet], exported


def _write(target: Target, exported: Exported, path: Path) -> Path:
    with new_file(path) as file:
        torch.save(target.wrap(exported.tensors), file)  # type: ignore[arg-type]  # it needs `write` alone
    return path


def _snippet(target: Target, exported: Exported, weights: Path, checkpoint: Path) -> str:
    """The part of the target's config, under comments of what to know."""
    lines = [
        f"Written by `pc3d export` from {checkpoint.name}. What stands here must stand in your config.",
        f"Load the weights: {target.loading.format(file=weights.name)}.",
        *exported.notes,
        *(f"Left out: {part} ({why})." for part, why in exported.left_out.items()),
    ]
    return "".join(f"{target.comment} {line}\n" for line in lines) + exported.snippet
