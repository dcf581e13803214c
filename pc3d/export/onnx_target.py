"""ONNX of what has no sparse convolution: PointPillars and its detector, image networks, heads.

The graph ends at raw maps: boxes are read off them, and suppressed, outside.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from pc3d.data.errors import fail
from pc3d.export.base import Exported, Options, Source, Target
from pc3d.export.onnx_networks import OnImages, OnMap, OnPillars
from pc3d.export.pillars import PillarGrid
from pc3d.models.bev_models import BevModel
from pc3d.models.heads.center_point import CenterHead
from pc3d.models.heads.map_segmentation import MapHead
from pc3d.models.image.common import LevelImageEncoder
from pc3d.models.lidar.pointpillars import PointPillars

OPSET = 18
TOLERANCE = 1e-4
"""Of what onnxruntime gives, at the scale of the output."""
PILLARS, SLOTS = 50, 7
"""Of the example that is traced; both numbers are free in the graph."""
MISSING = (
    "ONNX export needs the packages onnx and onnxscript (and onnxruntime, to compare): pip install pc3d[onnx]"
)


@dataclass(frozen=True)
class Graph:
    """A network to be traced.

    Attributes:
        network: of tensors alone; it has `outputs`, the names.
        inputs: example of each input by name. free: which dimensions of it are free, and their names.
        snippet: how it is run.
    """

    network: nn.Module
    inputs: dict[str, Tensor]
    free: dict[str, dict[int, str]]
    snippet: str


def export(source: Source, options: Options) -> Exported:
    """The network of a checkpoint as `onnx.onnx`.

    Raises:
        DataError: it has layers that ONNX does not, and which.
        ImportError: the optional packages are missing.
    """
    network, left_out = source.network, dict(source.others)
    if isinstance(network, BevModel):
        graph = _of_model(source, network)
    elif isinstance(network, PointPillars):
        graph = _of_pillars(network, None)
    elif isinstance(network, LevelImageEncoder):
        graph = _of_images(network, source)
    else:
        _refuse_sparse(source, type(network).__name__, "export it to the stack that runs it: --list")
    return Exported({}, graph.snippet, left_out, (), _writer(graph, "onnx"))


def export_head(source: Source, options: Options) -> Exported:
    """What stands on the maps of a detector's or map segmenter's branches, as `onnx-head.onnx`.

    Raises:
        DataError: the checkpoint has no such head.
    """
    model = source.network
    if not isinstance(model, BevModel):
        fail("the checkpoint has no head on a BEV map", source.path, "name a detector or map segmenter")
    _check_head(source, model)
    branches = {"lidar": model.network.lidar, "camera": model.network.camera}
    grid = model.network.grid
    inputs = {
        f"bev_{name}": torch.randn(1, branch.bev_channels, grid.rows, grid.cols)
        for name, branch in branches.items()
        if branch is not None
    }
    free = {name: {0: "batch"} for name in inputs}
    on_map = OnMap(model.network, model.head)
    snippet = _snippet(
        "onnx-head", inputs, on_map.outputs, "BEV maps of the branches, on the grid below", str(grid)
    )
    others = {"branches": "their BEV maps are the inputs"}
    return Exported({}, snippet, others, (), _writer(Graph(on_map, inputs, free, snippet), "onnx-head"))


def _of_model(source: Source, model: BevModel) -> Graph:
    lidar, camera = model.network.lidar, model.network.camera
    if camera is not None:
        fail(
            "the camera branch lifts pixels into the map by a kernel of pc3d's, which ONNX does not have",
            source.path,
            "export image_backbone.safetensors --to onnx and the model --to onnx-head",
        )
    if not isinstance(lidar, PointPillars):
        _refuse_sparse(source, type(lidar).__name__, "export the rest: --to onnx-head")
    _check_head(source, model)
    return _of_pillars(lidar, OnMap(model.network, model.head))


def _refuse_sparse(source: Source, kind: str, remedy: str) -> NoReturn:
    fail(f"{kind} has sparse convolutions, for which ONNX has no operator", source.path, remedy)


def _check_head(source: Source, model: BevModel) -> None:
    if not isinstance(model.head, CenterHead | MapHead):
        fail(
            f"the {type(model.head).__name__} chooses queries by their scores: it gives boxes, no maps",
            source.path,
            "train the detector with a CenterHead",
        )


def _of_pillars(encoder: PointPillars, on_map: OnMap | None) -> Graph:
    grid = PillarGrid.of(encoder)
    generator = torch.Generator().manual_seed(0)
    low, high = torch.tensor(grid.low), torch.tensor(grid.high)
    inputs = {
        "pillars": torch.rand(PILLARS, SLOTS, 3 + len(grid.columns), generator=generator),
        "counts": torch.randint(1, SLOTS + 1, (PILLARS,), generator=generator),
        "cells": torch.stack(
            [torch.randint(0, n, (PILLARS,), generator=generator) for n in grid.shape], dim=1
        ),
    }
    inputs["pillars"][:, :, :3] = low + inputs["pillars"][:, :, :3] * (high - low)
    inputs["cells"] = torch.unique(inputs["cells"], dim=0)
    count = len(inputs["cells"])
    inputs = {name: tensor[:count] for name, tensor in inputs.items()}
    free = {"pillars": {0: "V", 1: "M"}, "counts": {0: "V"}, "cells": {0: "V"}}
    network = OnPillars(encoder, on_map)
    about = "(V, M, C) x y z and the columns, zeros behind the last point; (V,); (V, 2) row and column"
    return Graph(network, inputs, free, _snippet("onnx", inputs, network.outputs, about, str(grid)))


def _of_images(encoder: LevelImageEncoder, source: Source) -> Graph:
    height, width = source.image_size
    inputs = {"images": torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))}
    network = OnImages(encoder)
    about = "(1, 3, H, W) RGB in 0..1, which the network normalises itself"
    return Graph(network, inputs, {"images": {}}, _snippet("onnx", inputs, network.outputs, about, ""))


def _snippet(name: str, inputs: dict[str, Tensor], outputs: tuple[str, ...], about: str, grid: str) -> str:
    fed = ", ".join(f"{key!r}: {key}" for key in inputs)
    space = f"# {grid}\n" if grid else ""
    return f"""\
# {about}
{space}session = onnxruntime.InferenceSession("{name}.onnx", providers=["CPUExecutionProvider"])
maps = dict(zip({list(outputs)}, session.run(None, {{{fed}}}), strict=True))
"""


def _writer(graph: Graph, name: str) -> Callable[[Path], list[Path]]:
    def write(out: Path) -> list[Path]:
        path = out / f"{name}.onnx"
        partial = path.with_name(f".{path.name}.partial")
        try:
            trace(graph, partial)
            compare(graph, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return [path]

    return write


def trace(graph: Graph, path: Path) -> None:
    """Write the graph of a network.

    Raises:
        ImportError: the optional packages are missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(MISSING) from error
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    free = {
        name: {axis: torch.export.Dim(text, min=1) for axis, text in axes.items()}
        for name, axes in graph.free.items()
    }
    shapes = list(free.values()) if any(free.values()) else None
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph.network.eval(),
                tuple(graph.inputs.values()),
                str(path),
                input_names=list(graph.inputs),
                output_names=list(graph.network.outputs),  # type: ignore[arg-type]
                dynamic_shapes=_as_arguments(graph.network, shapes),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        logger.setLevel(level)


def _as_arguments(network: nn.Module, shapes: list[Any] | None) -> Any:
    """Of `*maps` the shapes are one argument."""
    if shapes is None:
        return None
    return (tuple(shapes),) if isinstance(network, OnMap) else tuple(shapes)


def compare(graph: Graph, path: Path) -> float | None:
    """Largest difference of onnxruntime's outputs to the network's, over their scale; None without it.

    Raises:
        RuntimeError: it is above `TOLERANCE`.
    """
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    got = session.run(None, {name: tensor.numpy() for name, tensor in graph.inputs.items()})
    with torch.no_grad():
        want = [tensor.numpy() for tensor in graph.network(*graph.inputs.values())]
    worst = max(
        float(np.abs(a - b).max() / max(1.0, np.abs(b).max())) for a, b in zip(got, want, strict=True)
    )
    if not worst < TOLERANCE:
        raise RuntimeError(
            f"onnxruntime differs by {worst:.2g} from the network: report this with the checkpoint"
        )
    return worst


TARGETS: dict[str, Target] = {
    "onnx": Target(
        "ONNX: PointPillars or its detector, an image network",
        "model",
        export,
        "py",
        lambda tensors: tensors,
        "as below; pc3d.export.pillars makes the inputs",
    ),
    "onnx-head": Target(
        "ONNX: what stands on the BEV maps of a detector or map segmenter",
        "model",
        export_head,
        "py",
        lambda tensors: tensors,
        "as below",
    ),
}
