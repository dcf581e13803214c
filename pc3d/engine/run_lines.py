"""Files of a run that have JSON lines, each with the step that it belongs to."""

from __future__ import annotations

import json
from pathlib import Path

from pc3d.storage.whole import write_bytes


def _step_of(line: str) -> float:
    """Step of a line; infinite where the line is none, as a killed writer may leave."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def keep_lines(path: Path, step: int) -> list[str]:
    """Cut a file down to its lines up to `step`, and return them; no file has no line."""
    if not path.exists():
        return []
    kept = [line for line in path.read_text(errors="replace").splitlines() if _step_of(line) <= step]
    write_bytes(path, "".join(line + "\n" for line in kept).encode())
    return kept
