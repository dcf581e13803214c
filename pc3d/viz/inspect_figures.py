"""The figures of the page of `pc3d inspect`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pc3d.data.classes import ClassSet
from pc3d.viz.class_colours import box_colours, class_colours
from pc3d.viz.colours import NEUTRAL
from pc3d.viz.inspect_facts import ContentFacts, SceneFacts
from pc3d.viz.inspect_plots import bars, density_map, histogram, map_of_drives, value_histogram
from pc3d.viz.report import Figures, Picture, Section

_MAPS, _CLASSES = 6, 40


def time_figures(scenes: Sequence[SceneFacts], work: Path) -> list[Section]:
    """Steps between sweeps; nothing where no scene has two."""
    steps = np.concatenate([scene.steps for scene in scenes])
    if not len(steps):
        return []
    path = work / "steps.png"
    value_histogram(1e3 * steps, path, "time from sweep to sweep", "ms", "steps", log=True)
    longest = max(scenes, key=lambda scene: scene.steps.max(initial=0.0))
    note = (
        f"Median {1e3 * np.median(steps):.4g} ms; the longest, {1e3 * steps.max():.4g} ms, is in "
        f"{longest.name}."
    )
    return [Figures([Picture(path, note)], "Times", 2)]


def drive_figures(scenes: Sequence[SceneFacts], work: Path) -> list[Section]:
    """A map for each place; nothing where the poses are all the same."""
    places: dict[str, list[SceneFacts]] = defaultdict(list)
    for scene in scenes:
        places[scene.place].append(scene)
    pictures = []
    moved = any(np.ptp(scene.track, axis=0).max() > 0 for scene in scenes)
    for number, (place, drives) in enumerate(sorted(places.items())[:_MAPS] if moved else []):
        path = work / f"map{number}.png"
        kilometres = sum(drive.metres for drive in drives) / 1000
        map_of_drives(drives, path, place or "drives")
        pictures.append(
            Picture(path, f"{len(drives)} drives, {kilometres:.3g} km. A dot is where one starts.")
        )
    return [Figures(pictures, "Map of the drives", 2)] if pictures else []


def content_figures(content: ContentFacts, classes: ClassSet | None, work: Path) -> list[Section]:
    """Histograms of points, coverage, classes and boxes of the opened sweeps."""
    if not content.rows:
        return []
    drawn = []
    for name, title, label in (
        ("range", "distance of points", "m from the LiDAR; the last bar is of all that is farther"),
        ("height", "height of points", "m in the ego frame; the outer bars are of all beyond"),
        ("intensity", "intensity", "0 to 1"),
    ):
        path = work / f"{name}.png"
        histogram(content.histograms[name], content.bins[name], path, title, label, "points", log=True)
        drawn.append(Picture(path, _median(content, name)))
    path = work / "points.png"
    value_histogram(content.points, path, "points of a sweep", "points", "sweeps")
    few, middle, most = np.quantile(content.points, [0, 0.5, 1]).astype(int).tolist()
    points = Picture(path, f"{few:,} to {most:,}, median {middle:,}.")
    path = work / "density.png"
    density_map(content.density, len(content.rows), path)
    covered = Picture(path, "Where points are: what the sensors cover, and what the vehicle hides.")
    return [
        Figures([points, *drawn], "Points", 2),
        Figures(
            [covered, *_classes(content, classes, work), *_boxes(content, classes, work)],
            "Coverage and classes",
            2,
        ),
    ]


def _median(content: ContentFacts, name: str) -> str:
    counts, edges = content.histograms[name], content.bins[name]
    shares = np.cumsum(counts) / max(counts.sum(), 1)
    low, middle, high = (float(edges[np.searchsorted(shares, share)]) for share in (0.02, 0.5, 0.98))
    return f"Median {middle:.3g}; 96 % of the points are in {low:.3g} to {high:.3g}."


def _classes(content: ContentFacts, classes: ClassSet | None, work: Path) -> list[Picture]:
    total = content.labels.total()
    if not total or classes is None:
        return []
    names = ["ignored", *classes.classes]
    counts = np.array([content.labels[at - 1] for at in range(len(names))])
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0][:_CLASSES]
    colours = np.vstack([[NEUTRAL], class_colours(classes.classes, classes)]).astype(np.uint8)
    shares = {names[at]: 100 * counts[at] / total for at in order}
    path = work / "classes.png"
    texts = [f"{share:.3g} %" for share in shares.values()]
    bars(shares, colours[order], path, "classes of points", "% of the points", texts)
    absent = [name for name, count in zip(names[1:], counts[1:], strict=True) if not count]
    note = f"{content.labelled} labelled sweeps."
    note += f" Not among them: {', '.join(absent)}." if absent else ""
    return [Picture(path, note)]


def _boxes(content: ContentFacts, classes: ClassSet | None, work: Path) -> list[Picture]:
    if not content.boxes:
        return []
    counts = {name: sum(map(len, tables)) for name, tables in content.boxes.items()}
    names = sorted(counts, key=lambda name: (-counts[name], name))[:_CLASSES]
    path = work / "boxes.png"
    colours = box_colours(names, classes)
    shown = {name: counts[name] for name in names}
    texts = [f"{count:,}" for count in shown.values()]
    label = f"boxes in {content.annotated} annotated sweeps"
    bars(shown, colours, path, "boxes by category", label, texts)
    distances = np.concatenate([table[:, 3] for tables in content.boxes.values() for table in tables])
    far = work / "boxes_far.png"
    value_histogram(distances, far, "distance of boxes", "m from the LiDAR", "boxes")
    return [
        Picture(
            path,
            f"{sum(counts.values()):,} boxes in {content.annotated} sweeps, "
            f"{sum(counts.values()) / content.annotated:.3g} in each.",
        ),
        Picture(far, f"Median {np.median(distances):.3g} m, farthest {distances.max():.4g} m."),
    ]
