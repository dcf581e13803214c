"""A hand-made data set in nuScenes format, as small as the devkit accepts: labels, no points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pc3d.data.label_maps import NUSCENES_LIDARSEG_CATEGORIES

VERSION = "v1.0-hand"
SCENES = ("scene-0103", "scene-0916")
"""The scenes of mini_val, so that the official split look-up can be asked too."""
POINTS = 400


def _write_tables(root: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    (root / VERSION).mkdir(parents=True)
    for name, rows in tables.items():
        (root / VERSION / f"{name}.json").write_text(json.dumps(rows))


def _samples(scene: str, count: int) -> list[dict[str, Any]]:
    tokens = [f"{scene}-sample-{index}" for index in range(count)]
    return [
        {
            "token": token,
            "timestamp": index,
            "prev": tokens[index - 1] if index else "",
            "next": tokens[index + 1] if index + 1 < count else "",
            "scene_token": scene,
        }
        for index, token in enumerate(tokens)
    ]


def make_nuscenes(root: Path, samples_per_scene: int = 2) -> None:
    """Tables, a map picture and random lidarseg labels (without trailers: an absent class)."""
    samples = {scene: _samples(scene, samples_per_scene) for scene in SCENES}
    flat = [sample for scene in SCENES for sample in samples[scene]]
    tables: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("attribute", "visibility", "instance", "ego_pose", "sample_annotation")
    }
    tables["category"] = [
        {"token": name, "name": name, "description": "", "index": index}
        for index, name in enumerate(NUSCENES_LIDARSEG_CATEGORIES)
    ]
    tables["sensor"] = [{"token": "sensor", "channel": "LIDAR_TOP", "modality": "lidar"}]
    tables["calibrated_sensor"] = [{"token": "calibration", "sensor_token": "sensor"}]
    tables["log"] = [{"token": "log"}]
    tables["map"] = [{"token": "map", "log_tokens": ["log"], "filename": "map.png"}]
    tables["scene"] = [
        {
            "token": f"token of {scene}",
            "name": scene,
            "log_token": "log",
            "nbr_samples": samples_per_scene,
            "first_sample_token": samples[scene][0]["token"],
            "last_sample_token": samples[scene][-1]["token"],
        }
        for scene in SCENES
    ]
    tables["sample"] = flat
    tables["sample_data"] = [
        {
            "token": f"{sample['token']}-lidar",
            "sample_token": sample["token"],
            "calibrated_sensor_token": "calibration",
            "is_key_frame": True,
        }
        for sample in flat
    ]
    tables["lidarseg"] = [
        {
            "token": row["token"],
            "sample_data_token": row["token"],
            "filename": f"lidarseg/{VERSION}/{row['token']}_lidarseg.bin",
        }
        for row in tables["sample_data"]
    ]
    _write_tables(root, tables)
    (root / VERSION / "splits.json").write_text(json.dumps({"hand_val": [SCENES[1]], "hand_empty": []}))
    (root / "lidarseg" / VERSION).mkdir(parents=True)
    Image.new("L", (4, 4)).save(root / "map.png")
    rng = np.random.default_rng(0)
    kinds = [i for i, name in enumerate(NUSCENES_LIDARSEG_CATEGORIES) if name != "vehicle.trailer"]
    for row in tables["lidarseg"]:
        rng.choice(kinds, POINTS).astype(np.uint8).tofile(root / row["filename"])


@pytest.fixture(scope="session")
def hand_nuscenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of the hand-made data set (version `v1.0-hand`, splits `mini_val` and `hand_val`)."""
    root = tmp_path_factory.mktemp("hand") / "nuscenes"
    make_nuscenes(root)
    return root
