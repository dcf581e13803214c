"""What a run folder holds, whether a run may start in it, and the marker of a finished run.

`finished.json` is written last of all; whoever takes weights of a run looks at it. `run.json`, written first,
tells a run of this pc3d, which is nothing without its marker, from an older one's.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pc3d.data.errors import DataError, fail
from pc3d.engine.averaging import SUFFIX
from pc3d.engine.model_card import remove_card
from pc3d.engine.runs.contract import LENGTH, Contract, differences, refuse
from pc3d.engine.runs.store import Checkpoint, CheckpointStore
from pc3d.storage import disk
from pc3d.storage.whole import clean, file_sha256, read_json, write_json

RUN, FINISHED, FAILURE = "run.json", "finished.json", "failure"
_WEIGHTS = ("backbone", "image_backbone", "camera", "heads", "segmenter", "detector", "map_segmenter")
_OURS = (
    *(f"{name}{suffix}.safetensors" for name in _WEIGHTS for suffix in ("", SUFFIX)),
    "bad_samples.jsonl",
    "config.py",
    "data.json",
    "data_checks.json",
    "environment.json",
    "metrics.jsonl",
)


@dataclass(frozen=True)
class Start:
    """How a run begins.

    Attributes:
        checkpoint: what it goes on from, or None for the first step.
        finished: nothing is left to do.
        notes: what a person should know, a line each.
        changed: settings that differ from the checkpoint's and were allowed to.
        broken: names of newer checkpoints that are not whole.
    """

    checkpoint: Checkpoint | None = None
    finished: bool = False
    notes: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


def read_marker(folder: Path, name: str = FINISHED) -> dict[str, Any] | None:
    """Content of `finished.json` (or `run.json`), None where there is none.

    Raises:
        DataError: it is broken.
    """
    path = Path(folder) / name
    try:
        facts = read_json(path)
        kinds = {"contract": dict, "files": dict, "iterations": int} if name == FINISHED else {}
        if not isinstance(facts, dict) or not all(isinstance(facts.get(k), t) for k, t in kinds.items()):
            raise TypeError("it is not what pc3d writes")
        return facts
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"the marker of a run is broken: {error}\n  where: {path}\n"
            "  remedy: remove it, then go on with --resume"
        ) from error


def mark_finished(folder: Path, contract: Contract, iterations: int, files: Iterable[Path]) -> None:
    """Write the marker: the run is done, and these are its files."""
    hashes = {path.name: file_sha256(path) for path in files}
    facts = {"format": 2, "contract": contract, "iterations": iterations, "files": hashes}
    write_json(folder / FINISHED, facts)


def is_finished(folder: Path, contract: Contract) -> bool:
    """Whether a folder holds a finished run of these very settings, its files whole."""
    marker = read_marker(folder)
    return (
        marker is not None
        and not differences(marker["contract"], contract)
        and marker["iterations"] == contract[LENGTH]
        and all(is_whole(Path(folder) / name, hash_) for name, hash_ in marker["files"].items())
    )


def is_whole(path: Path, sha256: str) -> bool:
    """Whether a file is there with the content that its hash says."""
    return path.is_file() and file_sha256(path) == sha256


def check_weights(path: Path) -> None:
    """Refuse weights of a run that did not finish, or that are not what it wrote.

    A file outside of a run folder, or in one of an older pc3d, is not looked at.

    Raises:
        DataError: says which.
    """
    folder = Path(path).parent
    marker = read_marker(folder)
    if marker is None:
        if (folder / RUN).exists():
            remedy = "go on with it: the same command with --resume"
            fail("the run of these weights is not finished", folder, remedy)
        return
    expected = marker["files"].get(Path(path).name)
    if expected is not None and not is_whole(Path(path), expected):
        remedy = "go on with the run, --resume: it writes them again from its last checkpoint"
        fail("the weights are not what the run wrote", path, remedy)


def holds_a_run(folder: Path) -> str | None:
    """What a start without `--resume` and `--overwrite` would lose in a folder, or None."""
    folder = Path(folder)
    if (folder / FINISHED).exists():
        return "a finished run"
    if any(folder.glob("iter_*.pth")):
        return "a run that was begun"
    weights = [name for name in _WEIGHTS if (folder / f"{name}.safetensors").exists()]
    if weights and (folder / "config.py").exists():
        return "a run"
    if any(holds_a_run(folder / stage) for stage in _stages(folder)):
        return "a run in stages that was begun"
    return None


def _stages(folder: Path) -> list[str]:
    """Names of the stages of the run in a folder, none where it is a single one."""
    return list((read_marker(folder, RUN) or {}).get("stages", ()))


def refuse_other_kind(folder: Path, stages: Iterable[str] = ()) -> None:
    """Refuse to go on with a run in stages as if it were a single one, or of other stages, or the reverse.

    Args:
        stages: names of those of the run that is to go on.

    Raises:
        DataError: says what is there.
    """
    there, asked = _stages(folder), list(stages)
    if there != asked and (folder / RUN).exists():
        what = f"a run in the stages {', '.join(there)}" if there else "a run without stages"
        fail(f"the folder holds {what}", folder, "name another --work-dir, or remove it with --overwrite")


def refuse_occupied(folder: Path) -> None:
    """Refuse to start a run where there is one.

    Raises:
        DataError: says what is there.
    """
    held = holds_a_run(folder)
    if held:
        fail(
            f"the folder holds {held}",
            folder,
            "--resume goes on with it, --overwrite removes it, --work-dir names another folder",
        )


def empty(folder: Path) -> None:
    """Remove a run: the marker first and `run.json` last, so that nothing half removed is taken for a run."""
    folder = Path(folder)
    disk.remove(folder / FINISHED)
    CheckpointStore(folder).remove_all()
    for name in _OURS:
        disk.remove(folder / name)
    remove_card(folder)
    for name in (FAILURE, "tensorboard"):
        shutil.rmtree(folder / name, ignore_errors=True)
    disk.remove(folder / RUN)


def begin(
    store: CheckpointStore,
    contract: Contract,
    resume: bool = False,
    overwrite: bool = False,
    allowed: Iterable[str] = (),
) -> Start:
    """Decide how a run starts in the folder of `store`, and make the folder ready for it.

    Args:
        contract: of the run that is to start.
        resume: go on with what is there. overwrite: remove it; with both, go on where the settings are the
            same, else remove.
        allowed: settings, or sections of them, that may differ from what was begun.

    Raises:
        DataError: the folder holds a run and neither is asked for; another run's settings; checkpoints of
            which none is whole.
    """
    folder = store.folder
    folder.mkdir(parents=True, exist_ok=True)
    clean(folder)
    notes: tuple[str, ...] = ()
    if resume and overwrite and _is_other(store, contract, allowed):
        resume = False
        if holds_a_run(folder):
            notes = (f"{folder} begins anew: what it is made of, or what it starts from, has changed",)
    if not resume:
        if overwrite:
            empty(folder)
        refuse_occupied(folder)
        start = Start(notes=notes)
    else:
        refuse_other_kind(folder)
        start = _resumed(store, contract, tuple(allowed))
        if overwrite and start.checkpoint is None and not start.finished:
            start = Start()  # nobody asked for a checkpoint
        store.set_aside(start.broken)
    if not start.finished:
        disk.remove(folder / FINISHED)  # more steps are to come
        write_json(folder / RUN, {"format": 2, "contract": contract})
    return start


def _is_other(store: CheckpointStore, contract: Contract, allowed: Iterable[str]) -> bool:
    """Whether the folder holds something that a run of these settings cannot go on with."""
    try:
        checkpoint = _resumed(store, contract, tuple(allowed)).checkpoint
    except DataError:
        return True
    return checkpoint is not None and checkpoint.contract is None  # an older pc3d's: nobody knows


def _resumed(store: CheckpointStore, contract: Contract, allowed: tuple[str, ...]) -> Start:
    folder = store.folder
    if is_finished(folder, contract):
        return Start(finished=True, notes=(f"the run is finished: {folder}",))
    found = store.find()
    notes = [f"{name} is not used: {why.splitlines()[0]}" for name, why in found.broken.items()]
    checkpoint = found.newest
    if checkpoint is None:
        if found.broken:
            listed = "".join(f"\n    {note}" for note in notes)
            fail(
                f"no checkpoint is whole:{listed}",
                folder,
                "start again with --overwrite, or bring a copy of the files back",
            )
        marker = read_marker(folder)
        if marker is not None:
            refuse(folder, "the finished run", marker["contract"], contract, allowed)
        return Start(notes=(*notes, "no checkpoint was finished: the run starts at its first step"))
    changed: tuple[str, ...] = ()
    if checkpoint.contract is None:
        notes.append(f"{checkpoint.path.name} is of an older pc3d: its settings cannot be compared")
    else:
        changed = refuse(folder, f"step {checkpoint.step}", checkpoint.contract, contract, allowed)
    asked = contract[LENGTH]
    if checkpoint.step > asked:
        fail(
            f"the run has done {checkpoint.step} steps, more than the {asked} asked for",
            folder,
            "ask for more steps, or name another --work-dir",
        )
    notes.append(f"going on from step {checkpoint.step} ({checkpoint.path.name})")
    notes += [f"{key} is another one from here on, as allowed" for key in changed]
    return Start(checkpoint, notes=tuple(notes), changed=changed, broken=tuple(found.broken))
