"""Regions are the same bits whatever kernels BLAS and NumPy choose: clusters are of many machines."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pc3d.data.index import SweepIndex
from pc3d.regions.build import open_cache
from pc3d.regions.key_frame import key_frames

FRAMES = 4
KINDS = ("clusters", "supervoxels", "objects", "tracks")
OLD = {
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "AVX F16C FMA3 AVX2 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_ICL",
}
BUILD = f"""
import sys
from pc3d.data.index import SweepIndex
from pc3d.regions.build import KINDS, build_sweep
from pc3d.regions.key_frame import key_frames
index = SweepIndex.open(sys.argv[1])
for frame in key_frames(index, index.key_rows(None)[:{FRAMES}]):
    assert not build_sweep(frame, sys.argv[2], {{kind: KINDS[kind].params() for kind in {KINDS}}}).failures
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the kernels of other processors have no switch")
def test_regions_do_not_depend_on_kernels(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    """In a process with the kernels of a processor of 2008."""
    command = [sys.executable, "-c", BUILD, str(tiny_index), str(tmp_path)]
    subprocess.run(command, env={**os.environ, **OLD}, check=True, capture_output=True)
    index = SweepIndex.open(tiny_index)
    for frame in key_frames(index, index.key_rows(None)[:FRAMES]):
        for kind in KINDS:
            here, there = (
                open_cache(cache, kind).load_all(frame.now.token) for cache in (tiny_regions, tmp_path)
            )
            for name, ids in here.items():
                np.testing.assert_array_equal(there[name], ids, f"{kind}, {name}")
