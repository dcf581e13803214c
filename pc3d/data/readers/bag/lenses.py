"""CameraInfo messages and files: intrinsics and lens in the convention of pc3d."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml

from pc3d.data.errors import fail
from pc3d.data.records import Float64
from pc3d.geometry.camera import shift_pixel_centres

_MODELS = {
    "plumb_bob": "brown",
    "brown": "brown",
    "radtan": "brown",
    "rational_polynomial": "rational",
    "equidistant": "fisheye",
    "fisheye": "fisheye",
    "kannala_brandt": "fisheye",
    "": "brown",
    "none": "brown",
}


class Unusable(ValueError):
    """A camera cannot be used; the message says why."""


@dataclass(frozen=True, eq=False)
class LensInfo:
    """What a CameraInfo says of the images of a topic.

    Attributes:
        intrinsics: (3, 3), pixel centres at integer + 0.5, of the images as they are.
        model, distortion: see `pc3d.data.records.Camera`.
        info_R_cam: (3, 3) float64, rotation from the camera of the images to the frame of the CameraInfo:
            rectified images are turned.
        shift: metres along x, in the rectified camera, from the frame's origin to its own: second cameras of
            a stereo pair, whose P holds it.
        note: what was done to make the intrinsics fit the images, "" if nothing.
    """

    intrinsics: Float64
    model: str
    distortion: tuple[float, ...]
    info_R_cam: Float64
    shift: float
    note: str


def _field(info: Any, name: str) -> Any:
    """A field of ROS 1 (`K`) or ROS 2 (`k`)."""
    return getattr(info, name) if hasattr(info, name) else getattr(info, name.lower())


def same_calibration(one: Any, other: Any) -> bool:
    """Whether two CameraInfos of a topic say the same of its images."""
    texts = [(i.width, i.height, i.distortion_model, i.binning_x, i.binning_y) for i in (one, other)]
    rois = [(i.roi.x_offset, i.roi.y_offset, i.roi.width, i.roi.height) for i in (one, other)]
    if texts[0] != texts[1] or rois[0] != rois[1]:
        return False
    for name in ("K", "D", "R", "P"):
        mine, theirs = np.asarray(_field(one, name)), np.asarray(_field(other, name))
        if mine.shape != theirs.shape:
            return False
        if not np.array_equal(mine, theirs) and not np.allclose(mine, theirs, 1e-6, 1e-9, equal_nan=True):
            return False
    return True


def is_rectified(topic: str) -> bool:
    """Whether the images of a topic are rectified, by the names that `image_proc` gives."""
    return any(part.startswith("image_rect") for part in topic.split("/"))


def lens_info(info: Any, size: tuple[int, int], rectified: bool) -> LensInfo:
    """What a CameraInfo says of images of a size.

    Args:
        info: the message, of either ROS.
        size: (width, height) of the images.
        rectified: the images are, so that P holds.

    Raises:
        Unusable: the camera is not calibrated, its lens is of an unknown kind, or the sizes do not fit.
    """
    P = np.array(_field(info, "P"), dtype=np.float64).reshape(3, 4)
    K = P[:, :3] if rectified else np.array(_field(info, "K"), dtype=np.float64).reshape(3, 3)
    if not (K[0, 0] > 0 and K[1, 1] > 0 and np.isfinite(K).all()):
        matrix = "P" if rectified else "K"
        raise Unusable(f"it is not calibrated ({matrix} of its CameraInfo is {K.reshape(-1).tolist()})")
    R = np.array(_field(info, "R"), dtype=np.float64).reshape(3, 3)
    turned = rectified and np.abs(R @ R.T - np.eye(3)).max() < 1e-3
    model, distortion = ("brown", ()) if rectified else _lens(info)
    intrinsics, note = _fitted(shift_pixel_centres(K), info, size)
    return LensInfo(
        intrinsics=intrinsics,
        model=model,
        distortion=distortion,
        info_R_cam=R.T if turned else np.eye(3),
        shift=float(-P[0, 3] / P[0, 0]) if rectified else 0.0,
        note=note,
    )


def _lens(info: Any) -> tuple[str, tuple[float, ...]]:
    D = tuple(float(value) for value in _field(info, "D"))
    said = str(info.distortion_model)
    model = _MODELS.get(said.lower())
    if model == "fisheye":
        if len(D) != 4:
            raise Unusable(f"its lens {said!r} has {len(D)} coefficients, expected 4")
        return model, D
    if not any(D):
        return "brown", ()
    if model is None or not np.isfinite(D).all():
        raise Unusable(f"its lens is {said!r} with {list(D)}, which pc3d does not know")
    if any(D[8:]):
        raise Unusable(f"its lens {said!r} has thin prism or tilt coefficients: {list(D[8:])}")
    if len(D) <= 5:
        return "brown", D
    return "rational", (*D[:8], *[0.0] * (8 - len(D)))


def _fitted(K: Float64, info: Any, size: tuple[int, int]) -> tuple[Float64, str]:
    """Intrinsics of the images as they are: cut (roi), binned, or of another size."""
    full = (int(info.width), int(info.height))
    roi, bins = info.roi, (max(1, int(info.binning_x)), max(1, int(info.binning_y)))
    cut = (int(roi.width), int(roi.height)) if int(roi.width) and int(roi.height) else full
    corner = (int(roi.x_offset), int(roi.y_offset)) if cut != full else (0, 0)
    if (cut[0] // bins[0], cut[1] // bins[1]) == size:
        note = f"cut to {cut[0]} x {cut[1]}" * (cut != full) + f" binned {bins[0]} x {bins[1]}" * (
            bins != (1, 1)
        )
        return _scaled(K, corner, (1 / bins[0], 1 / bins[1])), note.strip()
    if size == full or 0 in full:
        return K, ""
    if abs(full[0] * size[1] - full[1] * size[0]) > sum(full):
        raise Unusable(
            f"its images have {size[0]} x {size[1]} pixels, its CameraInfo says {full[0]} x {full[1]}"
        )
    scale = (size[0] / full[0], size[1] / full[1])
    note = f"scaled from the {full[0]} x {full[1]} of its CameraInfo to the images' {size[0]} x {size[1]}"
    return _scaled(K, (0, 0), scale), note


def _scaled(K: Float64, corner: tuple[int, int], scale: tuple[float, float]) -> Float64:
    moved = K.copy()
    moved[:2, 2] -= corner
    moved[:2] *= np.array(scale)[:, None]
    return moved


def read_info(path: Path) -> Any:
    """A CameraInfo of a YAML file as ROS' `camera_calibration` writes it.

    Raises:
        DataError: the file is missing or lacks something.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        return SimpleNamespace(
            width=int(values["image_width"]),
            height=int(values["image_height"]),
            distortion_model=str(values.get("distortion_model", "plumb_bob")),
            k=_matrix(values["camera_matrix"]),
            d=_matrix(values.get("distortion_coefficients", [])),
            r=_matrix(values.get("rectification_matrix", np.eye(3).reshape(-1).tolist())),
            p=_matrix(values.get("projection_matrix", [0.0] * 12)),
            binning_x=0,
            binning_y=0,
            roi=SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
            header=SimpleNamespace(frame_id=""),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        fail(
            f"the calibration cannot be read: {type(error).__name__}: {' '.join(str(error).split())}",
            path,
            "write image_width, image_height, camera_matrix, distortion_model, distortion_coefficients as "
            "ROS' camera_calibration does",
        )


def _matrix(value: Any) -> Sequence[float]:
    return [float(number) for number in (value["data"] if isinstance(value, dict) else value)]
