"""The pictures of the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from pc3d.data.batch import Needs
from pc3d.data.classes import ClassSet
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameDataset
from pc3d.data.images import load_image
from pc3d.data.index import SweepIndex
from pc3d.data.records import Camera, Sweep
from pc3d.demo.steps import REGIONS, console
from pc3d.evaluation.protocol.networks import Teacher
from pc3d.regions.build import open_cache
from pc3d.viz.colours import pca_colours
from pc3d.viz.curves import loss_curves
from pc3d.viz.plots import camera_with_superpixels
from pc3d.viz.raster import resize_nearest
from pc3d.viz.report import Figures, Picture
from pc3d.viz.scene3d import DisplayError, render_scene
from pc3d.viz.sweep_colours import ColourOptions
from pc3d.viz.sweep_view import draw_camera, draw_comparison, draw_flat, sweep_scene

EXTENT = 32.0
"""Half the side of the views from above, metres: near enough to see single objects."""


def data_figures(index: SweepIndex, row: int, regions: Path | None, folder: Path, title: str) -> Figures:
    """What goes in: a camera under its points, the sweep in 3D; with `regions` also these and superpixels."""
    sweep = index[row]
    camera = _shown_camera(sweep)
    classes = ClassSet.of(index.metadata)
    scene = sweep_scene(index, row, ColourOptions("height", classes), boxes=bool(sweep.boxes), cameras=True)
    captions = {
        "camera": f"{camera.name} with the LiDAR points that it sees, by height.",
        "superpixels": "Its superpixels: what SLIC takes to belong together.",
        "scene": "The sweep with the annotated boxes and the cameras, by height.",
        "regions": "The sweep from above with the regions of point-region contrast; grey points have none.",
    }
    paths = {name: folder / f"{sweep.scene}-{name}.png" for name in captions}
    draw_camera(sweep, scene, camera.name, paths["camera"])
    try:
        render_scene(scene, paths["scene"], view="behind")
    except DisplayError as error:
        console.print(f"no 3D picture: {error}", style="yellow")
        del captions["scene"]
    if regions is None:
        del captions["superpixels"], captions["regions"]
    else:
        _draw_regions(index, row, regions, paths)
    return Figures([Picture(paths[name], caption) for name, caption in captions.items()], title)


def _draw_regions(index: SweepIndex, row: int, regions: Path, paths: dict[str, Path]) -> None:
    sweep = index[row]
    camera = _shown_camera(sweep)
    ids = open_cache(regions, "superpixels", REGIONS["superpixels"]).load_all(sweep.token)[camera.name]
    image = load_image(camera.path, sweep.token, size=camera.size, key=camera.key)
    camera_with_superpixels(image, ids, paths["superpixels"])
    options = ColourOptions("region", regions=regions)
    draw_flat(sweep_scene(index, row, options), paths["regions"], options, extent=EXTENT)


def _shown_camera(sweep: Sweep) -> Camera:
    return next((c for c in sweep.cameras if c.name in ("CAM_FRONT", "image_02")), sweep.cameras[0])


@torch.no_grad()
def teacher_figures(index: SweepIndex, row: int, teacher: Teacher, folder: Path) -> Figures:
    """What the network learns to tell: a camera, and the image network's features of it as colours."""
    sweep = index[row]
    camera = _shown_camera(sweep)
    shown = replace(teacher.frames, num_cameras=None)
    frame = collate([FrameDataset(index, Needs(images=True), tokens=[sweep.token], config=shown)[0]]).now
    assert frame.images is not None
    number = [c.name for c in sweep.cameras].index(camera.name)
    maps = teacher.encoder(frame.images[0, number : number + 1])[0]
    height, width = maps.shape[1:]
    colours = pca_colours(maps.flatten(1).T.numpy()).reshape(height, width, 3)
    image = load_image(camera.path, sweep.token, size=camera.size, key=camera.key)
    size = 2 * image.shape[1], 2 * image.shape[0]
    pictures = [
        Picture(resize_nearest(image, size), f"{camera.name}."),
        Picture(
            resize_nearest(colours, size),
            "First three principal components of the image network's features there, which the LiDAR network "
            "learns to tell from its points.",
        ),
    ]
    return Figures(pictures, "What the network learns from")


def feature_figures(
    index: SweepIndex, row: int, starts: dict[str, Path], folder: Path, anchor: tuple[float, float]
) -> Figures:
    """Points by the principal components of each start's features, and by likeness to one point."""
    pictures = []
    sweep = index[row]
    near = f"x {anchor[0]:.0f} m, y {anchor[1]:.0f} m"
    for colour, text in (
        ("pca", "first three principal components of the {} features, from above"),
        ("similarity", f"likeness of every point to the one at {near} in the {{}} features"),
    ):
        for name, checkpoint in starts.items():
            path = folder / f"{sweep.scene}-{colour}-{name}.png"
            options = ColourOptions(colour, checkpoint=checkpoint, anchor=anchor)
            draw_flat(sweep_scene(index, row, options), path, options, extent=EXTENT)
            caption = text.format(name)
            pictures.append(Picture(path, caption[0].upper() + caption[1:] + "."))
    return Figures(pictures, "What the backbone has learned, without a label")


def comparison_figures(
    index: SweepIndex, row: int, segmenters: dict[str, Path], folder: Path, title: str
) -> Figures:
    """Prediction beside truth for each fine-tuned model."""
    pictures = []
    for name, checkpoint in segmenters.items():
        path = folder / f"{index[row].token[:8]}-comparison-{name}.png"
        options = ColourOptions(classes=ClassSet.of(index.metadata), checkpoint=checkpoint)
        draw_comparison(index[row], path, options, extent=EXTENT)
        pictures.append(Picture(path, f"Fine-tuned from the {name} start: prediction, truth, errors (red)."))
    return Figures(pictures, title, columns=1)


def curve_figures(run: Path, folder: Path, title: str = "Pretraining") -> Figures:
    """Losses and collapse monitors of a pretraining run."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    shown = ("loss", "effective_rank", "alignment")
    kept = [{k: v for k, v in row.items() if k == "step" or k.endswith(shown)} for row in rows]
    if sum(name.endswith("/loss") for name in kept[-1]) == 1:  # then it is the whole loss
        kept = [{k: v for k, v in row.items() if k != "loss"} for row in kept]
    path = folder / "curves.png"
    loss_curves(kept, path)
    return Figures([Picture(path, "Losses, effective rank and alignment of pretraining.")], title, 1)
