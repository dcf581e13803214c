"""Files that lie: points, pictures, labels, arrays and lists that are not what they are read as."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from harness import QUICK, Fault, Place, check
from PIL import Image

from pc3d.data.index import SweepIndex
from pc3d.data.records import Sweep
from pc3d.data.region_cache import RegionCache
from pc3d.regions.build import open_cache
from pc3d.regions.superpixels import SuperpixelParams

Command = Sequence[str | Path]
Points = np.ndarray


def first(place: Place, key: bool = True) -> Sweep:
    index = SweepIndex.open(place.index)
    return index[int(index.key_rows(None)[0])]


def spoiled(place: Place, file: Path, content: bytes) -> Path:
    """A copy of the data set in which `file` has other content."""
    root = place.copy_of_data()
    place.rewrite(root / file.relative_to(place.sound_root), content)
    return root


def drawn(place: Place, root: Path | None, *options: str | Path) -> Command:
    """A picture of the first key frame, of a data set root."""
    row = str(SweepIndex.open(place.index).row_of(first(place).token))
    where = ["--root", root] if root else []
    return [
        "tools/visualize.py",
        place.index,
        "--row",
        row,
        *where,
        "--out",
        place.tmp / "picture.png",
        *options,
    ]


def points(change: Callable[[Points], Points]) -> Callable[[Place], Command]:
    """The points of a sweep (x y z intensity ring), changed."""

    def command(place: Place) -> Command:
        sweep = first(place)
        content = change(np.fromfile(sweep.path, np.float32).reshape(-1, 5))
        return drawn(place, spoiled(place, sweep.path, content.tobytes()), "--view", "flat")

    return command


def picture(change: Callable[[Image.Image], bytes]) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        camera = first(place).cameras[0]
        with Image.open(camera.path) as image:
            content = change(image)
        return drawn(place, spoiled(place, camera.path, content), "--view", camera.name)

    return command


def as_file(image: Image.Image, kind: str = "JPEG") -> bytes:
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()


def gigapixels(image: Image.Image) -> bytes:
    whole = as_file(image, "PNG")
    header = b"IHDR" + struct.pack(">II", 1_000_000, 1_000_000) + whole[24:29]
    return whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]


def wide_labels(place: Place) -> Command:
    path = first(place).lidarseg_path
    assert path is not None
    content = np.fromfile(path, np.uint8).astype(np.uint32).tobytes()
    return drawn(place, spoiled(place, path, content), "--view", "flat", "--colour", "label")


def region_file(content: Callable[[], bytes]) -> Callable[[Place], Command]:
    """A cluster file with other content."""

    def command(place: Place) -> Command:
        params = RegionCache.find(place.regions, "clusters").params
        path = RegionCache(place.tmp, "clusters", params).save(first(place).token, np.zeros(3, np.int16))
        path.write_bytes(content())
        return drawn(place, None, "--view", "flat", "--colour", "region", "--regions", place.tmp)

    return command


def archive(member: bytes, packed: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", packed) as file:
        file.writestr("regions.npy", member)
    return content.getvalue()


def array_of_terabytes() -> bytes:
    header = io.BytesIO()
    described = {"shape": (1 << 42,), "fortran_order": False, "descr": "<i2"}
    np.lib.format.write_array_header_1_0(header, described)
    return archive(header.getvalue() + bytes(100))


def bomb() -> bytes:
    """An archive whose directory says 4 GB of its member."""
    whole = archive(bytes(1 << 20), zipfile.ZIP_DEFLATED)
    return whole.replace(struct.pack("<I", 1 << 20), struct.pack("<I", 0xFFFFFFF0))


def nested_params(place: Place) -> Command:
    folder = place.tmp / "clusters-0123456789ab"
    folder.mkdir()
    (folder / "params.json").write_text("[" * 200_000)
    return drawn(place, None, "--view", "flat", "--colour", "region", "--regions", place.tmp)


def nested_metadata(place: Place) -> Command:
    (place.tmp / "index").mkdir()
    (place.tmp / "index" / "metadata.json").write_text('{"a":' * 200_000)
    return ["tools/visualize.py", place.tmp / "index", "--view", "flat", "--out", place.tmp / "picture.png"]


def tokens(content: bytes) -> Callable[[Place], Command]:
    """Fine-tuning on a token list."""

    def command(place: Place) -> Command:
        (place.tmp / "list.txt").write_bytes(content)
        data = [f"data.index={place.index}", f"data.tokens={place.tmp / 'list.txt'}", "data.split=None"]
        options = [*QUICK, *data, "data.fraction=None"]
        config = "configs/finetune/sim_5_percent.py"
        return ["tools/finetune.py", config, "--work-dir", place.tmp / "run", "--cfg-options", *options]

    return command


def pretraining(place: Place, *options: str) -> Command:
    data = [f"data.index={place.index}", "schedule.iterations=1", *options]
    config = "configs/pretrain/sim_slidr.py"
    return ["tools/pretrain.py", config, "--work-dir", place.tmp / "run", "--cfg-options", *QUICK, *data]


def square_ego_masks(place: Place) -> Command:
    (place.tmp / "masks").mkdir()
    for camera in first(place).cameras:
        Image.new("L", (100, 100)).save(place.tmp / "masks" / f"{camera.name}.png")
    return pretraining(place, f"data.regions={place.regions}", f"data.ego_masks={place.tmp / 'masks'}")


def upright_superpixels(place: Place) -> Command:
    """Id maps of pictures that were turned by 90 degrees."""
    index, params = SweepIndex.open(place.index), SuperpixelParams(width=448)
    there, turned = (
        open_cache(folder, "superpixels", params) for folder in (place.regions, place.tmp / "maps")
    )
    for row in index.key_rows(None).tolist():
        maps = there.load_all(index[row].token)
        turned.save(index[row].token, {name: ids.T for name, ids in maps.items()})
    return pretraining(place, f"data.regions={place.tmp / 'maps'}")


def id_maps_of_squares(place: Place) -> Command:
    for camera in (camera for key in [first(place)] for camera in key.cameras):
        path = place.tmp / "ids" / camera.name / f"{camera.path.stem}.png"
        path.parent.mkdir(parents=True)
        Image.new("L", (64, 64)).save(path)
    source = ["--kinds", "semantics", "--semantics-source", "png", "--semantics-folder", place.tmp / "ids"]
    return ["data_prep/regions.py", place.index, "--out", place.tmp / "out", "--workers", "1", *source]


FAULTS = [
    Fault(
        "a KITTI file among those of nuScenes",
        "frame",
        2,
        ["intensity is -", "of another format", r"\.pcd\.bin"],
        points(lambda p: p[: len(p) // 20 * 20, :4]),
    ),
    Fault(
        "points as big-endian floats", "frame", 2, ["not finite|expected"], points(lambda p: p.astype(">f4"))
    ),
    Fault(
        "points as float64", "frame", 2, ["x is .*e\\+", "float64"], points(lambda p: p.astype(np.float64))
    ),
    Fault(
        "points in map coordinates",
        "frame",
        2,
        ["x is .*expected -2000 to 2000"],
        points(lambda p: p + np.float32([4e5, 5e6, 0, 0, 0])),
    ),
    Fault(
        "intensity of 0 to 1 in a nuScenes file",
        "frame",
        2,
        ["intensity is 0.* in fractions, expected 0 to 255"],
        points(lambda p: p / np.float32([1, 1, 1, 256, 1])),
    ),
    Fault("a point file of zeros", "frame", 2, [r"all \d+ points lie at 0, 0, 0"], points(lambda p: p * 0)),
    Fault(
        "a picture of another size than the tables say",
        "frame",
        2,
        ["800 x 450 pixels, the tables say 400 x 225"],
        picture(lambda image: as_file(image.resize((800, 450)))),
    ),
    Fault(
        "a picture stored sideways",
        "frame",
        2,
        ["225 x 400 pixels and it is stored turned by 90 degrees", "write it upright"],
        picture(lambda image: as_file(image.transpose(Image.Transpose.ROTATE_90))),
    ),
    Fault("a picture of a terapixel", "frame", 2, ["image.*pixels"], picture(gigapixels)),
    Fault(
        "a picture of 16 bits",
        "frame",
        2,
        ["mode I;16", "8 bits a channel"],
        picture(
            lambda image: as_file(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16)), "PNG")
        ),
    ),
    Fault("labels of 4 bytes a point", "frame", 2, ["4 bytes for each point"], wide_labels),
    Fault(
        "a region file whose header says terabytes",
        "frame",
        2,
        [
            r"region file of sweep .* is broken: .*shape \(4398046511104,\).* in 100 bytes",
            "pc3d regions",
        ],
        region_file(array_of_terabytes),
    ),
    Fault(
        "a region file that unpacks to gigabytes",
        "frame",
        2,
        [r"bytes unpack to 4294967280"],
        region_file(bomb),
    ),
    Fault("params.json nested 200,000 deep", "frame", 2, ["params.json is no JSON"], nested_params),
    Fault("index metadata nested 200,000 deep", "start", 2, ["metadata.json is no JSON"], nested_metadata),
    Fault(
        "a token list of another data set",
        "start",
        2,
        [r"no sweep has 4 of 4 tokens \('a', 'b', 'c', \.\.\.\)"],
        tokens(b"a\nb\nc\nd\n"),
    ),
    Fault("a token list in UTF-16", "start", 2, ["token list", "UTF-8"], tokens("a\nb\n".encode("utf-16"))),
    Fault(
        "a token list that names a token twice", "start", 2, [r"1 of 2 tokens \('a'\)"], tokens(b"a\nb\na\n")
    ),
    Fault(
        "ego masks of another aspect", "frame", 2, [r"ego mask has the shape \(100, 100\)"], square_ego_masks
    ),
    Fault(
        "superpixels of turned pictures",
        "frame",
        2,
        [r"superpixels of camera .* has the shape .* its image is 400 x 225"],
        upright_superpixels,
    ),
    Fault(
        "semantic ids of another aspect",
        "regions",
        2,
        [r"id map has the shape \(64, 64\)"],
        id_maps_of_squares,
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_fault(fault: Fault, place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    check(fault, place, capfd)


def test_a_picture_that_exif_turns_upright_is_drawn(
    real_place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    """What a phone writes: stored sideways, and the orientation beside it."""
    assert real_place.real is not None
    turned = real_place.real.parent / "cases" / "exif_rotated.jpg"
    if not turned.is_file():
        pytest.skip(f"no {turned}")
    sound = Fault("none", "frame", 0, [], picture(lambda _: turned.read_bytes()))
    check(sound, real_place, capfd)
    assert (real_place.tmp / "picture.png").is_file()
