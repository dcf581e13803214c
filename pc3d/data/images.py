"""Images: loading, and the resize, crop and flip that pixels, intrinsics and id maps follow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pc3d.data.errors import fail
from pc3d.data.image_crops import Box
from pc3d.data.image_file import open_image, turn_of
from pc3d.data.records import Float64


def load_image(
    path: str | Path,
    token: str = "",
    at_least: tuple[int, int] | None = None,
    size: tuple[int, int] | None = None,
    key: str = "",
) -> NDArray[np.uint8]:
    """Load an image, turned as its EXIF orientation says.

    Args:
        path: JPEG or PNG of 8 bits a channel; grey, palette and CMYK become RGB, transparency is dropped.
        token: of its sweep, for the error message.
        at_least: (width, height) that are enough; a JPEG may then be decoded at 1/2, 1/4 or 1/8 of
            its size (faster), never below this.
        size: (width, height) that the tables say; compared before anything is decoded.
        key: of the image in a file that holds many.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: the file is missing, truncated or no image; it has another size, or more than 8 bits.
    """
    where = f"{path} (sweep {token})" if token else str(path)
    if key:
        where = f"{where}, {key}"
    with open_image(path, size, where, key=key) as image:
        if image.mode.startswith(("I", "F")):
            fail(f"the image has the mode {image.mode}", where, "write it with 8 bits a channel")
        turn = turn_of(image)
        if at_least is not None and turn is None:
            image.draft("RGB", at_least)
        rgb = image.convert("RGB")
        return np.asarray(rgb if turn is None else rgb.transpose(turn))


def load_ego_masks(folder: str | Path | None) -> dict[str, NDArray[np.bool_]]:
    """(H, W) bool by camera name of a folder of `CAMERA.png`: True where the picture is not black.

    Raises:
        DataError: the folder holds no such picture, or a broken one.
    """
    if folder is None:
        return {}
    paths = sorted(Path(folder).glob("*.png"))
    if not paths:
        fail(
            "there are no ego masks",
            folder,
            "put a CAMERA.png there for each camera that sees the ego vehicle",
        )
    return {path.stem: load_image(path).any(axis=2) for path in paths}


@dataclass(frozen=True)
class ImageMap:
    """Resize to `resized`, cut `size` out at `offset`, then mirror if `flip`; all (width, height).

    It maps continuous pixel coordinates (centres at integer + 0.5) of an image of `source` pixels. Where
    there is a `box`, that part of the source is resized instead of the whole.
    """

    source: tuple[int, int]
    resized: tuple[int, int]
    offset: tuple[int, int]
    size: tuple[int, int]
    flip: bool = False
    box: Box | None = None

    @property
    def part(self) -> Box:
        """What of the source is resized."""
        return self.box or (0, 0, *self.source)

    @property
    def scale(self) -> Float64:
        """(2,) resized pixels per source pixel, in x and y."""
        return np.divide(self.resized, self.part[2:])

    @property
    def enough(self) -> tuple[int, int]:
        """(width, height) at which a source image is not too small to be read."""
        width, height = np.ceil(np.multiply(self.source, self.scale)).astype(int)
        return int(width), int(height)

    def _part_at(self, shape: tuple[int, ...]) -> tuple[float, float, float, float]:
        """`part`, in pixels of a source of (rows, columns, ...) `shape`."""
        (left, top, width, height), (w, h) = self.part, self.source
        rows, columns = shape[:2]
        return left * columns / w, top * rows / h, width * columns / w, height * rows / h

    def image(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 of the source image, given at its own or a reduced size."""
        x, y = self.offset
        left, top, width, height = self._part_at(rgb.shape)
        box = (left, top, left + width, top + height)
        cut = Image.fromarray(rgb).resize(self.resized, Image.Resampling.BILINEAR, box=box)
        result = np.asarray(cut.crop((x, y, x + self.size[0], y + self.size[1])))
        return result[:, ::-1] if self.flip else result

    def uv(self, uv: Float64) -> Float64:
        """(M, 2) pixel coordinates in the result of (M, 2) in the source."""
        mapped = (uv - self.part[:2]) * self.scale - self.offset
        if self.flip:
            mapped[:, 0] = self.size[0] - mapped[:, 0]
        return mapped

    def intrinsics(self, K: Float64) -> Float64:
        """(3, 3) intrinsics of the result; a mirrored image has a negative focal length in x."""
        affine = np.diag([*self.scale, 1.0])
        affine[:2, 2] = -np.multiply(self.part[:2], self.scale) - self.offset
        if self.flip:
            affine = np.array([[-1.0, 0, self.size[0]], [0, 1, 0], [0, 0, 1]]) @ affine
        return affine @ K

    def ids(self, ids: NDArray) -> NDArray:
        """(height, width) nearest samples of an id map that covers the source at any resolution."""
        left, top, width, height = self._part_at(ids.shape)
        x = (np.arange(self.size[0]) + 0.5 + self.offset[0]) / self.resized[0] * width + left
        y = (np.arange(self.size[1]) + 0.5 + self.offset[1]) / self.resized[1] * height + top
        result = ids[y.astype(np.int64)[:, None], x.astype(np.int64)[None, :]]
        return result[:, ::-1] if self.flip else result


def check_aspect(shape: tuple[int, ...], size: tuple[int, int] | None, what: str, where: object) -> None:
    """Refuse a map that cannot be of the whole of an image, whatever its resolution.

    Args:
        shape: (H, W), each rounded to whole pixels up or down.
        size: (width, height) of the image; None where it may be stretched.

    Raises:
        DataError: another aspect, or not two dimensions.
    """
    fits = len(shape) == 2 and 0 not in shape
    if fits and size is not None:
        fits = abs(shape[1] * size[1] - shape[0] * size[0]) <= sum(size)
    if not fits:
        image = f", its image is {size[0]} x {size[1]} (width x height)" if size else ""
        fail(
            f"{what} has the shape {shape} (rows, columns){image}",
            where,
            "make it of the whole image, neither cut nor stretched, at any resolution",
        )


def stretch(
    source: tuple[int, int], height: int, width: int, flip: bool = False, box: Box | None = None
) -> ImageMap:
    """The map of SLidR and SuperFlow to (height, width): all of the image, or a box of it, in another aspect.

    Args:
        source: (width, height) of the image.
    """
    return ImageMap((source[0], source[1]), (width, height), (0, 0), (width, height), flip, box)


def resize_and_crop(source: tuple[int, int], height: int, width: int, flip: bool = False) -> ImageMap:
    """The map to (height, width) much like BEVFusion's: keep the aspect, fill the width, cut the top.

    A 1600 x 900 image becomes 416 x 234, of which the lower 224 rows stay. An image that is too wide
    for that is resized to the height instead and cut left and right alike. For 704 x 256, BEVFusion
    resizes it by 0.48 in tests (here by 0.44) and cuts 32 pixels off left and right; in training it draws
    0.38 to 0.55 and where to cut.

    Args:
        source: (width, height) of the image.
    """
    scale = max(width / source[0], height / source[1])
    resized = (max(width, round(source[0] * scale)), max(height, round(source[1] * scale)))
    offset = ((resized[0] - width) // 2, resized[1] - height)
    return ImageMap((source[0], source[1]), resized, offset, (width, height), flip)
