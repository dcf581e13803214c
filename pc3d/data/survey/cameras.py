"""The rig of cameras: the same in each key frame, with intrinsics of their pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pc3d.data.records import Camera, Sweep
from pc3d.data.survey.tally import Tally
from pc3d.findings import Finding

NO_IMAGES = "no images"
"""Name of the finding of a data set that has none at all."""

_VIEW = (5.0, 170.0)  # degrees across a picture
_OFF_CENTRE = 0.2  # of the size, in x and y: a crop moves the principal point in one of them

_EXCHANGED = 0.1  # farther off than this as it is, nearer once cx and cy are exchanged


class Cameras:
    """Looks at the cameras of one scene after the other."""

    def __init__(self) -> None:
        self._absent: dict[str, Tally] = {}
        self._frames = 0
        self._bare = Tally()
        self._intrinsics, self._equal = Tally(), Tally()

    def look(self, sweeps: Sequence[Sweep]) -> None:
        frames = [sweep for sweep in sweeps if sweep.is_key_frame]
        self._bare.look(not any(sweep.cameras for sweep in frames), f"scene {sweeps[0].scene}")
        if not any(sweep.cameras for sweep in frames):
            return
        for sweep in frames:
            names = {camera.name for camera in sweep.cameras}
            # A camera that comes later was absent from all frames before.
            for name in names - self._absent.keys():
                self._absent[name] = Tally(self._frames, first="the first of them" if self._frames else "")
            for name in self._absent.keys() - names:
                self._absent[name].see(f"sweep {sweep.token} of scene {sweep.scene}")
            self._frames += 1
            self._look_at_rig(sweep)

    def _look_at_rig(self, sweep: Sweep) -> None:
        mounts: dict[bytes, str] = {}
        for camera in sweep.cameras:
            what = odd_intrinsics(camera)
            self._intrinsics.look(bool(what), f"{what}, {camera.name} of sweep {sweep.token}")
            mount = camera.ego_SE3_cam.astype(np.float32).tobytes()
            if mount in mounts:
                self._equal.see(f"{mounts[mount]} and {camera.name} of sweep {sweep.token}")
            mounts[mount] = camera.name

    def findings(self) -> list[Finding]:
        found = self._bare.finding(
            NO_IMAGES if not self._frames else "scenes without images",
            "ok",
            "scenes have no images",
            "extract them if there are some",
        )
        remedy = (
            "complete the tables and archives (--skip-missing leaves scenes out for files that tables name)"
        )
        for name, absent in sorted(self._absent.items()):
            absent.of = self._frames
            found += absent.finding(f"camera {name}", "warning", "key frames do not have it", remedy)
        return [
            *found,
            *self._intrinsics.finding(
                "intrinsics",
                "problem",
                "images have intrinsics that do not fit their size",
                "give intrinsics in pixels of the images as they are stored",
            ),
            *self._equal.finding(
                "equal cameras",
                "problem",
                "pairs of cameras stand at one place and look the same way",
                "correct the extrinsics of one",
            ),
        ]


def _off(centre: float, size: int) -> float:
    """From the middle, as a share of the size."""
    return abs(centre / size - 0.5)


def odd_intrinsics(camera: Camera) -> str:
    """What is odd about the intrinsics of a camera for its size; "" where nothing is."""
    (fx, _, cx), (_, fy, cy), _ = camera.intrinsics.tolist()
    width, height = camera.size
    centre = f"principal point ({cx:.0f}, {cy:.0f}) in an image of {width}x{height}"
    if not (0 <= cx <= width and 0 <= cy <= height):
        return centre
    if min(_off(cx, width), _off(cy, height)) > _EXCHANGED > max(_off(cy, width), _off(cx, height)):
        return f"{centre}, cx and cy exchanged,"
    if min(_off(cx, width), _off(cy, height)) > _OFF_CENTRE:
        return centre
    for focal, size in ((fx, width), (fy, height)):
        view = math.degrees(2 * math.atan(size / (2 * focal)))
        if not _VIEW[0] <= view <= _VIEW[1]:
            return f"a field of view of {view:.3g} degrees across {size} pixels"
    return ""
