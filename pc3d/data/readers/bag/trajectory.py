"""Poses over time, and the pose at any time between them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import fail
from pc3d.data.records import Float64
from pc3d.geometry.rigid import make_SE3, quaternion_to_matrix

_STILL = 1e-9
_SAME = 1e-6
"""Metres, and of a quaternion: what two messages of one transform may differ by."""


def is_pose(translation: tuple[float, ...], xyzw: tuple[float, ...]) -> bool:
    """Whether numbers are finite and a quaternion has a length."""
    return bool(np.isfinite((*translation, *xyzw)).all()) and sum(q * q for q in xyzw) >= 1e-12


@dataclass
class Trajectory:
    """A frame in another over time; times in nanoseconds, in any order while they are added.

    Attributes:
        name: for error messages.
    """

    name: str
    _rows: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)
    _sorted: tuple[NDArray[np.int64], Float64] | None = None

    def add(self, time: int, translation: tuple[float, ...], xyzw: tuple[float, ...]) -> None:
        """A pose: metres, and a quaternion of any length above zero.

        Raises:
            DataError: it holds no rotation, or is not finite.
        """
        row = (*translation, *xyzw)
        if not is_pose(translation, xyzw):
            fail(
                f"a transform is no pose: translation {list(translation)}, quaternion x y z w {list(xyzw)}",
                f"{self.name} at {1e-9 * time:.3f} s",
                "leave the topic out, or give the transform: --transforms FILE",
            )
        self._rows.append((time, row))
        self._sorted = None

    def __len__(self) -> int:
        return len(self._rows)

    def says(self, translation: tuple[float, ...], xyzw: tuple[float, ...]) -> bool:
        """Whether the pose that was added last is this one, or there is none."""
        if not self._rows:
            return True
        _, last = self._rows[-1]
        mine, other = np.array(last), np.array((*translation, *xyzw))
        mine[3:] /= np.linalg.norm(mine[3:])
        other[3:] /= np.linalg.norm(other[3:])
        turn = min(np.abs(mine[3:] - other[3:]).max(), np.abs(mine[3:] + other[3:]).max())
        return bool(max(turn, np.abs(mine[:3] - other[:3]).max()) < _SAME)

    @property
    def contradictions(self) -> int:
        """Poses of a time at which there is another, of another value: only the last of them counts."""
        kept = dict(self._rows)
        return sum(
            any(abs(a - b) > _SAME for a, b in zip(row, kept[time], strict=True)) for time, row in self._rows
        )

    def _arrays(self) -> tuple[NDArray[np.int64], Float64]:
        """(N,) times, ascending and each once (the last that was said counts), and (N, 7) poses."""
        if self._sorted is None:
            rows = dict(sorted(self._rows, key=lambda row: row[0]))
            times = np.fromiter(rows, dtype=np.int64, count=len(rows))
            poses = np.array(list(rows.values()), dtype=np.float64)
            poses[:, 3:] /= np.linalg.norm(poses[:, 3:], axis=1, keepdims=True)
            self._sorted = times, poses
        return self._sorted

    @property
    def still(self) -> bool:
        """Whether it is one pose at all times."""
        _, poses = self._arrays()
        turned = np.abs((poses[:, 3:] * poses[0, 3:]).sum(axis=1)) < 1 - _STILL
        return not turned.any() and bool((np.ptp(poses[:, :3], axis=0) < _STILL).all())

    def off(self, time: int) -> float:
        """Seconds from a time to the nearer pose around it: how far it is interpolated, or held."""
        times, _ = self._arrays()
        at = int(np.searchsorted(times, time))
        near = times[max(0, at - 1) : at + 1]
        return 1e-9 * float(np.abs(near - time).min())

    def at(self, time: int) -> Float64:
        """(4, 4) at a time: interpolated (translation straight, rotation on the shortest arc), held at the
        ends."""
        times, poses = self._arrays()
        after = int(np.clip(np.searchsorted(times, time), 0, len(times) - 1))
        before = max(0, after - 1)
        if time >= times[after] or after == before or time <= times[before]:
            nearest = after if time >= times[after] else before
            return _matrix(poses[nearest])
        share = float(time - times[before]) / float(times[after] - times[before])
        mixed = (1 - share) * poses[before] + share * poses[after]
        mixed[3:] = slerp(poses[before, 3:], poses[after, 3:], share)
        return _matrix(mixed)


def slerp(a: Float64, b: Float64, share: float) -> Float64:
    """(4,) unit quaternion a share of the shorter way from `a` to `b`, both of length 1."""
    dot = float(a @ b)
    if dot < 0:
        b, dot = -b, -dot
    if dot > 1 - 1e-12:
        return (1 - share) * a + share * b
    angle = np.arccos(min(dot, 1.0))
    return (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)


def _matrix(row: Float64) -> Float64:
    x, y, z, w = row[3:]
    return make_SE3(quaternion_to_matrix([w, x, y, z]), row[:3])
