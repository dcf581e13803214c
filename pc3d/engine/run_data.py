"""Which data a run read, kept in its folder: what its model is evaluated on when nobody says otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pc3d.data.errors import fail
from pc3d.data.index import SweepIndex
from pc3d.engine.data import source_settings
from pc3d.storage.whole import read_json, write_json

RUN_DATA = "data.json"


@dataclass(frozen=True)
class RunData:
    """A data set that a run read.

    Attributes:
        index: folder. root: where its raw files are, if not where the index says. split: that was read.
    """

    index: Path
    root: Path | None = None
    split: str | None = None

    def open(self) -> SweepIndex:
        return SweepIndex.open(self.index, root=self.root)


def sources_of(data: Mapping[str, Any]) -> list[RunData]:
    """The sources of a `data` section, their paths made absolute."""
    return [
        RunData(
            Path(source["index"]).resolve(),
            Path(source["root"]).resolve() if source.get("root") else None,
            source.get("split"),
        )
        for source in source_settings(dict(data))
    ]


def write_run_data(folder: Path, data: Mapping[str, Any]) -> None:
    """Keep the sources of a `data` section in a run folder."""
    sources = [
        {"index": str(source.index), "root": source.root and str(source.root), "split": source.split}
        for source in sources_of(data)
    ]
    write_json(folder / RUN_DATA, {"sources": sources})


def check_file(checkpoint: Path, weights: Sequence[str]) -> None:
    """Whether a path is a file of weights, before anything of it or beside it is read.

    Args:
        weights: names of the files that would do.

    Raises:
        DataError: it is not; names those that lie there.
    """
    path = Path(checkpoint)
    folder = path if path.is_dir() else path.parent
    there = [str(folder / name) for name in weights if (folder / name).is_file()]
    remedy = f"name {' or '.join(there)}" if there else "`pc3d pretrain` and `pc3d finetune` write them"
    if not path.is_file():
        fail("a folder is no checkpoint" if path.is_dir() else "no checkpoint", path, remedy)
    if path.suffix != ".safetensors":
        fail("the file is no checkpoint: weights are .safetensors", path, remedy)


def read_run_data(checkpoint: Path) -> RunData:
    """The data set that the run of a checkpoint read.

    Raises:
        DataError: the checkpoint lies in no run folder that says so, or the run read several data sets.
    """
    path = Path(checkpoint).parent / RUN_DATA
    remedy = "name the data set with --index and --split"
    try:
        found = sources_of({"sources": read_json(path)["sources"]})
    except FileNotFoundError:
        fail("nothing beside the checkpoint says which data set its run read", path, remedy)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        fail(f"the data of the run cannot be read: {error}", path, remedy)
    data = only(found, path, remedy)
    if not data.index.is_dir():
        fail(f"the index that the run read is gone: {data.index}", path, "moved? name it with --index")
    return data


def only(sources: list[RunData], where: object, remedy: str) -> RunData:
    """The one data set of a run.

    Raises:
        DataError: there are several.
    """
    if len({(data.index, data.root) for data in sources}) != 1:
        listed = ", ".join(str(data.index) for data in sources)
        fail(f"the run reads {len(sources)} data sets: {listed}", where, remedy)
    return sources[0]


def evaluation_split(index: SweepIndex, trained_on: str | None) -> str:
    """The split that goes with the one that was trained on: `val` with `train`, `sim_val` with `sim_train`.

    Raises:
        DataError: there is no such split, or none can be told.
    """
    names = index.splits
    if trained_on is not None and trained_on.replace("train", "val") in names and "train" in trained_on:
        return trained_on.replace("train", "val")
    likely = [name for name in names if "val" in name]
    if len(likely) == 1:
        return likely[0]
    known = ", ".join(names) or "no split"
    fail(f"which split is to be evaluated? The index has {known}", index.folder, "name it with --split")
