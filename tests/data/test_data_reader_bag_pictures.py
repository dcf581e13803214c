"""Images of bags in every encoding, against OpenCV."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from pc3d.data.errors import DataError
from pc3d.data.readers.bag.pictures import picture_file, picture_rgb


def _image(encoding: str, rows: np.ndarray, width: int, height: int, padding: int = 3) -> SimpleNamespace:
    flat = rows.reshape(len(rows), -1).view(np.uint8)
    padded = np.pad(flat, ((0, 0), (0, padding)), constant_values=7)
    return SimpleNamespace(
        encoding=encoding,
        width=width,
        height=height,
        step=padded.shape[1],
        is_bigendian=0,
        data=padded.reshape(-1),
    )


@pytest.mark.parametrize(
    ("encoding", "code"),
    [
        ("rgb8", None),
        ("bgr8", cv2.COLOR_RGB2BGR),
        ("8UC3", cv2.COLOR_RGB2BGR),
        ("rgba8", cv2.COLOR_RGB2RGBA),
        ("bgra8", cv2.COLOR_RGB2BGRA),
    ],
)
def test_colours_of_plain_encodings(encoding: str, code: int | None) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    stored = rgb if code is None else cv2.cvtColor(rgb, code)
    np.testing.assert_array_equal(picture_rgb(_image(encoding, stored, 8, 6), "here"), rgb)


def test_grey_of_8_and_16_bits() -> None:
    grey = np.random.default_rng(1).integers(0, 65536, (5, 4)).astype(np.uint16)
    expected = np.repeat((grey >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(picture_rgb(_image("mono16", grey, 4, 5), "here"), expected)
    big = _image("mono16", grey.byteswap(), 4, 5)
    big.is_bigendian = 1
    np.testing.assert_array_equal(picture_rgb(big, "here"), expected)
    np.testing.assert_array_equal(picture_rgb(_image("mono8", expected[:, :, 0], 4, 5), "here"), expected)


@pytest.mark.parametrize(
    ("encoding", "code"),
    [
        ("yuv422", cv2.COLOR_YUV2RGB_UYVY),
        ("yuv422_yuy2", cv2.COLOR_YUV2RGB_YUY2),
        ("nv12", cv2.COLOR_YUV2RGB_NV12),
        ("nv21", cv2.COLOR_YUV2RGB_NV21),
    ],
)
def test_yuv_as_opencv_decodes_it(encoding: str, code: int) -> None:
    shape = (9, 8) if encoding.startswith("nv") else (6, 8, 2)
    stored = np.random.default_rng(2).integers(0, 256, shape).astype(np.uint8)
    ours = picture_rgb(_image(encoding, stored, 8, 6), "here").astype(int)
    theirs = cv2.cvtColor(stored, code).astype(int)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 2


@pytest.mark.parametrize(
    ("name", "red"), [("rggb", (0, 0)), ("grbg", (0, 1)), ("gbrg", (1, 0)), ("bggr", (1, 1))]
)
def test_a_mosaic_gives_its_scene_back(name: str, red: tuple[int, int]) -> None:
    y, x = np.mgrid[:20, :24]
    scene = np.stack([100 + 2 * x, 60 + 3 * y, 180 - x - y], axis=2).astype(np.uint8)
    mosaic = scene[:, :, 1].copy()
    mosaic[red[0] :: 2, red[1] :: 2] = scene[red[0] :: 2, red[1] :: 2, 0]
    mosaic[1 - red[0] :: 2, 1 - red[1] :: 2] = scene[1 - red[0] :: 2, 1 - red[1] :: 2, 2]
    rgb = picture_rgb(_image(f"bayer_{name}8", mosaic, 24, 20), "here").astype(int)
    assert np.abs(rgb - scene)[1:-1, 1:-1].max() <= 1  # linear inside, one neighbour less at the border
    assert np.abs(rgb - scene).max() <= 4


def test_a_raw_image_as_a_file_has_its_pixels() -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    data, ending = picture_file("sensor_msgs/msg/Image", _image("rgb8", rgb, 8, 6), "here")
    assert ending == ".png"
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded[:, :, ::-1], rgb)


def test_images_that_cannot_be_decoded_say_why() -> None:
    with pytest.raises(DataError, match="unknown image encoding '32FC1'"):
        picture_rgb(_image("32FC1", np.zeros((2, 4), np.uint8), 1, 2), "here")
    short = _image("rgb8", np.zeros((2, 12), np.uint8), 4, 2)
    short.data = short.data[:20]
    with pytest.raises(DataError, match="has 20 bytes"):
        picture_rgb(short, "here")
