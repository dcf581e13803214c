"""Sun, sky and shadows: a map of heights seen from the sun (shadow mapping; Williams, 1978)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pc3d.sim.primitives import Primitives
from pc3d.sim.raycast import cast_sun
from pc3d.sim.types import Float

CELL = 0.2
REACH = 130.0
"""Shadows are cast within this distance of the middle of the scene (m)."""


@dataclass(frozen=True, eq=False)
class Light:
    """Illumination of a scene: direction to the sun (3,), its colour and the sky's (0..1)."""

    name: str
    sun: Float
    sun_colour: Float
    sky_colour: Float
    horizon: Float
    zenith: Float
    clouds: float
    exposure: float


def draw_light(rng: np.random.Generator) -> Light:
    """Sunny, hazy, overcast or late light."""
    name = str(rng.choice(["sunny", "hazy", "overcast", "late sun"], p=[0.45, 0.2, 0.2, 0.15]))
    elevation = {"sunny": 0.95, "hazy": 0.8, "overcast": 1.1, "late sun": 0.42}[name] + rng.uniform(
        -0.15, 0.15
    )
    azimuth = rng.uniform(-np.pi, np.pi)
    sun = np.array(
        [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
    )
    strength = {"sunny": 1.0, "hazy": 0.6, "overcast": 0.22, "late sun": 0.9}[name]
    warm = {"late sun": (1.0, 0.78, 0.55)}.get(name, (1.0, 0.96, 0.9))
    sky = {"overcast": (0.80, 0.82, 0.84), "hazy": (0.72, 0.77, 0.82)}.get(name, (0.52, 0.60, 0.72))
    horizon = {"overcast": (0.84, 0.85, 0.86), "late sun": (0.92, 0.80, 0.66)}.get(name, (0.82, 0.87, 0.92))
    zenith = {"overcast": (0.74, 0.77, 0.80), "hazy": (0.60, 0.71, 0.84)}.get(name, (0.36, 0.55, 0.82))
    tint = rng.normal(1.0, 0.03, 3)
    return Light(
        name=name,
        sun=sun,
        sun_colour=np.array(warm) * strength * tint * 1.1,
        sky_colour=np.array(sky) * tint * (1.0 if name == "overcast" else 0.75),
        horizon=np.array(horizon),
        zenith=np.array(zenith),
        clouds=float(rng.uniform(0.2, 0.8)) if name != "overcast" else 1.0,
        exposure=float(rng.uniform(0.9, 1.15))
        * (1.75 if name == "overcast" else 1.15 if name == "hazy" else 1.0),
    )


@dataclass(frozen=True, eq=False)
class SunMap:
    """Heights towards the sun on a grid across its rays.

    Attributes:
        axes: (3, 3), columns are the two grid directions and the direction to the sun.
        start: (3,) world position of texel (0, 0). height: (N, N) float32 m along the sun's
            direction from `start` of the topmost solid, -1e9 where there is none.
    """

    axes: Float
    start: Float
    height: NDArray[np.float32]

    @staticmethod
    def of(solids: Primitives, sun: Float, middle: Float) -> SunMap:
        """Shadows of `solids` around `middle` ((2,) world)."""
        side = np.cross([0.0, 0.0, 1.0], sun)
        side /= np.linalg.norm(side)
        axes = np.stack([side, np.cross(sun, side), sun], axis=1)
        n = int(2 * REACH / CELL)
        start = np.array([middle[0], middle[1], 0.0]) - REACH * (axes[:, 0] + axes[:, 1])
        empty = SunMap(axes, start, np.full((n, n), -1e9, np.float32))
        return empty.with_solids(solids)

    def with_solids(self, solids: Primitives) -> SunMap:
        """A copy that also holds the shadows of `solids`."""
        height = self.height.copy()
        cast_sun(*solids.geometry(), self.axes, self.start, CELL, height)
        return SunMap(self.axes, self.start, height)
