"""From a data set root to an index, with a progress bar: what the data_prep scripts call."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from pc3d.data.calibration import calibration_findings
from pc3d.data.checks import write_findings
from pc3d.data.classes import ClassSet
from pc3d.data.errors import DataError, fail
from pc3d.data.index import SweepIndex, write_index
from pc3d.data.index_classes import with_classes
from pc3d.data.index_writer import check_free
from pc3d.data.motion import with_motion
from pc3d.data.readers import open_reader
from pc3d.data.selection import Selection
from pc3d.data.survey import Survey
from pc3d.data.survey.annotations import NO_BOXES, NO_LABELS
from pc3d.data.survey.cameras import NO_IMAGES
from pc3d.data.survey.classes import check_label_order, class_findings
from pc3d.findings import Finding

_ORDER = ("problem", "warning", "ok")


def build_index(
    reader: str,
    root: str | Path,
    out: str | Path,
    rebuild: str,
    selection: Selection | None = None,
    verbose: bool = False,
    compensate_motion: bool = False,
    classes: str | Path | None = None,
    **options: Any,
) -> SweepIndex:
    """Read a data set, look at it, write its index and what was found (`pc3d.data.checks`).

    Args:
        reader: name of the format, see `pc3d.data.readers.READERS`.
        root: data set root.
        out: index folder.
        rebuild: the command line that does this again, stored in the index.
        selection: what of the data set is indexed.
        verbose: print findings that are no fault too.
        compensate_motion: points are moved to the time of their sweep, by their own times and the poses.
        classes: that the index gets instead of the reader's, see `with_classes`.
        options: of the reader.

    Raises:
        DataError: bad input; an index that was there stays as it was.
        ImportError: of a reader that needs an extra.
    """
    selection, console = selection or Selection(), Console(stderr=True)
    check_places(Path(root), Path(out))
    with console.status(f"reading the tables of {root}"):
        source = open_reader(reader, root, **options)
    if select := getattr(source, "select", None):
        select(selection)
    metadata = with_classes(source.metadata, classes)
    if selection.labels and str(classes or "common") == "common":
        check_label_order(Path(metadata["root"]) / metadata.get("version", ""), ClassSet.of(source.metadata))
    looks = selection.skip_missing, selection.labels, selection.tables_only
    survey = Survey(metadata, len(source), *looks)
    sweeps = selection.take(track(source.sweeps(), "writing the index", total=len(source), console=console))
    motion: list[Finding] = []
    if compensate_motion:
        sweeps = with_motion(sweeps, metadata, getattr(source, "twist", None), motion)
    write_index(out, survey.watch(sweeps), {**metadata, "rebuild": rebuild})
    index = SweepIndex.open(out)
    found = [*source.findings, *survey.findings, *motion, *class_findings(ClassSet.of(metadata))]
    if not selection.tables_only:
        with console.status("comparing points with images"):
            found += _of_calibration(index)
    findings = sorted(found, key=lambda finding: _ORDER.index(finding.state))
    write_findings(index.folder, findings)
    _report(index, out, findings, verbose, console)
    return index


def _of_calibration(index: SweepIndex) -> list[Finding]:
    try:
        return calibration_findings(index)
    except DataError as error:  # of a damaged file, which a run may have a budget for
        what = " ".join(str(error).split())
        return [Finding("calibration", "warning", f"it could not be looked at: {what}", "mend the file")]


def _report(
    index: SweepIndex, out: str | Path, findings: list[Finding], verbose: bool, console: Console
) -> None:
    for finding in findings:
        if verbose or finding.state != "ok":
            style = {"problem": "bold red", "warning": "yellow"}.get(finding.state)
            console.print(finding.line(), style=style, markup=False, highlight=False, soft_wrap=True)
    splits = ", ".join(f"{split} {len(index.key_rows(split))}" for split in index.splits)
    names = {finding.name for finding in findings}
    bare = "".join(f", {name}" for name in (NO_IMAGES, NO_BOXES, NO_LABELS) if name in names)
    console.print(f"{out}: {len(index)} sweeps, key frames: {splits}{bare}", highlight=False, soft_wrap=True)


def check_places(root: Path, out: Path) -> None:
    """Whether a data set can be read at `root` and an index written at `out`, before any work.

    Raises:
        DataError: it cannot.
    """
    if not (root.is_dir() or (root.is_file() and root.suffix in (".bag", ".mcap", ".db3"))):
        what = "is a file" if root.exists() else "does not exist"
        fail(f"the data set root {what}", root, "name the folder of the data set")
    if out.resolve().is_relative_to(root.resolve()):
        fail(
            "the index would lie inside the data set", out, "name an --out outside ROOT, which stays as it is"
        )
    check_free(out)
    there = next(folder for folder in out.absolute().parents if os.path.lexists(folder))
    if not there.is_dir():
        fail("the output folder would lie below a file", there, "name another --out")
    if not os.access(there, os.W_OK | os.X_OK):
        fail("the output folder cannot be written", there, "name an --out that you may write to")
