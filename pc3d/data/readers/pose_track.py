"""Poses of a drive at times of their own, and what lies between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pc3d.data.records import Float64
from pc3d.geometry.rigid import make_SE3, matrix_to_quaternion, quaternion_to_matrix


class PoseTrack:
    """Poses by time.

    Args:
        times: (N,) int64, N > 0, in any order; of two of one time the first counts.
        rotations: (N, 3, 3). translations: (N, 3).
        longest: time over which two poses are still joined, in the unit of `times`.
    """

    def __init__(
        self, times: NDArray[np.int64], rotations: Float64, translations: Float64, longest: int
    ) -> None:
        self._times, first = np.unique(times, return_index=True)
        self._rotations, self._translations = rotations[first], translations[first]
        self._longest = longest

    @property
    def range(self) -> tuple[int, int]:
        """The first and the last time."""
        return int(self._times[0]), int(self._times[-1])

    @property
    def rotations(self) -> Float64:
        """(N, 3, 3) ascending in time."""
        return self._rotations

    def at(self, time: int) -> Float64 | None:
        """(4, 4) pose at a time: the stated one, or what lies between its two neighbours; None outside."""
        n = int(np.searchsorted(self._times, time))
        if n < len(self._times) and self._times[n] == time:
            return make_SE3(self._rotations[n], self._translations[n])
        if n in (0, len(self._times)) or self._times[n] - self._times[n - 1] > self._longest:
            return None
        share = float(time - self._times[n - 1]) / float(self._times[n] - self._times[n - 1])
        translation = (1 - share) * self._translations[n - 1] + share * self._translations[n]
        return make_SE3(between(self._rotations[n - 1], self._rotations[n], share), translation)


def between(first: Float64, last: Float64, share: float) -> Float64:
    """(3, 3) rotation at a share of the way from one to another, at one rate about one axis (slerp)."""
    a, b = matrix_to_quaternion(first), matrix_to_quaternion(last)
    cosine = float(a @ b)
    if cosine < 0:
        b, cosine = -b, -cosine
    angle = float(np.arccos(min(cosine, 1.0)))
    if angle < 1e-6:
        return quaternion_to_matrix((1 - share) * a + share * b)
    return quaternion_to_matrix((np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle))
