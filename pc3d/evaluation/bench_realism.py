"""The simulator beside the real nuScenes key frame: statistics, textures, speed."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pc3d.evaluation.realism import compare, real_sweep, texture_probe
from pc3d.models.image.efficientnet import EfficientNetLite0
from pc3d.sim.cameras import shoot
from pc3d.sim.lidar import scan
from pc3d.sim.rig import CAMERAS
from pc3d.sim.sizes import SIZES
from pc3d.sim.types import CameraShot, SimScene
from pc3d.sim.world import build_scene


def run(real_data: Path, seed: int = 0, scenes: int = 12) -> dict[str, Any]:
    """Measure realism on scenes that no test looks at.

    Args:
        real_data: folder of the real samples.
        seed: of the first scene; the others follow.
        scenes: number of scenes, three sweeps each; two thirds of them fit the texture probe.

    Returns:
        `statistics`: rows of `compare`; `textures`: of `texture_probe`; `per_second`: sweeps and
        800 x 450 images on this process's one thread, after compilation.
    """
    worlds = [build_scene(f"realism-{i}", 1000 + seed + i, SIZES["bench"]) for i in range(scenes)]
    sweeps = [scan(world, at).points for world in worlds for at in (1.0, 4.0, 8.0)]
    rows = [asdict(row) for row in compare(real_sweep(real_data / "nuscenes"), sweeps)]
    fitted = 2 * scenes // 3
    encoder = EfficientNetLite0(levels=(8, 16))
    textures = texture_probe(_shots(worlds[:fitted]), _shots(worlds[fitted:]), encoder)
    return {"statistics": rows, "textures": textures, "per_second": _speed(worlds[0])}


def _shots(worlds: list[SimScene]) -> list[CameraShot]:
    """Two cameras of each scene, others for the next one."""
    return [
        shoot(world, 4.0, camera)
        for i, world in enumerate(worlds)
        for camera in (CAMERAS[i % len(CAMERAS)], CAMERAS[(i + 3) % len(CAMERAS)])
    ]


def _speed(world: SimScene) -> dict[str, float]:
    began = time.perf_counter()
    for i in range(20):
        scan(world, 0.05 * i)
    middle = time.perf_counter()
    for camera in CAMERAS:
        shoot(world, 2.0, camera)
    return {"sweeps": 20 / (middle - began), "images": len(CAMERAS) / (time.perf_counter() - middle)}
