"""Solids that everything in the simulated world is made of, and the builder that collects them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.sim.types import Float

# Shapes. All live in their local frame, inside [-half, half].
BOX = 0  # par: how far the +x, -x and both y faces lean inwards at the top (m)
FRUSTUM = 1  # along z; par[0]: top radius over bottom radius (1 is a cylinder)
ELLIPSOID = 2
FOLIAGE = 3  # leaf balls in a grid; par: cell (m), density 0..1, 1 for a box-shaped hedge

# Surface materials (textures.py paints them, lidar.py knows how they reflect).
(
    PAINT,
    CABIN,
    GLASS,
    TYRE,
    HEADLIGHT,
    TAILLIGHT,
    WINDOWS,
    BRICK,
    PLASTER,
    BARK,
    LEAVES,
    CLOTH,
    SKIN,
    METAL,
    SIGN,
    CONE,
    BARRIER,
    CARGO,
    HAZARD,
    DARK,
    BUS_SIDE,
    SHOPFRONT,
) = range(22)


@dataclass(frozen=True, eq=False)
class Primitives:
    """N solids as arrays (structure of arrays, for the ray caster).

    Attributes:
        pos: (N, 3) centre. rot: (N, 3, 3), columns are the local axes. half: (N, 3) half extents.
        par: (N, 3) shape parameters. colour, colour2: (N, 3) 0..1.
        shape, material, label: (N,) uint8. instance: (N,) int32. seed: (N,) uint32.
    """

    pos: Float
    rot: Float
    half: Float
    par: Float
    colour: Float
    colour2: Float
    shape: NDArray[np.uint8]
    material: NDArray[np.uint8]
    label: NDArray[np.uint8]
    instance: NDArray[np.int32]
    seed: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.shape)

    def geometry(self) -> tuple[Float, Float, Float, Float, NDArray[np.uint8], NDArray[np.uint32]]:
        """What a ray caster needs: pos, rot, half, par, shape, seed."""
        return self.pos, self.rot, self.half, self.par, self.shape, self.seed

    @staticmethod
    def concatenate(parts: Sequence[Primitives]) -> Primitives:
        return Primitives(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Primitives)))

    def select(self, keep: NDArray) -> Primitives:
        return Primitives(*(getattr(self, f.name)[keep] for f in fields(Primitives)))

    def moved(self, position: Float, yaw: float | Float) -> Primitives:
        """Turned by `yaw` (scalar or one each) about z, then shifted by `position` ((3,) or (N, 3))."""
        angle = np.broadcast_to(np.asarray(yaw, dtype=np.float64), (len(self),))
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.zeros((len(self), 3, 3))
        turn[:, 0, 0] = turn[:, 1, 1] = cos
        turn[:, 0, 1], turn[:, 1, 0] = -sin, sin
        turn[:, 2, 2] = 1.0
        values = {f.name: getattr(self, f.name) for f in fields(Primitives)}
        values["pos"] = np.einsum("nij,nj->ni", turn, self.pos) + position
        values["rot"] = turn @ self.rot
        return Primitives(**values)


Colour = Sequence[float] | Float
Vector = Sequence[float] | Float


def _rotation(yaw: float, pitch: float, axis: str) -> Float:
    """Local axes: z turned onto `axis`, then pitch (nose up) and yaw."""
    base = {
        "z": np.eye(3),
        "y": np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]]),
        "x": np.array([[0, 0, 1.0], [0, 1.0, 0], [-1.0, 0, 0]]),
    }[axis]
    cp, sp, cy, sy = np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw)
    lift = np.array([[cp, 0, -sp], [0, 1.0, 0], [sp, 0, cp]])
    turn = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1.0]])
    return turn @ lift @ base


class Builder:
    """Collects solids of one object or of the scenery. `label` and `instance` go to all of them."""

    def __init__(self, rng: np.random.Generator, label: int, instance: int = -1) -> None:
        self.rng = rng
        self.label = label
        self.instance = instance
        self._rows: list[tuple] = []

    def add(
        self,
        shape: int,
        centre: Vector,
        half: Vector,
        material: int,
        colour: Colour = (0.5, 0.5, 0.5),
        colour2: Colour | None = None,
        par: Sequence[float] = (0.0, 0.0, 0.0),
        yaw: float = 0.0,
        pitch: float = 0.0,
        axis: str = "z",
        label: int | None = None,
    ) -> None:
        """Add a solid by its centre and half extents (before the rotation)."""
        self._rows.append(
            (
                centre,
                _rotation(yaw, pitch, axis),
                half,
                par,
                colour,
                colour if colour2 is None else colour2,
                shape,
                material,
                self.label if label is None else label,
                self.instance,
                self.rng.integers(2**31),
            )
        )

    def box(
        self,
        low: Vector,
        high: Vector,
        material: int,
        colour: Colour,
        colour2: Colour | None = None,
        **more: Any,
    ) -> None:
        """Add an axis-parallel box (see `BOX` for `par`) from corner `low` to corner `high`."""
        a, b = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        self.add(BOX, (a + b) / 2, (b - a) / 2, material, colour, colour2, **more)

    def rod(
        self,
        centre: Vector,
        radius: float,
        length: float,
        material: int,
        colour: Colour,
        colour2: Colour | None = None,
        top: float = 1.0,
        **more: Any,
    ) -> None:
        """Add a cylinder or frustum along `axis` (default z), `top` is the ratio of its radii."""
        self.add(
            FRUSTUM,
            centre,
            (radius, radius, length / 2),
            material,
            colour,
            colour2,
            par=(top, 0.0, 0.0),
            **more,
        )

    def build(self) -> Primitives:
        columns = list(zip(*self._rows, strict=True)) if self._rows else [()] * 11
        n = len(self._rows)

        def real(index: int, *tail: int) -> Float:
            return np.array(columns[index], dtype=np.float64).reshape(n, *tail)

        return Primitives(
            real(0, 3),
            real(1, 3, 3),
            real(2, 3),
            real(3, 3),
            real(4, 3),
            real(5, 3),
            np.array(columns[6], dtype=np.uint8),
            np.array(columns[7], dtype=np.uint8),
            np.array(columns[8], dtype=np.uint8),
            np.array(columns[9], dtype=np.int32),
            np.array(columns[10], dtype=np.uint32),
        )
