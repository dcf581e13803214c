"""The page of `pc3d inspect`: what an index holds, as one HTML file that opens offline."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from pc3d.data.calibration.scores import calibration_scores
from pc3d.data.checks import read_findings
from pc3d.data.classes import ClassSet
from pc3d.data.errors import DataError
from pc3d.data.index import SweepIndex
from pc3d.data.records import Sweep
from pc3d.findings import Finding
from pc3d.viz.contact_sheet import sweep_sheet
from pc3d.viz.inspect_facts import SCENES, ContentFacts, content_facts, sampled_rows, scene_facts, spread
from pc3d.viz.inspect_figures import content_figures, drive_figures, time_figures
from pc3d.viz.inspect_tables import (
    box_table,
    camera_table,
    column_table,
    key_numbers,
    lidar_table,
    scene_table,
    split_table,
)
from pc3d.viz.report import Figures, Picture, Section, Table, Text, write_report

SHEETS = 6
_SHEET = 1400  # pixels
_ORDER = ("problem", "warning", "ok")


def write_inspection(
    index: SweepIndex,
    path: str | Path,
    *,
    samples: int = 200,
    sheets: int = SHEETS,
    calibration: bool = True,
    command: str = "",
    said: Callable[[str], None] = lambda _: None,
) -> None:
    """Look at an index and write the page.

    Args:
        path: of the HTML file.
        samples: key frames that are opened, at equal distances.
        sheets: sweeps that are shown as pictures.
        calibration: score the cameras.
        command: what makes the page again, for its footer.
        said: is told what is being done.

    Raises:
        DataError: the index is damaged, or empty.
    """
    classes = ClassSet.of(index.metadata)
    said("reading rows")
    total, scenes = scene_facts(index)
    rows = sampled_rows(index, samples)
    said(f"opening {len(rows)} sweeps")
    content = content_facts(index, rows, classes)
    first = index[rows[0]]
    shown = [index[rows[n]] for n in spread(len(rows), sheets)]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        said("drawing")
        sections: list[Section] = [
            key_numbers(index, total, scenes, content, first),
            *_notes(index, total, len(rows), content.failed),
            split_table(index),
            scene_table(scenes, total),
            *time_figures(scenes, work),
            *drive_figures(scenes, work),
            *content_figures(content, classes, work),
            *_tables(content, first),
            *_calibration(index, calibration, said),
            *_findings(index),
            *_sheets(shown, classes, said),
        ]
        # The pictures are read before their folder goes.
        write_report(
            path, f"What is in {index.folder.name}", sections, subtitle=_subtitle(index), command=command
        )


def _tables(content: ContentFacts, first: Sweep) -> list[Section]:
    boxes = [box_table(content)] if content.boxes else []
    cameras = [camera_table(first)] if first.cameras else []
    return [column_table(content, first), *boxes, lidar_table(first), *cameras]


def _subtitle(index: SweepIndex) -> str:
    name = str(index.metadata.get("dataset", "drives"))
    return f"{name}, {index.root}; index {index.folder}, fingerprint {index.fingerprint[:12]}"


def _notes(index: SweepIndex, scenes: int, opened: int, failed: Sequence[str]) -> list[Section]:
    said = [
        f"Points, labels and boxes are those of {opened} key frames at equal distances"
        + (f"; ways and times of {SCENES} of {scenes} scenes." if scenes > SCENES else ".")
    ]
    said += [str(note) for note in index.metadata.get("notes", ())]
    if failed:
        said.append(f"{len(failed)} sweeps could not be read, first: {failed[0]}. `pc3d verify` says which.")
    return [Text("\n\n".join(said))]


def _calibration(index: SweepIndex, wanted: bool, said: Callable[[str], None]) -> list[Section]:
    if not wanted:
        return []
    said("comparing points with images")
    try:
        scores = calibration_scores(index)
    except DataError as error:
        return [Text(f"It could not be looked at: {' '.join(str(error).split())}", "Calibration")]
    rows = [
        (
            score.camera,
            score.verdict,
            f"{score.given.z:.1f}",
            str(score.frames),
            f"{100 * score.coverage:.1f} %",
            f"{100 * score.expected:.1f} %",
        )
        for score in scores
    ]
    note = "How clearly edges of scans meet edges of images, in sigma: above 4.5 it fits."
    header = ["camera", "verdict", "sigma", "frames", "points in the images", "expected"]
    return [Table(header, rows, "Calibration", note)] if rows else []


def _findings(index: SweepIndex) -> list[Section]:
    found = read_findings(index.folder)
    if found is None:
        return [Text("The index was not checked when it was made. `pc3d verify` looks now.", "Findings")]
    if not found:
        return [Text("Nothing was odd when the index was made.", "Findings")]
    ordered: list[Finding] = sorted(found, key=lambda finding: _ORDER.index(finding.state))
    bad = [finding for finding in ordered if finding.state != "ok"]
    body = "\n\n".join(finding.line() for finding in ordered)
    count = f"{len(bad)} warnings and problems" if bad else "nothing was odd"
    return [Text(body, f"Findings of indexing: {count}")]


def _sheets(sweeps: Sequence[Sweep], classes: ClassSet | None, said: Callable[[str], None]) -> list[Section]:
    pictures = []
    for number, sweep in enumerate(sweeps, start=1):
        said(f"drawing sweep {number} of {len(sweeps)}")
        try:
            picture = sweep_sheet(sweep, _SHEET, classes)
        except DataError:
            continue  # it is named above
        pictures.append(Picture(picture, f"{sweep.scene}, sweep {sweep.token}, split {sweep.split}"))
    # Sweeps without images are squares, which stand side by side.
    columns = 1 if any(sweep.cameras for sweep in sweeps) else 2
    title = "Sweeps: from above by height (50 m), and images with points by depth"
    return [Figures(pictures, title, columns)] if pictures else []
