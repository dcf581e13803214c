"""The checkpoints of a run: at every instant one of them is whole.

    RUN/iter_120.pth       the state, plain data
    RUN/iter_120.json      its manifest: SHA-256 of the state and of itself, settings; written after the state
    RUN/last_checkpoint    "iter_120.pth"

Files appear by rename, in this order; then the oldest checkpoint goes, its manifest first. A state without a
manifest (a save that was killed in between, pc3d 0.1) is verified by the checksums of its zip archive.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pc3d.data.errors import DataError, fail
from pc3d.storage import disk
from pc3d.storage.whole import file_sha256, new_file, read_json, write_bytes, write_json

FORMAT = 2
POINTER = "last_checkpoint"
SEAL = "manifest_sha256"
_STATE = re.compile(r"iter_(\d+)\.pth\Z")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was verified.

    Attributes:
        path: of the state. step: steps that were done. samples: of the stream that were read, over all ranks;
            None where an older pc3d wrote it.
        contract: the settings by dotted key, see `contract`; None where an older pc3d wrote it.
    """

    path: Path
    step: int
    samples: int | None = None
    contract: dict[str, Any] | None = None


@dataclass
class Found:
    """What a folder holds.

    Attributes:
        newest: the newest checkpoint that verifies, or None.
        whole: all that verify, the newest first (only `newest` where the search ended there).
        broken: what is wrong with those that do not, by file name.
    """

    whole: list[Checkpoint] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)

    @property
    def newest(self) -> Checkpoint | None:
        return self.whole[0] if self.whole else None


class CheckpointStore:
    """Writes, finds and reads the checkpoints of one run folder.

    Args:
        folder: of the run. keep: how many checkpoints stay, at least one.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"`runtime.keep_checkpoints` is {keep}, expected at least 1")
        self.folder, self.keep = Path(folder), keep

    def save(self, state: Mapping[str, Any], step: int, samples: int, contract: Mapping[str, Any]) -> Path:
        """Write a checkpoint; when it returns, the checkpoint outlives a loss of power.

        Raises:
            OSError: the disk takes no more; the earlier checkpoints are as they were.
        """
        path = self.folder / f"iter_{step}.pth"
        if path.exists():  # of a run that was resumed from an earlier step: no manifest may speak of it
            disk.remove(path.with_suffix(".json"))
        with new_file(path) as file:
            own = {"format": FORMAT, "step": step, "samples": samples, "contract": dict(contract)}
            torch.save({**own, **state}, file)  # type: ignore[arg-type]  # it needs `write` alone
        facts = {"sha256": file.sha256, "size": file.size}
        write_json(path.with_suffix(".json"), _sealed({**own, "files": {path.name: facts}}))
        write_bytes(self.folder / POINTER, f"{path.name}\n".encode())
        for old in [other for other in self._steps() if other < step][self.keep - 1 :]:
            self._remove(old)
        return path

    def find(self, every: bool = False) -> Found:
        """The newest checkpoint that verifies, by reading it; with `every`, all of them."""
        found = Found()
        for step in self._steps():
            path = self.folder / f"iter_{step}.pth"
            try:
                found.whole.append(self._verify(path, step))
            except DataError as error:
                found.broken[path.name] = str(error)
                continue
            if not every:
                break
        return found

    def read(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """The state of a checkpoint, on the CPU; nothing in the file is executed.

        Raises:
            DataError: it cannot be read.
        """
        try:
            return torch.load(checkpoint.path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, ValueError) as error:
            raise DataError(
                f"the checkpoint cannot be read: {str(error).splitlines()[0]}\n  where: {checkpoint.path}\n"
                "  remedy: remove it, and --resume goes on from the one before it"
            ) from error

    def set_aside(self, names: Iterable[str]) -> None:
        """Rename checkpoints that are not whole, so that nothing counts them any more."""
        for name in names:
            for path in (self.folder / name, (self.folder / name).with_suffix(".json")):
                if path.exists():
                    disk.rename(path, path.with_name(f"{path.name}.broken"))

    def remove_all(self) -> None:
        """Remove every checkpoint, the newest last."""
        for step in reversed(self._steps()):
            self._remove(step)
        disk.remove(self.folder / POINTER)

    def _steps(self) -> list[int]:
        """Steps of all checkpoints, whole or not, the newest first."""
        names = {p.with_suffix(".pth").name for s in ("pth", "json") for p in self.folder.glob(f"iter_*.{s}")}
        return sorted((int(match[1]) for match in map(_STATE.match, names) if match), reverse=True)

    def _remove(self, step: int) -> None:
        path = self.folder / f"iter_{step}.pth"
        disk.remove(path.with_suffix(".json"))
        disk.remove(path)

    def _verify(self, path: Path, step: int) -> Checkpoint:
        if not path.is_file():
            fail("its state is gone", path, "")
        manifest = path.with_suffix(".json")
        if not manifest.exists():
            return _verify_archive(path, step)
        try:
            facts = read_json(manifest)
            checkpoint = Checkpoint(path, int(facts["step"]), int(facts["samples"]), dict(facts["contract"]))
            expected = facts["files"][path.name]["sha256"]
            intact = facts == _sealed({key: value for key, value in facts.items() if key != SEAL})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise DataError(f"its manifest is broken: {type(error).__name__} {error}") from error
        if not intact:
            fail("its manifest is not what was written", manifest, "")
        if checkpoint.step != step or file_sha256(path) != expected:
            fail("its content is not what was written", path, "")
        return checkpoint


def _sealed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a manifest with a hash of themselves."""
    text = json.dumps(facts, sort_keys=True)
    return {**facts, SEAL: hashlib.sha256(text.encode()).hexdigest()}


def _verify_archive(path: Path, step: int) -> Checkpoint:
    """Verify a state without a manifest."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            fail(f"its part {broken} is broken", path, "")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if "format" in state:
            checkpoint = Checkpoint(path, state["step"], state["samples"], state["contract"])
        else:
            checkpoint = Checkpoint(path, int(state["meta"]["iter"]))
            state["state_dict"], state["optimizer"]
    except DataError:
        raise
    except Exception as error:  # of a broken archive: of many kinds
        raise DataError(f"it cannot be read: {type(error).__name__} {error}") from error
    if checkpoint.step != step:
        fail(f"it is of step {checkpoint.step}", path, "")
    return checkpoint
