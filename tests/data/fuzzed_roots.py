"""The data sets and the indexes that pc3d reads: small sound ones, and how they are read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from fuzzed_formats import Format, Sources
from small_drives import kitti_drive, one_scene, small_map

from pc3d.data import map_targets
from pc3d.data.index import SweepIndex, write_index
from pc3d.data.readers import open_reader
from pc3d.data.records import Sweep
from pc3d.geometry.grid import BevGrid

TABLES = (
    "attribute", "calibrated_sensor", "category", "ego_pose", "instance", "log", "map", "sample",
    "sample_annotation", "sample_data", "scene", "sensor", "visibility", "lidarseg", "splits",
)  # fmt: skip


def _tables(name: str) -> Format:
    def make(folder: Path, sources: Sources) -> Path:
        tables = one_scene(sources.nuscenes, folder / "data")
        return tables / f"{name}.json"

    return Format(
        make, lambda path: read_root("nuscenes", path.parents[1], version=path.parent.name), True, True
    )


def read_root(reader: str, root: Path, **options: Any) -> Any:
    source = open_reader(reader, root, **options)
    out = root.parent / "index"
    shutil.rmtree(out, ignore_errors=True)
    write_index(out, source.sweeps(), {**source.metadata, "rebuild": "make"})
    index = SweepIndex.open(out)
    sweeps = [index[row] for row in range(len(index))]
    for sweep in sweeps:
        _check_sweep(sweep, root)
    return sweeps, source.metadata


def _check_sweep(sweep: Sweep, root: Path) -> None:
    """What no drive has, whatever its numbers are."""
    poses = [sweep.ego_SE3_lidar, sweep.world_SE3_ego]
    poses += [pose for camera in sweep.cameras for pose in (camera.ego_SE3_cam, camera.world_SE3_ego)]
    for pose in poses:
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-3)
    for camera in sweep.cameras:
        assert min(*np.diag(camera.intrinsics), *camera.size, camera.timestamp + 1) > 0
    for path in (sweep.path, sweep.lidarseg_path, *(camera.path for camera in sweep.cameras)):
        assert path is None or (path.is_relative_to(root) and ".." not in path.parts)
    assert sweep.timestamp >= 0
    if sweep.boxes is not None:
        assert (sweep.boxes.sizes > 0).all()


def _kitti(name: str, poses: str | None = None) -> Format:
    def make(folder: Path, _: Sources) -> Path:
        drive = kitti_drive(folder / "data" / "2011_09_26")
        return next(path for path in (drive.parent / name, drive / name) if path.exists())

    def read(path: Path) -> Any:
        root = next(parent for parent in path.parents if parent.name == "2011_09_26")
        return read_root("kitti_raw", root, poses=poses)

    return Format(make, read, True)


def _map(folder: Path, sources: Sources) -> Path:
    source = next((sources.nuscenes / "maps/expansion").glob("*.json"))
    return small_map(source, folder / "maps/expansion" / source.name)


def _read_map(path: Path) -> Any:
    map_targets._load_layers.cache_clear()
    rasteriser = map_targets.MapRasteriser(path.parents[2], path.stem)
    pose = np.eye(4)
    pose[:2, 3] = 320, 380
    return rasteriser.targets(pose, BevGrid(-20, 20, -20, 20, 1.0))


def _index(name: str, hashed: bool = True) -> Format:
    def make(folder: Path, sources: Sources) -> Path:
        shutil.copytree(sources.index.folder, folder / "index")
        if not hashed:
            path = folder / "index" / "metadata.json"
            facts = json.loads(path.read_text())
            kept = {k: v for k, v in facts.items() if k not in ("content", "maps", "metadata_sha256")}
            path.write_text(json.dumps(kept, indent=0))
        return folder / "index" / name

    return Format(make, _read_index, name.endswith("json"), folder=True)


def _read_index(path: Path) -> Any:
    folder = next(parent for parent in path.parents if parent.name == "index")
    index = SweepIndex.open(folder)
    sweeps = [index[row] for row in range(len(index))]
    rows = [index.row_of(sweep.token) for sweep in sweeps]
    scenes = [list(index.scene_rows(row)) for row in rows]
    keys = [index.key_rows(split) for split in (None, *index.splits)]
    return sweeps, scenes, keys, index.fingerprint


ROOTS: dict[str, Format] = {
    **{f"nuscenes {name}.json": _tables(name) for name in TABLES},
    "map expansion": Format(_map, _read_map, True),
    **{f"kitti {name}": _kitti(name) for name in ("calib_velo_to_cam.txt", "calib_cam_to_cam.txt")},
    "kitti calib_imu_to_velo.txt": _kitti("calib_imu_to_velo.txt", "oxts"),
    "kitti timestamps.txt": _kitti("velodyne_points/timestamps.txt"),
    "kitti oxts": _kitti("oxts/data/0000000001.txt", "oxts"),
    "index metadata.json": _index("metadata.json"),
    "index metadata.json without hashes": _index("metadata.json", hashed=False),
    "index tokens.npy": _index("tokens.npy"),
    "index tokens.npy without hashes": _index("tokens.npy", hashed=False),
    "index parquet": _index("sweeps.parquet/part-00000.parquet"),
}
