"""How close simulated sweeps are to a real one: the statistics that the methods here depend on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import DataError
from pc3d.geometry.camera import in_image, project
from pc3d.models.image.base import ImageEncoder
from pc3d.regions.clusters import dbscan
from pc3d.regions.ground import ground_mask, in_range
from pc3d.regions.lidar_regions import RegionParams, lidar_regions
from pc3d.regions.superpixels import SuperpixelParams, superpixels
from pc3d.sim.rig import FULL_SIZE, nuscenes_rig
from pc3d.sim.types import CameraShot

SENSOR_HEIGHT = 1.84
NEAR = 3.0
RANGE_EDGES = np.array([0, 0.5, 1, 3, 5, 7.5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 200.0])
INTENSITY_EDGES = np.array([0, 2, 4, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 70, 100, 256.0])


def in_cameras(points: NDArray) -> NDArray[np.bool_]:
    """(P,) whether points (P, >= 3) of the LiDAR frame fall into any camera of the nuScenes rig."""
    rig = nuscenes_rig(FULL_SIZE)
    ego = points[:, :3] @ rig.ego_SE3_lidar[:3, :3].T + rig.ego_SE3_lidar[:3, 3]
    seen = np.zeros(len(points), dtype=bool)
    for ego_SE3_cam, intrinsics in rig.cameras.values():
        uv, _ = project((ego - ego_SE3_cam[:3, 3]) @ ego_SE3_cam[:3, :3], intrinsics)
        seen |= in_image(uv, rig.image_size)
    return seen


def measure(points: NDArray) -> dict[str, float]:
    """Statistics of one sweep of a nuScenes-like car.

    Args:
        points: (P, >= 4) float x y z (m, LiDAR frame), intensity 0..255.

    Returns:
        returns: number of rows. near: share within 3 m of the sensor. non_ground: share that the
        region pipeline's ground fit leaves. clusters: of the DBSCAN of these points in x, y.
        regions: clusters that the region pipeline keeps. in_image, in_image_far:
        share in any camera, of all points and of those beyond 3 m. range_median,
        intensity_median: of the points beyond 3 m.
    """
    distance = np.linalg.norm(points[:, :3], axis=1)
    far = distance > NEAR
    seen = in_cameras(points)
    params = RegionParams()
    ground = ground_mask(points, SENSOR_HEIGHT, params)
    standing = np.asarray(points[in_range(points, params) & ~ground, :2], dtype=np.float64)
    clusters = dbscan(standing, params.cluster_eps, params.cluster_min_samples)
    return {
        "returns": float(len(points)),
        "near": float((~far).mean()),
        "non_ground": float(1.0 - ground.mean()),
        "clusters": float(clusters.max(initial=-1) + 1),
        "regions": float(lidar_regions(points, SENSOR_HEIGHT).max(initial=-1) + 1),
        "in_image": float(seen.mean()),
        "in_image_far": float(seen[far].mean()),
        "range_median": float(np.median(distance[far])),
        "intensity_median": float(np.median(points[far, 3])),
    }


def histograms(points: NDArray) -> dict[str, NDArray[np.float64]]:
    """Normalised histograms of range (all points) and intensity (points beyond 3 m)."""
    distance = np.linalg.norm(points[:, :3], axis=1)
    counts = {
        "range": np.histogram(distance, RANGE_EDGES)[0],
        "intensity": np.histogram(points[distance > NEAR, 3], INTENSITY_EDGES)[0],
    }
    return {name: count / max(count.sum(), 1) for name, count in counts.items()}


@dataclass(frozen=True)
class RealismRow:
    """One statistic of the real sweep and of the simulated ones.

    Attributes:
        name: of the statistic. real, simulated: its value, the latter averaged over the sweeps.
        spread: standard deviation over the simulated sweeps.
        deviation: |simulated - real| / real; for the distances of histograms (real is 0) the
            total variation itself, 0..1.
    """

    name: str
    real: float
    simulated: float
    spread: float
    deviation: float


def real_sweep(root: Path) -> NDArray[np.float32]:
    """(P, 5) points of the first LIDAR_TOP key frame of a nuScenes folder.

    Raises:
        DataError: if there is none, or its size is not a multiple of five float32.
    """
    tables = sorted(root.glob("v1.0-*/sample_data.json"))
    rows = json.loads(tables[0].read_text()) if tables else []
    files = [r["filename"] for r in rows if r["is_key_frame"] and "LIDAR_TOP" in r["filename"]]
    if not files:
        raise DataError(f"{root}: no LIDAR_TOP key frame in v1.0-*/sample_data.json")
    values = np.fromfile(root / files[0], dtype=np.float32)
    if values.size % 5:
        raise DataError(f"{root / files[0]}: {values.size} floats are no rows of five; the file is cut off")
    return values.reshape(-1, 5)


def compare(real: NDArray, simulated: Sequence[NDArray]) -> list[RealismRow]:
    """Set simulated sweeps (P, >= 4) beside a real one.

    Raises:
        ValueError: if there is no simulated sweep.
    """
    if not simulated:
        raise ValueError("no simulated sweep to compare; give at least one")
    truth, found = measure(real), [measure(points) for points in simulated]
    rows = []
    for name, value in truth.items():
        values = np.array([f[name] for f in found])
        deviation = abs(values.mean() - value) / abs(value)
        rows.append(RealismRow(name, value, float(values.mean()), float(values.std()), float(deviation)))
    wanted, got = histograms(real), [histograms(points) for points in simulated]
    for name, histogram in wanted.items():
        each = np.array([0.5 * np.abs(g[name] - histogram).sum() for g in got])
        pooled = 0.5 * np.abs(np.mean([g[name] for g in got], axis=0) - histogram).sum()
        rows.append(RealismRow(f"{name}_distance", 0.0, float(pooled), float(each.std()), float(pooled)))
    return rows


Patches = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]
"""Features (S, C), mean colours (S, 3) and lidarseg categories (S,) of superpixels."""


def patches(shots: Sequence[CameraShot], encoder: ImageEncoder, params: SuperpixelParams) -> Patches:
    """Superpixels of simulated images whose majority category fills at least 60 % of them.

    The features of a superpixel are the mean over its pixels of the encoder's (enlarged) map.
    """
    import torch

    features, colours, labels = [], [], []
    for shot in shots:
        ids = superpixels(shot.rgb, params).astype(np.int64).ravel()
        count = np.maximum(np.bincount(ids), 1)
        image = torch.from_numpy(shot.rgb).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            grid = torch.nn.functional.interpolate(encoder(image), shot.rgb.shape[:2], mode="bilinear")
        columns = grid[0].flatten(1).double().numpy()
        pooled = np.stack([np.bincount(ids, weights=column) for column in columns], axis=1)
        votes = np.bincount(ids * 256 + shot.labels.ravel(), minlength=len(count) * 256).reshape(-1, 256)
        keep = votes.max(axis=1) >= 0.6 * count
        features.append((pooled / count[:, None])[keep])
        mean = np.stack([np.bincount(ids, weights=shot.rgb[..., a].ravel()) for a in range(3)], axis=1)
        colours.append((mean / count[:, None])[keep])
        labels.append(votes.argmax(axis=1)[keep])
    return np.concatenate(features), np.concatenate(colours), np.concatenate(labels)


def texture_probe(
    train: Sequence[CameraShot],
    val: Sequence[CameraShot],
    encoder: ImageEncoder,
    params: SuperpixelParams | None = None,
) -> dict[str, float]:
    """How much more than colour a pretrained image network sees in simulated images.

    A multinomial logistic regression per superpixel, on the frozen features and on the mean colour,
    is fitted on `train` and scored on `val` (images of other scenes).

    Args:
        params: of the superpixels; 400 a picture by default, since 150 swallow most small objects.

    Returns:
        features, colour: mean IoU over the categories of the validation superpixels (those with at
        least 10 of them). ratio: of the two. classes: how many categories.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    params = params or SuperpixelParams(segments=400)
    fit, held = patches(train, encoder, params), patches(val, encoder, params)
    classes, counts = np.unique(held[2], return_counts=True)
    classes = classes[counts >= 10]
    scores = []
    for kind in (0, 1):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        found = probe.fit(fit[kind], fit[2]).predict(held[kind])
        both = [np.sum((found == k) & (held[2] == k)) for k in classes]
        either = [np.sum((found == k) | (held[2] == k)) for k in classes]
        scores.append(float(np.mean(np.array(both) / np.array(either))))
    ratio = scores[0] / max(scores[1], 1e-9)
    return {"features": scores[0], "colour": scores[1], "ratio": ratio, "classes": float(len(classes))}
