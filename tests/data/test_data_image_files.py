"""Image files: turned as EXIF says, of the tables' size, of a mode that becomes RGB, or refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from pc3d.data.errors import DataError
from pc3d.data.images import check_aspect, load_image


def _photo(real_data: Path) -> Path:
    return min((real_data / "nuscenes").rglob("*.jpg"))


def test_a_broken_image_is_named(real_data: Path, tmp_path: Path) -> None:
    whole = _photo(real_data)
    assert load_image(whole).shape == (900, 1600, 3)
    small = load_image(whole, at_least=(448, 252))
    assert small.shape == (450, 800, 3)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(whole.read_bytes()[:20000])
    for path, data in ((broken, None), (tmp_path / "text.jpg", b"no image"), (tmp_path / "none.jpg", None)):
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(DataError, match=rf"{path.name} \(sweep abc\)[\s\S]*remedy"):
            load_image(path, "abc")


PICTURE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3
ORIENTED = {  # EXIF orientation: how the stored pixels are made from the upright ones
    1: lambda rgb: rgb,
    2: lambda rgb: rgb[:, ::-1],
    3: lambda rgb: rgb[::-1, ::-1],
    4: lambda rgb: rgb[::-1],
    5: lambda rgb: rgb.swapaxes(0, 1),
    6: lambda rgb: rgb.swapaxes(0, 1)[::-1],
    7: lambda rgb: rgb[::-1, ::-1].swapaxes(0, 1),
    8: lambda rgb: rgb.swapaxes(0, 1)[:, ::-1],
}


@pytest.mark.parametrize("orientation", ORIENTED)
def test_exif_is_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(np.ascontiguousarray(ORIENTED[orientation](PICTURE))).save(path, exif=exif)
    np.testing.assert_array_equal(load_image(path, size=(6, 4)), PICTURE)
    assert load_image(path, at_least=(3, 2), size=(6, 4)).shape == (4, 6, 3)
    turned = "its EXIF orientation turns" if orientation >= 5 else "it is stored turned"
    with pytest.raises(DataError, match=rf"{turned} it by 90|{turned} by 90 degrees, the tables say 4 x 6"):
        load_image(path, size=(4, 6))


def test_the_size_is_that_of_the_tables(real_data: Path, tmp_path: Path) -> None:
    turned = real_data.parent / "cases" / "exif_rotated.jpg"
    if turned.is_file():
        assert load_image(turned, size=(400, 225)).shape == (225, 400, 3)
        with pytest.raises(DataError, match=r"225 x 400 pixels and its EXIF.*say 225 x 400[\s\S]*upright"):
            load_image(turned, size=(225, 400))
    photo = _photo(real_data)
    assert load_image(photo, at_least=(100, 50), size=(1600, 900)).shape == (113, 200, 3)
    cut = tmp_path / "cut.jpg"  # compared before it is decoded: the rest of the file is not looked at
    cut.write_bytes(photo.read_bytes()[:20000])
    with pytest.raises(DataError, match=r"1600 x 900 pixels, the tables say 1920 x 1080[\s\S]*cut.jpg"):
        load_image(cut, size=(1920, 1080))


@pytest.mark.parametrize("side", [10_000, 2_000_000])
def test_gigapixels_are_refused_from_the_header(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    Image.new("RGB", (8, 8)).save(path)
    header = b"IHDR" + struct.pack(">II", side, side) + path.read_bytes()[24:29]
    whole = path.read_bytes()
    path.write_bytes(whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:])
    for size in (None, (8, 8), (side, side)):
        with pytest.raises(DataError, match=r"bomb.png"):
            load_image(path, size=size)


def test_modes_become_rgb_or_are_refused(tmp_path: Path) -> None:
    grey = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    rgb = Image.fromarray(np.stack([grey] * 3, axis=-1))
    others = {f"{mode}.png": rgb.convert(mode) for mode in ("L", "LA", "RGBA")}
    for name, picture in {**others, "P.png": rgb.quantize(64), "CMYK.jpg": rgb.convert("CMYK")}.items():
        picture.save(tmp_path / name, quality=100)
        loaded = load_image(tmp_path / name, size=(6, 4)).astype(int)
        np.testing.assert_allclose(loaded, np.stack([grey] * 3, axis=-1), atol=8)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    rgb.save(tmp_path / "other.png", format="GIF")
    with pytest.raises(DataError, match=r"mode I;16[\s\S]*deep.png"):
        load_image(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"other.png"):
        load_image(tmp_path / "other.png")


def test_maps_of_another_aspect_are_not_of_the_image() -> None:
    for shape in ((900, 1600), (225, 400), (252, 448), (28, 50), (29, 50), (9, 16)):
        check_aspect(shape, (1600, 900), "the map", "here")
    for shape in ((1600, 900), (900, 900), (800, 1600), (224, 448), (16,), (0, 0), (9, 16, 3)):
        with pytest.raises(DataError, match=r"shape \("):
            check_aspect(shape, (1600, 900), "the map", "here")
    check_aspect((14, 14), None, "the map", "here")
