"""Settings that do not go together, each right by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pc3d.data.frame_types import FrameConfig
from pc3d.data.sweeps import point_columns
from pc3d.engine.data import FRACTION_DEFAULTS
from pc3d.engine.settings.check import Fault
from pc3d.engine.settings.expected import arguments
from pc3d.engine.settings.index_classes import paste_faults
from pc3d.engine.settings.sections import PARTS
from pc3d.engine.settings.statistics import statistics_faults
from pc3d.engine.settings.teacher import teacher_faults
from pc3d.geometry.grid import BevGrid
from pc3d.models.lidar import LIDAR_ENCODERS
from pc3d.models.lidar.inputs import FEWEST
from pc3d.objectives.groups import check_pixel_stride
from pc3d.objectives.registry import objective_type

Settings = Mapping[str, Any]
LENGTHS = ("iterations", "epochs")
FRAMES = ("tokens", "scenes", "fraction")
ALTERNATIVES = {"schedule": LENGTHS, "data": FRAMES}
"""Settings of a section of which one is given."""
MOST_CELLS = 4096**2
"""Of a BEV map, each with a feature."""


def cross_faults(config: Settings, kind: str) -> Iterator[Fault]:
    """What does not go together in a config, or in a stage with what all stages share, of right settings."""
    yield from _length(config["schedule"])
    yield from _sources(config["data"])
    yield from paste_faults(config["data"])
    yield from teacher_faults(config, kind)
    yield from statistics_faults(config, kind)
    yield from _parts(config)
    yield from _columns(config)
    for where, grid in _grids(config):
        yield from _whole_cells(where, grid)
    if kind == "pretrain":
        yield from _objectives(config)
    else:
        yield from _task(config)


def _several(settings: Settings, names: tuple[str, ...], section: str) -> Iterator[Fault]:
    given = [name for name in names if settings.get(name) is not None]
    if len(given) > 1:
        yield Fault(
            f"{section}.{given[0]}",
            f"and {', '.join(f'`{section}.{name}`' for name in given[1:])} are both set: give one of them "
            f"(over a base config: {section.split('.')[0]}=dict(_delete_=True, ...))",
        )


def _length(schedule: Settings) -> Iterator[Fault]:
    yield from _several(schedule, LENGTHS, "schedule")
    if not any(name in schedule for name in LENGTHS):
        yield Fault("schedule.iterations", "is missing: set `schedule.iterations` or `schedule.epochs`")


def _sources(data: Settings) -> Iterator[Fault]:
    yield from _several(data, FRAMES, "data")
    sources = data.get("sources", [{}])
    if not sources:
        yield Fault("data.sources", "is empty, expected a list of sections")
    for number, source in enumerate(sources):
        where = f"data.sources.{number}" if "sources" in data else "data"
        if "sources" in data:
            yield from _several(source, FRAMES, where)
        whole = {**data, **source}
        if whole.get("index") is None:
            yield Fault(f"{where}.index", "is missing: the folder that `pc3d index` wrote")
        listed = whole.get("tokens") is not None or whole.get("scenes") is not None
        if whole.get("fraction") is not None and whole.get("split") is None and not listed:
            yield Fault(f"{where}.split", "is missing: `fraction` is the share of a split")
        yield from _fraction_rule(source if "sources" in data else data, whole, where)
    views = data.get("augmentation", {})
    if isinstance(views, list | tuple) and len(views) not in (1, 2):
        yield Fault(
            "data.augmentation", f"has {len(views)} sections, expected one for both views or one each"
        )
    names, count = data.get("camera_names"), data.get("cameras")
    if names is not None and not names:
        yield Fault("data.camera_names", "is empty: name cameras, or leave it out for all")
    if names is not None and count is not None and count > len(names):
        yield Fault("data.cameras", f"is {count}, but `data.camera_names` has {len(names)}")


def _fraction_rule(own: Settings, whole: Settings, where: str) -> Iterator[Fault]:
    """A rule or a draw that would not be read, in a source (`own`) or of it and what all share (`whole`)."""
    rule, draw = whole.get("fraction_rule", "auto"), whole.get("fraction_draw", 0)
    if draw and rule != "nested":
        yield Fault(f"{where}.fraction_draw", f"is {draw}: only `fraction_rule='nested'` has draws")
    for key, default in FRACTION_DEFAULTS.items():
        if own.get(key, default) != default and whole.get("fraction") is None:
            yield Fault(f"{where}.{key}", "is read with `fraction`: set that too, or leave this out")


def _parts(config: Settings) -> Iterator[Fault]:
    if config.get("camera") and not config.get("image"):
        yield Fault("camera", "lifts the features of images: set `image` too")
    present = [name for name in PARTS if config.get(name)]
    for name in config.get("frozen", ()):
        if name not in present:
            yield Fault("frozen", f"names {name}, which the config does not have: {', '.join(present)}")


def _grids(config: Settings) -> Iterator[tuple[str, Settings]]:
    for section, name in (("lidar", "grid"), ("camera", "grid"), ("data", "map_grid")):
        grid = (config.get(section) or {}).get(name)
        if isinstance(grid, Mapping) and set(grid) <= set(arguments(BevGrid)):
            yield f"{section}.{name}", grid


def _whole_cells(where: str, settings: Settings) -> Iterator[Fault]:
    """A map of another size than the grid says would be made of it, or none that fits into memory."""
    grid = BevGrid(**settings)
    if min(grid.cols, grid.rows) < FEWEST or grid.cols * grid.rows > MOST_CELLS:
        yield Fault(
            f"{where}.cell",
            f"is {grid.cell} m, a grid of {grid.cols:.9g} x {grid.rows:.9g} cells: at least {FEWEST} "
            f"along x and y, and at most {MOST_CELLS:,} in all are expected",
        )
        return
    for low, high in ((grid.x_min, grid.x_max), (grid.y_min, grid.y_max)):
        cells = (high - low) / grid.cell
        if abs(cells - round(cells)) > 1e-3 * cells:
            yield Fault(f"{where}.cell", f"is {grid.cell} m, which does not divide {low} to {high} m evenly")
            return


def _columns(config: Settings) -> Iterator[Fault]:
    """Points have x, y, z and `data.features`; the encoder must not read more."""
    lidar, features = config.get("lidar"), config["data"].get("features", ("intensity",))
    defaults = arguments(LIDAR_ENCODERS[lidar["type"]]) if lidar else {}
    if not lidar or "in_channels" not in defaults:
        return
    columns, channels = lidar.get("columns"), lidar.get("in_channels")
    if columns is not None and channels is not None and len(columns) != channels:
        yield Fault("lidar.columns", f"names {len(columns)} columns, but `lidar.in_channels` is {channels}")
    last = max(columns, default=0) if columns is not None else (channels or 4) - 1
    known = len(point_columns(features))
    if last >= known:
        key = "columns" if columns is not None else "in_channels"
        yield Fault(
            f"lidar.{key}",
            f"reads column {last} of the points, which have {known}: x, y, z and `data.features` "
            f"({', '.join(features)})",
        )


def _objectives(config: Settings) -> Iterator[Fault]:
    objectives = config["objectives"]
    if not objectives:
        yield Fault("objectives", "has none: set at least one")
    if objectives and not any(settings.get("weight", 1) for settings in objectives.values()):
        yield Fault("objectives", "has none with a `weight` above 0: nothing would be learned")
    yield from _ids(config)
    for name, settings in objectives.items():
        kind, size = objective_type(settings), config["data"].get("image_size", FrameConfig.image_size)
        try:
            check_pixel_stride(size, settings.get("pixel_stride", 1))
        except ValueError as error:
            yield Fault(f"objectives.{name}.pixel_stride", str(error).removeprefix("pixel_stride "))
        for part, reads in (("image", kind.reads_image), ("camera", kind.reads_camera_bev)):
            if reads and not config.get(part):
                yield Fault(f"objectives.{name}", f"({settings['type']}) needs images: set `{part}` too")
    layers = [("shared_heads", pair) for pair in (config.get("shared_heads") or {}).items()]
    init = config.get("init") or {}
    layers += [("init.heads", (name, "")) for name in init.get("heads", {})]
    for section, pair in layers:
        for layer in filter(None, pair):
            if layer.split(".")[0] not in objectives:
                known = ", ".join(objectives)
                yield Fault(section, f"names the layer {layer!r} of no objective; known: {known}")
    if init.get("heads") and not (init.get("run") or init.get("stage")):
        yield Fault("init.heads", "names layers of an earlier run: set `init.run`")


def _ids(config: Settings) -> Iterator[Fault]:
    """Cached ids that objectives read come from `data.regions` of each source."""
    kinds = [objective_type(settings).needs_of(settings).ids for settings in config["objectives"].values()]
    read = ", ".join(dict.fromkeys(name for names in kinds for name in names))
    data = config["data"]
    for number, source in enumerate(data.get("sources", [{}])):
        if read and {**data, **source}.get("regions") is None:
            where = f"data.sources.{number}" if "sources" in data else "data"
            yield Fault(
                f"{where}.regions",
                f"is missing: the objectives read {read}; it is the folder that `pc3d regions` wrote",
            )


def _task(config: Settings) -> Iterator[Fault]:
    task, init = config.get("task", "lidarseg"), config.get("init") or {}
    if task == "lidarseg":
        for name in ("network", "image", "camera"):
            if config.get(name):
                yield Fault(name, "is not read by the task lidarseg: set `task`, or leave it out")
        for name in ("run", *PARTS):
            if init.get(name):
                yield Fault(
                    f"init.{name}",
                    "is not read by the task lidarseg: start with init.checkpoint=RUN/backbone.safetensors",
                )
        if not config.get("lidar"):
            yield Fault("lidar", "is missing: the task lidarseg has no other input")
        if config["data"].get("sweeps", 1) > 1:
            yield Fault(
                "data.sweeps", "must be 1: LiDAR segmentation reads one sweep, whose points have labels"
            )
    elif config.get("image") and not config.get("camera"):
        yield Fault("image", f"is read by the task {task} through `camera`: set it too, or leave `image` out")
    elif not config.get("lidar") and not config.get("image"):
        yield Fault("lidar", f"is missing: the task {task} reads `lidar`, `image` and `camera`, or both")
    if task == "map":
        grids = (config.get("head") or {}).get("map_grid"), config["data"].get("map_grid")
        if None not in grids and grids[0] != grids[1]:
            yield Fault("head.map_grid", "differs from `data.map_grid`: leave it out")
