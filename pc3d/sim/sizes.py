"""How large a simulated data set is, by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SimSize:
    """Scenes and frames of a simulated data set.

    Attributes:
        train_scenes, val_scenes: number of scenes of `sim_train` and `sim_val`.
        key_frames: key frames of each scene, at 2 Hz.
        sweeps_per_key_frame: plain sweeps written between two key frames (at most 9, 20 Hz grid).
        image_size: (width, height) of every camera.
    """

    train_scenes: int
    val_scenes: int
    key_frames: int
    sweeps_per_key_frame: int = 2
    image_size: tuple[int, int] = (800, 450)


SIZES: dict[str, SimSize] = {
    "tiny": SimSize(2, 1, 3, image_size=(400, 225)),
    "demo": SimSize(8, 3, 6, sweeps_per_key_frame=1, image_size=(448, 252)),
    "bench": SimSize(20, 6, 20),
    "study": SimSize(20, 6, 20, sweeps_per_key_frame=1, image_size=(448, 252)),
}
