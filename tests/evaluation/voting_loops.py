"""Temporal voting as plain loops, and scans to vote with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import torch
from hypothesis import assume

from pc3d.data.batch import Needs
from pc3d.data.dataset import FrameDataset
from pc3d.data.index import SweepIndex
from pc3d.evaluation.temporal_voting import Scan, VotingConfig
from pc3d.geometry.rigid import make_SE3, yaw_matrix


def random_scan(rng: np.random.Generator, number: int, classes: int = 4, scene: str = "a") -> Scan:
    count = int(rng.integers(1, 80))
    pose = make_SE3(yaw_matrix(rng.uniform(-3, 3)), rng.uniform(-0.5, 0.5, 3))
    probabilities = torch.from_numpy(rng.dirichlet(np.ones(classes), count).astype(np.float32))
    return Scan(
        token=f"{scene}{number}",
        scene=scene,
        seconds=0.5 * number,
        xyz=torch.from_numpy(rng.uniform(-1, 1, (count, 3)).astype(np.float32)),
        world_SE3_lidar=pose,
        probabilities=probabilities,
        moving=torch.from_numpy(rng.random(count) < 0.2) if number % 2 else None,
    )


def looped_cells(window: list[Scan], now: int, size: float) -> list[list[tuple[int, ...]]]:
    """The voxel of each point of each scan, in the frame of scan `now`; none stands at a border."""
    to_now = np.linalg.inv(window[now].world_SE3_lidar)
    cells = []
    for scan in window:
        points = np.c_[scan.xyz.numpy().astype(np.float64), np.ones(len(scan.xyz))]
        places = (points @ (to_now @ scan.world_SE3_lidar).T)[:, :3] / size
        assume((np.abs(places - np.rint(places)) > 1e-9).all())
        cells.append([tuple(cell) for cell in np.floor(places).astype(int).tolist()])
    return cells


def clear_argmax(rows: np.ndarray) -> np.ndarray:
    """The class that each row says, by more than float32 rounds."""
    best = np.sort(rows, axis=-1)[..., -2:]
    assume((best[..., 1] - best[..., 0] > 1e-5).all())
    return rows.argmax(axis=-1)


def looped_vote(window: list[Scan], now: int, config: VotingConfig) -> np.ndarray:
    cells = looped_cells(window, now, config.voxel_size)
    total: dict[tuple[int, ...], np.ndarray] = defaultdict(lambda: np.zeros(4))
    weight: dict[tuple[int, ...], float] = defaultdict(float)

    def moves(scan: Scan, point: int) -> bool:
        return scan.moving is not None and bool(scan.moving[point])

    for scan, own in zip(window, cells, strict=True):
        gap = abs(scan.seconds - window[now].seconds)
        share = 1.0 if config.half_life is None else 2.0 ** (-gap / config.half_life)
        for point, cell in enumerate(own):
            if not moves(scan, point):
                total[cell] += share * scan.probabilities[point].numpy().astype(np.float64)
                weight[cell] += share
    voted = window[now].probabilities.numpy().astype(np.float64)
    for point, cell in enumerate(cells[now]):
        may_move = int(window[now].probabilities[point].argmax()) in config.moving_classes
        if not may_move and not moves(window[now], point):
            mean = total[cell] / weight[cell]
            voted[point] = mean if config.combine == "replace" else (mean + voted[point]) / 2
    return voted


def looped_agreement(window: list[Scan], now: int, labels: np.ndarray, size: float) -> np.ndarray:
    cells = looped_cells(window, now, size)
    count = np.zeros(len(labels), dtype=int)
    for scan, own in zip(window, cells, strict=True):
        points = defaultdict(list)
        for point, cell in enumerate(own):
            points[cell].append(scan.probabilities[point].double().numpy())
        says = {cell: int(clear_argmax(np.mean(rows, axis=0))) for cell, rows in points.items()}
        count += [says.get(cell) == int(label) for cell, label in zip(cells[now], labels, strict=True)]
    return count


def noisy_scans(index: SweepIndex, split: str, noise: float) -> Iterator[Scan]:
    """The truth with a share of its labels drawn anew, as soft predictions."""
    generator = torch.Generator().manual_seed(0)
    dataset = FrameDataset(index, Needs(labels=True), split=split)
    for position, row in enumerate(dataset.rows):
        frame, sweep = dataset[position].frames["t"], index[int(row)]
        truth = torch.from_numpy(frame.labels)
        drawn = torch.randint(0, 16, truth.shape, generator=generator)
        labels = torch.where(torch.rand(truth.shape, generator=generator) < noise, drawn, truth.clamp(min=0))
        soft = 0.6 * torch.eye(16)[labels] + 0.4 / 16
        xyz = torch.from_numpy(frame.views["a"].points[:, :3])
        yield Scan(
            sweep.token, sweep.scene, 1e-6 * sweep.timestamp, xyz, frame.world_SE3_lidar, soft, labels=truth
        )
