"""What is whole in a run folder, what `--resume` would take of it, and what killed runs left there."""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from pc3d.data.errors import DataError, fail
from pc3d.engine.runs.contract import LENGTH
from pc3d.engine.runs.folder import FAILURE, FINISHED, RUN, is_whole, read_marker
from pc3d.engine.runs.lock import RunLock, holder
from pc3d.engine.runs.lock_owner import RunLocked
from pc3d.engine.runs.store import CheckpointStore, Found
from pc3d.findings import Finding, looked_at
from pc3d.storage import disk
from pc3d.storage.whole import clean as remove_leftovers
from pc3d.storage.whole import leftovers

_RESUME_STAGES = "goes on with the first stage that is not finished"


def examine_run(folder: Path, clean: bool = True) -> list[Finding]:
    """Look at a run folder and at the folders of its stages.

    Args:
        clean: remove what killed runs left, if no run writes there; else only look.

    Raises:
        DataError: there is no run in the folder.
    """
    folder = Path(folder)
    stages = [path for path in sorted(folder.glob("*/")) if _is_run(path)]
    if not _is_run(folder) and not stages:
        fail("there is no run in this folder", folder, "name one that `pc3d pretrain` or `finetune` wrote")
    findings = [looked_at("lock", partial(_lock, [folder, *stages]))]
    if _has_state(folder) or not stages:
        findings += _examine(folder, "")
    for stage in stages:
        findings += _examine(stage, f"{stage.name}/")
    if stages and not _has_state(folder):
        findings.append(Finding("--resume", "ok", _RESUME_STAGES))
    return [*findings, looked_at("leftovers", partial(_leftovers, folder, [folder, *stages], clean))]


def _is_run(folder: Path) -> bool:
    return _has_state(folder) or (
        (folder / "config.py").is_file() and (folder / "environment.json").is_file()
    )


def _has_state(folder: Path) -> bool:
    """Whether steps were done here, or were to be."""
    return any((folder / name).exists() for name in (RUN, FINISHED)) or any(folder.glob("iter_*.pth"))


def _examine(folder: Path, prefix: str) -> list[Finding]:
    found = CheckpointStore(folder).find(every=True)
    done = looked_at(f"{prefix}finished", partial(_finished, folder, prefix))
    findings = [done, *_checkpoints(found, prefix)]
    if (folder / FAILURE).is_dir():
        what = "a step was not finite; it is kept to be run again"
        findings.append(Finding(f"{prefix}{FAILURE}", "warning", what, f"see {folder / FAILURE}"))
    findings += _metrics(folder, prefix)
    return [*findings, looked_at(f"{prefix}--resume", partial(_resume, folder, found, done, prefix))]


def _lock(runs: list[Path]) -> Finding:
    """A run with stages holds the folder of the stage that it is in."""
    owner = next(filter(None, map(holder, runs)), None)
    return Finding("lock", "ok", f"held by {owner}" if owner else "free: no run writes here")


def _finished(folder: Path, prefix: str) -> Finding:
    """The marker of the end, and the files that it vouches for."""
    name = f"{prefix}finished"
    try:
        marker = read_marker(folder)
    except DataError as error:
        return Finding(name, "problem", str(error).splitlines()[0], "remove it, then go on with --resume")
    if marker is None:
        return Finding(name, "ok", "not yet" if (folder / RUN).exists() else "not known: of an older pc3d")
    wrong = [file for file, sha256 in marker["files"].items() if not is_whole(folder / file, sha256)]
    if wrong:
        remedy = "the run writes them again from its last checkpoint: --resume"
        return Finding(name, "problem", f"not what the run wrote: {', '.join(sorted(wrong))}", remedy)
    files = ", ".join(sorted(marker["files"])) or "no file"
    return Finding(name, "ok", f"after {marker['iterations']} steps; whole: {files}")


def _checkpoints(found: Found, prefix: str) -> list[Finding]:
    findings = []
    for checkpoint in found.whole:
        of = "" if checkpoint.contract is not None else ", of an older pc3d"
        text = f"whole, step {checkpoint.step}{of}"
        findings.append(Finding(f"{prefix}{checkpoint.path.name}", "ok", text))
    remedy = "--resume takes an older one" if found.whole else "bring a copy of the file back"
    for name, why in found.broken.items():
        findings.append(Finding(f"{prefix}{name}", "warning", f"not whole: {why.splitlines()[0]}", remedy))
    return findings


def _metrics(folder: Path, prefix: str) -> list[Finding]:
    """Lines of `metrics.jsonl` that are none; the last one may be half written."""
    try:
        lines = (folder / "metrics.jsonl").read_text(errors="replace").splitlines()
    except OSError:
        return []
    broken = [number for number, line in enumerate(lines, 1) if line and not _is_row(line)]
    name = f"{prefix}metrics.jsonl"
    if broken:
        shown = ", ".join(map(str, broken[:5]))
        return [Finding(name, "warning", f"{len(broken)} lines are broken: {shown}", "remove these lines")]
    return [Finding(name, "ok", f"{len(lines)} lines")]


def _is_row(line: str) -> bool:
    try:
        return "step" in json.loads(line)
    except (ValueError, TypeError):
        return False


def _resume(folder: Path, found: Found, done: Finding, prefix: str) -> Finding:
    """What `--resume` does here with the settings that the run has."""
    name, newest, marker = f"{prefix}--resume", found.newest, None
    if done.state == "ok":
        marker = read_marker(folder)
    if marker is not None:
        return Finding(name, "ok", "has nothing to do: the run is finished")
    if newest is None and found.broken:
        remedy = "start again with --overwrite, or bring a copy of a file back"
        return Finding(name, "problem", "stops: no checkpoint is whole", remedy)
    if newest is None:
        return Finding(name, "ok", "starts at the first step: no checkpoint was finished")
    asked = (newest.contract or {}).get(LENGTH)
    of = "" if asked is None else f" of {asked}"
    return Finding(name, "ok", f"goes on from step {newest.step}{of} ({newest.path.name})")


def _leftovers(folder: Path, runs: list[Path], remove: bool) -> Finding:
    found = _remains(folder, runs)
    shown = ", ".join(str(path.relative_to(folder)) for path in found)
    if not found:
        return Finding("leftovers", "ok", "none")
    if not remove:
        return Finding("leftovers", "warning", shown, "without --dry-run they are removed")
    try:
        with ExitStack() as stack:
            for run in runs:
                stack.enter_context(RunLock(run))
            return _removed(folder, runs)
    except RunLocked as error:
        what = f"{shown}; not removed: {str(error).splitlines()[0]}"
        return Finding("leftovers", "warning", what, "look again when that run has ended")


def _remains(folder: Path, runs: list[Path]) -> list[Path]:
    """What killed writers left, and checkpoints that were set aside where a whole one is there."""
    broken = [
        path
        for run in runs
        if _can_spare(run)
        for path in sorted(run.glob("iter_*.broken"))
        if path.is_file()
    ]
    return [*leftovers(folder, recursive=True), *broken]


def _can_spare(run: Path) -> bool:
    return (run / FINISHED).is_file() or CheckpointStore(run).find().newest is not None


def _removed(folder: Path, runs: list[Path]) -> Finding:
    """Under the lock: look again, and remove."""
    found = _remains(folder, runs)
    remove_leftovers(folder, recursive=True)
    for path in found:
        if path.name.endswith(".broken"):
            disk.remove(path)
    return Finding("leftovers", "ok", f"removed {', '.join(str(path.relative_to(folder)) for path in found)}")
