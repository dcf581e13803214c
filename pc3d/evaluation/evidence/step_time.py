"""CPU seconds of a training step of each run of a study, measured in turns and written down once."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from pc3d.data.collate import collate
from pc3d.engine.allocator import keep_freed_memory
from pc3d.engine.config import plain
from pc3d.engine.kinds import BUILD, data_of
from pc3d.engine.optimization import build_optimizer, prepare
from pc3d.engine.pretrainer import Pretrainer
from pc3d.engine.teacher_maps import use_teacher_cache
from pc3d.evaluation.evidence import effective
from pc3d.evaluation.evidence.description import Start, Study
from pc3d.evaluation.evidence.effective import DETECTION, SEGMENTATION
from pc3d.evaluation.evidence.places import Places
from pc3d.evaluation.evidence.plan import timing_key
from pc3d.evaluation.turns import in_turns
from pc3d.storage.whole import read_json, write_json

FILE = "step_seconds.json"
BATCHES, TURNS = 4, 3
"""Different batches that a measured run reads, and how often each is timed."""
Clock = Callable[[], float]
Measured = dict[str, dict[str, Any]]


def read_times(folder: Path) -> Measured:
    """What has been measured, by timing key; empty where nothing has."""
    path = folder / FILE
    return read_json(path)["steps"] if path.is_file() else {}


def seconds_of(times: Measured) -> dict[str, float]:
    """Median seconds by timing key."""
    return {key: float(value["seconds"]) for key, value in times.items()}


def timed_runs(study: Study) -> dict[str, tuple[Start, str]]:
    """Start and task by timing key of all pretraining of a study; equal runs are there once."""
    runs: dict[str, tuple[Start, str]] = {}
    segmented = study.probes is not None or study.segmentation is not None
    for start in study.starts:
        if start.trained and segmented:
            runs.setdefault(timing_key(study, start, SEGMENTATION), (start, SEGMENTATION))
        if start.trained and study.detection is not None and start in study.starts_of(DETECTION):
            runs.setdefault(timing_key(study, start, DETECTION), (start, DETECTION))
    return runs


def measure(study: Study, places: Places, clock: Clock = time.process_time) -> Measured:
    """Measure the runs that have no time yet, on the first world, and write all of them down.

    What is written stays: the number of steps of a budget in seconds is the same ever after.

    Args:
        clock: seconds; CPU seconds of this process, in which the frames are loaded, too.
    """
    times = read_times(places.folder)
    lacking = {key: run for key, run in timed_runs(study).items() if key not in times}
    if not lacking:
        return times
    world = study.worlds[0].name
    print(f"measuring a step of {', '.join(f'{s.name} ({t})' for s, t in lacking.values())}", flush=True)
    steps = {}
    for key, (start, task) in lacking.items():
        of = study.other(world) if start.supervised else world
        where = effective.of_places(study, places, of, start)
        steps[key] = Step(effective.pretraining(study, start, task, 1, study.seeds[0], where))
    with one_thread():
        runs = {(key, n): partial(step.run, n) for n in range(BATCHES) for key, step in steps.items()}
        seconds = in_turns(runs, TURNS, clock)
    about = {"machine": platform.platform(), "date": time.strftime("%Y-%m-%d"), "batches": BATCHES}
    for key, (start, task) in lacking.items():
        values = [value for number in range(BATCHES) for value in seconds[key, number]]
        facts = {"start": start.name, "encoder": task, "all": [round(value, 5) for value in values]}
        times[key] = {**about, **facts, "seconds": round(statistics.median(values), 5)}
    write_times(places.folder, times)
    return times


def write_times(folder: Path, times: Measured) -> None:
    """Keep measured times in a study's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    how = "median CPU seconds of one thread for a step, loading of its frames included; the runs in turns"
    write_json(folder / FILE, {"how": how, "steps": times})


@dataclass
class Step:
    """A run of which single steps are made: frames are loaded, forward, backward, update."""

    config: Config

    def __post_init__(self) -> None:
        keep_freed_memory()  # as training does
        config = self.config
        config.merge_from_dict({"runtime": {"gradients_every": 0}})
        kind = "pretrain" if config.get("objectives") else "finetune"
        self.dataset, config = data_of(config, kind)
        self.model = BUILD[kind](config)
        if isinstance(self.model, Pretrainer):  # made before the first step, as in training
            use_teacher_cache(config, self.dataset, self.model.image)
        precision = config.get("runtime", {}).get("precision", "float32")
        prepare(self.model, {"precision": precision})
        self.optimizer = build_optimizer(self.model, plain(config.optimizer), {"precision": precision})
        self.model.train()

    def run(self, number: int) -> None:
        """A step on the frames of a batch, the same ones and in the same way whenever it is asked for."""
        size = self.config.data.batch_size
        places = range(number * size, (number + 1) * size)  # of frames at equal steps through all of them
        frames = [(0, place * len(self.dataset) // (BATCHES * size)) for place in places]
        batch = collate([self.dataset[key] for key in frames])
        self.model.train_step(batch, self.optimizer)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch inside, as each run of a study has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
