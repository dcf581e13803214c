"""2,000 steps hold memory and handles, and nothing of them is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from engine_configs import pretrain_config, read_metrics

STEPS = 2000
SMALL: dict[str, Any] = {
    "data.workers": 2,
    "data.batch_size": 1,
    "data.cameras": 1,
    "data.image_size": (64, 128),
    "objectives.slidr.pixel_stride": 8,
    "lidar.voxel_size": (1.0, 1.0, 1.0),
    "runtime.save_every": 100,
}


@pytest.mark.long
def test_2000_steps_hold_memory_and_handles(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    config = pretrain_config(tiny_index, tiny_regions, STEPS, "sim_slidr", **SMALL)
    (tmp_path / "config.py").write_text(config.pretty_text)
    (temporary := tmp_path / "temporary").mkdir()
    shared = set(os.listdir("/dev/shm"))
    paths = [str(tmp_path / name) for name in ("config.py", "run", "report.json")]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("soak_run.py")), *paths],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((tmp_path / "report.json").read_text())
    samples = report["samples"]
    memory = [sum(sample["resident"]) for sample in samples]
    quarter = len(samples) // 4
    warm, last = mean(memory[quarter : 2 * quarter]), mean(memory[-quarter:])
    print(f"resident: {warm / 2**20:.0f} MiB after warm-up, {last / 2**20:.0f} MiB at the end")
    assert abs(last / warm - 1) < 0.05
    # A batch on its way holds one or two for an instant.
    assert all(
        max(handles) - min(handles) <= 2 for handles in zip(*(s["handles"] for s in samples), strict=True)
    )
    assert samples[-1]["handles"] == samples[quarter]["handles"]
    print(f"handles: {samples[-1]['handles']}, {report['handles']} after the end")
    assert report["handles"] < samples[-1]["handles"][0]
    assert report["left"] == []
    assert not list(temporary.glob("pymp-*"))
    assert set(os.listdir("/dev/shm")) <= shared
    assert len(read_metrics(tmp_path / "run")) == STEPS
