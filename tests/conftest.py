"""Fixtures that every part shares: the real samples and a tiny simulated data set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real samples (`PC3D_REAL_DATA`, else the folder beside the checkout)."""
    folder = Path(os.environ.get("PC3D_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "nuscenes").is_dir():
        pytest.skip(f"no real samples at {folder}; set PC3D_REAL_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def tiny_nuscenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a simulated `tiny` data set in nuScenes format (version folder `v1.0-sim`)."""
    from pc3d.sim.writer import write_dataset

    root = tmp_path_factory.mktemp("sim") / "tiny"
    write_dataset(root, size="tiny", seed=0, workers=1)
    return root
