"""Fixtures that every part shares: the real samples and a tiny simulated data set."""

from __future__ import annotations

import os

# On a machine with a GPU the tests would train there, ask sums by atomics for equal bits, and start two
# NCCL ranks on one card.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real samples (`PC3D_REAL_DATA`, else the folder beside the checkout)."""
    folder = Path(os.environ.get("PC3D_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "nuscenes").is_dir():
        pytest.skip(f"no real samples at {folder}; set PC3D_REAL_DATA to their folder")
    return folder


def _once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one test process makes for all of them."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / name
    with FileLock(shared / f"{name}.lock"):
        if not (shared / f"{name}.done").exists():
            make(folder)
            (shared / f"{name}.done").touch()
    return folder


@pytest.fixture(scope="session")
def tiny_nuscenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a simulated `tiny` data set in nuScenes format (version folder `v1.0-sim`)."""
    from pc3d.sim.writer import write_dataset

    return _once(tmp_path_factory, "tiny", lambda root: write_dataset(root, size="tiny", seed=0, workers=1))


@pytest.fixture(scope="session")
def tiny_index(tmp_path_factory: pytest.TempPathFactory, tiny_nuscenes: Path) -> Path:
    """Index folder of `tiny_nuscenes`."""
    from pc3d.data.build import build_index

    def make(folder: Path) -> None:
        build_index("nuscenes", tiny_nuscenes, folder, "the fixture", version="v1.0-sim")

    return _once(tmp_path_factory, "tiny-index", make)


@pytest.fixture(scope="session")
def tiny_regions(tmp_path_factory: pytest.TempPathFactory, tiny_index: Path) -> Path:
    """Region caches of `tiny_index`."""
    from pc3d.data.index import SweepIndex
    from pc3d.demo.steps import REGIONS
    from pc3d.regions.build import build_sweep, prepare
    from pc3d.regions.key_frame import key_frames
    from pc3d.regions.objects import ObjectParams
    from pc3d.regions.semantics import SemanticParams
    from pc3d.regions.supervoxels import SupervoxelParams
    from pc3d.regions.tracks import TrackParams

    def make(folder: Path) -> None:
        index = SweepIndex.open(tiny_index)
        kinds = {
            **REGIONS,
            "semantics": SemanticParams(),
            "supervoxels": SupervoxelParams(),
            "objects": ObjectParams(),
            "tracks": TrackParams(),
        }
        prepare(index, folder, kinds)
        oracle = {"semantics": SemanticParams(source="oracle")}
        for frame in key_frames(index, index.key_rows(None)):
            for wanted in (kinds, oracle):
                summary = build_sweep(frame, str(folder), wanted)
                assert not summary.failures

    return _once(tmp_path_factory, "tiny-regions", make)
