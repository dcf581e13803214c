"""Small sound data sets on disk: one scene of a simulated data set, a bit of its map, a KITTI drive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

VERSION = "v1.0-sim"
Rows = list[dict[str, Any]]


def one_scene(source: Path, target: Path, keys: int = 2) -> Path:
    """The first key frames of one scene of a data set, whose files are linked; gives the version folder."""
    target.mkdir(parents=True, exist_ok=True)
    for folder in source.iterdir():
        if folder.name != VERSION:
            (target / folder.name).symlink_to(folder)
    tables: dict[str, Any] = {
        path.stem: json.loads(path.read_text()) for path in (source / VERSION).iterdir()
    }

    def keep(table: str, column: str, tokens: set[str]) -> None:
        tables[table] = [row for row in tables[table] if row[column] in tokens]

    def every(table: str, column: str) -> set[str]:
        return {row[column] for row in tables[table]}

    tables["scene"] = tables["scene"][:1]
    keep("sample", "scene_token", every("scene", "token"))
    tables["sample"] = sorted(tables["sample"], key=lambda row: row["timestamp"])[:keys]
    for table in ("sample_data", "sample_annotation"):
        keep(table, "sample_token", every("sample", "token"))
    shown = list(dict.fromkeys(row["instance_token"] for row in tables["sample_annotation"]))[:8]
    keep("sample_annotation", "instance_token", set(shown))
    keep("ego_pose", "token", every("sample_data", "ego_pose_token"))
    keep("instance", "token", every("sample_annotation", "instance_token"))
    keep("lidarseg", "sample_data_token", every("sample_data", "token"))
    _end_chains(tables)
    (target / VERSION).mkdir()
    for name, rows in tables.items():
        (target / VERSION / f"{name}.json").write_text(json.dumps(rows, indent=0))
    return target / VERSION


def _end_chains(tables: dict[str, Rows]) -> None:
    """Nothing points to a row that was left out."""
    for table in ("sample", "sample_data", "sample_annotation"):
        tokens = {row["token"] for row in tables[table]}
        for row in tables[table]:
            row.update({way: row[way] if row[way] in tokens else "" for way in ("prev", "next")})
    for instance in tables["instance"]:
        own = [r["token"] for r in tables["sample_annotation"] if r["instance_token"] == instance["token"]]
        ends = {"first_annotation_token": own[0], "last_annotation_token": own[-1]}
        instance.update({**ends, "nbr_annotations": len(own)})
    scene = tables["scene"][0]
    first, last = tables["sample"][0]["token"], tables["sample"][-1]["token"]
    scene.update(first_sample_token=first, last_sample_token=last, nbr_samples=len(tables["sample"]))


def small_map(source: Path, target: Path, rows: int = 2) -> Path:
    """A map of the first rows of each layer of another."""
    town = json.loads(source.read_text())
    for layer, content in town.items():
        if isinstance(content, list) and layer not in ("node", "polygon", "line", "canvas_edge"):
            town[layer] = content[:rows]
    lanes = [row["token"] for layer in ("lane", "lane_connector") for row in town[layer]]
    for name in ("arcline_path_3", "connectivity"):
        town[name] = {token: town[name][token] for token in lanes if token in town[name]}
    used = json.dumps({k: v for k, v in town.items() if k not in ("node", "polygon", "line")})
    for layer in ("polygon", "line"):
        town[layer] = [row for row in town[layer] if row["token"] in used]
        used += json.dumps(town[layer])
    town["node"] = [row for row in town["node"] if row["token"] in used]
    target.parent.mkdir(parents=True)
    target.write_text(json.dumps(town, indent=0))
    return target


def _line(name: str, values: Any) -> str:
    return f"{name}: " + " ".join(f"{value:.6e}" for value in np.ravel(values)) + "\n"


def kitti_drive(folder: Path, frames: int = 3) -> Path:
    """A date folder of KITTI raw with one drive, two cameras (one with pictures), OXTS and timestamps."""
    rng = np.random.default_rng(0)
    drive = folder / "2011_09_26_drive_0001_sync"
    for part in ("velodyne_points/data", "image_02/data", "oxts/data"):
        (drive / part).mkdir(parents=True)
    cam_R_velo = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    K = np.array([[72.0, 0, 60], [0, 72, 17], [0, 0, 1]])
    rigid = "calib_time: 15-Mar-2012 11:37:16\n" + _line("R", cam_R_velo) + _line("T", [0, -0.08, -0.27])
    (folder / "calib_velo_to_cam.txt").write_text(rigid)
    (folder / "calib_imu_to_velo.txt").write_text(_line("R", np.eye(3)) + _line("T", [-0.8, 0.3, -0.8]))
    entries = (
        "calib_time: 09-Jan-2012 13:57:47\n" + _line("S_rect_02", [124, 37]) + _line("R_rect_00", np.eye(3))
    )
    entries += _line("P_rect_02", np.column_stack([K, [4.5, 0.2, 0.003]]))
    (folder / "calib_cam_to_cam.txt").write_text(entries)
    stamps = []
    for number in range(frames):
        points = rng.uniform(-30, 30, (200, 4)).astype(np.float32)
        points[:, 3] = rng.uniform(0, 0.99, 200)
        points.tofile(drive / f"velodyne_points/data/{number:010d}.bin")
        picture = Image.fromarray(rng.integers(0, 256, (37, 124, 3)).astype(np.uint8))
        picture.save(drive / f"image_02/data/{number:010d}.png")
        oxts = [49.015 + 1e-5 * number, 8.434, 112.8, 0.02, 0.001, 1.57, *rng.normal(size=24)]
        (drive / f"oxts/data/{number:010d}.txt").write_text(
            " ".join(f"{value:.12f}" for value in oxts) + "\n"
        )
        stamps.append(f"2011-09-26 13:02:25.{951 + 9 * number:03d}199337")
    for sensor in ("velodyne_points", "image_02", "oxts"):
        (drive / sensor / "timestamps.txt").write_text("\n".join(stamps) + "\n")
    return drive
