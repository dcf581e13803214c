"""Where the simulated scenes lie: the official towns, and one plot of land per scene."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pc3d.sim.tables import token

PLOT = 560.0
"""Metres between the origins of neighbouring scenes; a scene's map stays within half of it."""

SCENES_PER_TOWN = 6
"""Scenes that a town receives before the next one is opened."""


@dataclass(frozen=True)
class Town:
    """A location that `NuScenesMap` accepts.

    Attributes:
        name: location of the log, e.g. `singapore-onenorth`.
        canvas: (width, height) of the official map in metres.
        map_hash: name of the semantic prior's PNG that the devkit's `BitMap` looks for.
    """

    name: str
    canvas: tuple[float, float]
    map_hash: str

    @property
    def plots(self) -> tuple[int, int]:
        """Columns and rows of plots that fit on the official canvas."""
        return int(self.canvas[0] // PLOT), int(self.canvas[1] // PLOT)


# Boston first: simulated traffic keeps to the right.
TOWNS = (
    Town("boston-seaport", (2979.5, 2118.1), "36092f0b03a857c6a3403e25b4b7aab3"),
    Town("singapore-onenorth", (1585.6, 2025.0), "53992ee3023e5494b90c316c183be829"),
    Town("singapore-hollandvillage", (2808.3, 2922.9), "37819e65e09e5547b8a3ceaefba56bb2"),
    Town("singapore-queenstown", (3228.6, 3687.1), "93406b464a165eaba6d9de76ca09f5da"),
)


@dataclass(frozen=True)
class ScenePlan:
    """One scene to be written.

    Attributes:
        name, split: e.g. `sim-0001`, `sim_train`.
        town: its location. origin: (x, y) in metres on the canvas of the town.
        seed: of this scene, drawn from the seed of the data set and the scene's number.
        start: microseconds since 1970 at the scene's time 0.
        dataset: what all tokens of the data set begin with before they are hashed.
    """

    name: str
    split: str
    town: Town
    origin: tuple[float, float]
    seed: int
    start: int
    dataset: str

    @property
    def namespace(self) -> str:
        """What the scene's tokens begin with before they are hashed."""
        return f"{self.dataset}/{self.name}"

    @property
    def logfile(self) -> str:
        """Name of the log that the scenes of a town share."""
        return f"sim-{self.town.name}"

    @property
    def log_token(self) -> str:
        return token(self.dataset, "log", self.logfile)


def plan_scenes(train: int, val: int, seed: int, version: str) -> list[ScenePlan]:
    """Places scenes on plots, dealing them out over as few towns as hold them.

    Args:
        train, val: number of scenes of the splits `sim_train` and `sim_val`.
        seed: seed of the data set. version: name of the version folder.

    Raises:
        ValueError: no scene is asked for, or more than the four towns hold.
    """
    count = train + val
    if train < 0 or val < 0 or count == 0:
        raise ValueError(f"a data set needs at least one scene, got {train} train and {val} val scenes")
    towns = TOWNS[: min(-(-count // SCENES_PER_TOWN), len(TOWNS))]
    plans: list[ScenePlan] = []
    used = [0] * len(towns)
    for index in range(count):
        roomy = [t for t, town in enumerate(towns) if used[t] < town.plots[0] * town.plots[1]]
        if not roomy:
            raise ValueError(f"{count} scenes do not fit on the four towns; at most {len(plans)} do")
        t = min(roomy, key=lambda t: used[t])
        name = f"sim-{index + 1:04d}"
        plans.append(
            ScenePlan(
                name=name,
                split="sim_train" if index < train else "sim_val",
                town=towns[t],
                origin=_plot_centre(towns[t], used[t]),
                seed=int(np.random.SeedSequence([seed, index]).generate_state(1)[0]),
                start=1_704_096_000_000_000 + index * 60_000_000,  # 2024-01-01 08:00 UTC, a minute apart
                dataset=f"{version}/{seed}",
            )
        )
        used[t] += 1
    return plans


def _plot_centre(town: Town, number: int) -> tuple[float, float]:
    column, row = divmod(number, town.plots[1])
    return (column + 0.5) * PLOT, (row + 0.5) * PLOT


def needed_canvas(plans: Iterable[ScenePlan]) -> tuple[float, float]:
    """(width, height) in metres of the part of a town that its scenes take.

    It is smaller than the official canvas, whose semantic prior takes the devkit seconds and gigabytes.
    """
    origins = np.array([plan.origin for plan in plans])
    width, height = (origins.max(axis=0) + PLOT / 2).tolist()
    return width, height
