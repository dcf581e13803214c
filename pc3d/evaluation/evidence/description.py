"""What a study compares with what: worlds, starts, seeds, a budget and tasks, as a YAML file says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pc3d.sim.sizes import SIZES, SimSize

RANDOM = "random"


@dataclass(frozen=True)
class World:
    """A data set with a training and a validation part.

    Attributes:
        name: in the tables and in the names of the units.
        seed, size: of the simulation; or
        index: folder of an index that is there. root: of its raw files, if they have moved.
        regions: folder of the index's region caches, by default in the study's folder.
    """

    name: str
    seed: int = 0
    size: str | SimSize = "study"
    index: Path | None = None
    root: Path | None = None
    regions: Path | None = None

    def sim_size(self) -> SimSize:
        return self.size if isinstance(self.size, SimSize) else SIZES[self.size]


@dataclass(frozen=True)
class Budget:
    """How long a start is pretrained: a number of steps, or CPU seconds of one thread."""

    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.seconds is None):
            raise ValueError("a budget has `steps` or `seconds`, one of the two")
        if (self.steps if self.steps is not None else self.seconds or 0) <= 0:
            raise ValueError(f"a budget is above 0, got {self.steps or self.seconds}")


@dataclass(frozen=True)
class Start:
    """Weights that the tasks begin with.

    Attributes:
        name: a line of the tables.
        random: untrained weights; or
        pretrain: name or file of a pretraining config; or
        supervised: name or file of a segmentation config, which is trained with all labels of another world
            and gives its encoder; or
        backbone: file of weights.
        overrides: settings of the pretraining config (`image.pretrained: false`, ...).
        encoder: settings of every segmentation config of this start, its pretraining included: inputs and
            widths of the network (`lidar.widths`, `data.features`, ...).
        baseline: random start that it is compared with; one of its own for another `encoder`.
        budget: of this start, by default that of the study.
        scenes: it is pretrained on the first so many scenes of the training part, 0 for all.
        teacher_cache: the frozen teacher's features are kept in the world's folder.
        seeds: of the study's, with which it is made; None for all.
    """

    name: str
    random: bool = False
    pretrain: str | None = None
    supervised: str | None = None
    backbone: Path | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    encoder: dict[str, Any] = field(default_factory=dict)
    baseline: str = RANDOM
    budget: Budget | None = None
    scenes: int = 0
    teacher_cache: bool = False
    seeds: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        kinds = [self.random, self.pretrain, self.supervised, self.backbone]
        if sum(bool(kind) for kind in kinds) != 1:
            raise ValueError(
                f"start {self.name!r} has {sum(bool(kind) for kind in kinds)} of `random`, `pretrain`, "
                "`supervised`, `backbone`, expected one"
            )
        if self.scenes < 0:
            raise ValueError(f"start {self.name!r} has {self.scenes} scenes")

    @property
    def trained(self) -> bool:
        return bool(self.pretrain or self.supervised)


@dataclass(frozen=True)
class Probes:
    """Both probes of frozen features, beside references.

    Attributes:
        points: of each sweep. sweeps: of the training and of the validation part. draw: seed of the points.
        teacher: pretraining config whose frozen image network is read at the pixels of the points, too.
        other_world: probe on another world than that of the pretraining, too.
        shots: labels of each class whose prototypes are scored, too, see `few_shot`.
    """

    points: int = 300
    sweeps: tuple[int, int] = (50, 40)
    draw: int = 0
    teacher: str | None = None
    other_world: bool = True
    shots: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if any(count < 1 for count in self.shots):
            raise ValueError(f"shots are {self.shots}, expected at least 1 each")


@dataclass(frozen=True)
class FineTuning:
    """Training with few labels and official evaluation.

    Attributes:
        config: name or file of a fine-tuning config.
        percent: shares of the training frames, nested (`data.fraction_rule=nested`). draws: of the frames.
        steps: of all starts.
        starts: by name, of which this is done; None for all.
        curve_percent, curve_draws: of the random start's label curve, with the first seed.
        longer: other numbers of steps of the random start at `percent`: does more change anything?
        overrides: settings of the config.
    """

    config: str
    percent: tuple[float, ...] = (5.0,)
    draws: tuple[int, ...] = (0,)
    steps: int = 1000
    starts: tuple[str, ...] | None = None
    curve_percent: tuple[float, ...] = ()
    curve_draws: tuple[int, ...] = (0,)
    longer: tuple[int, ...] = ()
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if wrong := [share for share in (*self.percent, *self.curve_percent) if not 0 < share <= 100]:
            raise ValueError(f"a share of the frames is in (0, 100] percent, got {wrong[0]}")
        if self.steps < 1 or any(steps < 1 for steps in self.longer):
            raise ValueError(f"steps are {self.steps} and longer {self.longer}, expected at least 1")


TASKS = ("segmentation", "detection")


@dataclass(frozen=True)
class Study:
    """A whole study.

    Attributes:
        name: heads the tables.
        worlds: each is pretrained on, probed and fine-tuned on; the next one is its other world.
        starts: in the order of the tables. seeds: of pretraining and fine-tuning.
        budget: of the pretraining.
        probes, segmentation, detection: tasks, None for not asked.
        train, val: names of the splits.
        overrides: settings of all configs. pretrain_overrides: of the pretraining configs only.
    """

    name: str
    worlds: tuple[World, ...]
    starts: tuple[Start, ...]
    seeds: tuple[int, ...]
    budget: Budget
    probes: Probes | None = None
    segmentation: FineTuning | None = None
    detection: FineTuning | None = None
    train: str = "sim_train"
    val: str = "sim_val"
    overrides: dict[str, Any] = field(default_factory=dict)
    pretrain_overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, names in (
            ("world", [world.name for world in self.worlds]),
            ("start", [start.name for start in self.starts]),
            ("seed", list(self.seeds)),
        ):
            if not names or len(set(names)) < len(names):
                raise ValueError(f"a study has at least one {what} and each once, got {names}")
        if RANDOM not in self.names or not self.start(RANDOM).random:
            raise ValueError(f"a study has the start {RANDOM!r}: add `random: {{random: true}}`")
        for start in self.starts:
            if start.seeds is not None and not (start.seeds and set(start.seeds) <= set(self.seeds)):
                raise ValueError(f"start {start.name!r} has the seeds {start.seeds}, the study {self.seeds}")
            if start.baseline not in self.names or not self.start(start.baseline).random:
                raise ValueError(f"start {start.name!r} has the baseline {start.baseline!r}, no random start")
            if start.supervised and len(self.worlds) < 2:
                raise ValueError(f"start {start.name!r} is trained on another world: the study has one")
        for task in TASKS:
            asked = (self.task(task).starts or ()) if getattr(self, task) else ()
            if unknown := sorted(set(asked) - set(self.names)):
                raise ValueError(f"{task} names the starts {', '.join(unknown)}; known: {self.names}")
        for name in (self.detection.starts or ()) if self.detection else ():
            if self.start(name).backbone or self.start(name).encoder:
                raise ValueError(f"detection has one network for all, and start {name!r} one of its own")
        if self.probes is None and self.segmentation is None and self.detection is None:
            raise ValueError("a study has at least one of `probes`, `segmentation`, `detection`")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the starts."""
        return tuple(start.name for start in self.starts)

    def start(self, name: str) -> Start:
        return next(start for start in self.starts if start.name == name)

    def world(self, name: str) -> World:
        return next(world for world in self.worlds if world.name == name)

    def task(self, name: str) -> FineTuning:
        """`segmentation` or `detection`, which the study has."""
        task: FineTuning = getattr(self, name)
        return task

    def other(self, world: str) -> str:
        """The world after `world`; itself where there is only one."""
        names = [one.name for one in self.worlds]
        return names[(names.index(world) + 1) % len(names)]

    def worlds_for(self, world: str) -> tuple[str, ...]:
        """The worlds whose data are read for what is done for a world."""
        probed = self.probes is not None and self.probes.other_world
        both = probed or any(start.supervised for start in self.starts)
        return tuple(dict.fromkeys([world, self.other(world)] if both else [world]))

    def starts_of(self, task: str) -> tuple[Start, ...]:
        """Starts of which a task is done; the baselines among them in any case."""
        wanted = self.task(task).starts if task in TASKS else None
        if wanted is None:
            return tuple(s for s in self.starts if task != "detection" or not (s.encoder or s.backbone))
        kept = {*wanted, *(self.start(name).baseline for name in wanted)}
        return tuple(start for start in self.starts if start.name in kept)


def budget_of(study: Study, start: Start) -> Budget:
    """What a start is pretrained for."""
    return start.budget or study.budget


def world_identity(world: World, fingerprint: str | None) -> Mapping[str, Any]:
    """What a world is, wherever it lies: a simulation's size and seed, or the fingerprint of an index."""
    if world.index is not None:
        return {"index": fingerprint}
    return {"seed": world.seed, **vars(world.sim_size())}
