"""spconv is imported where a sparse network is built, and nowhere else: with CUDA that takes seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_data_worker_does_not_import_spconv(tiny_index: Path) -> None:
    script = Path(__file__).with_name("spawned_reader.py")
    command = [sys.executable, str(script), str(tiny_index)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["False", "False", "False", "True"]
