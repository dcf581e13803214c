"""Under bfloat16 only features are rounded: positions, depths, grids and boxes are those of float32."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import pc3d
from pc3d.data.batch import FrameBatch, Needs, PointView
from pc3d.data.collate import collate
from pc3d.data.dataset import FrameConfig, FrameDataset
from pc3d.data.index import SweepIndex
from pc3d.data.transforms import PointAugmentation
from pc3d.geometry.grid import BevGrid
from pc3d.models.bev.base import ViewTransform
from pc3d.models.bev.camera_map import camera_map
from pc3d.models.bev.depth import cameras_from_view, lidar_depth
from pc3d.models.bev.lss import LSS
from pc3d.models.heads.center_code import decode_boxes, encode_boxes
from pc3d.models.heads.center_point import CenterHead
from pc3d.models.heads.center_targets import center_targets
from pc3d.models.heads.map_segmentation import MapHead
from pc3d.models.heads.transfusion import TransFusionHead
from pc3d.models.image.base import ImageEncoder
from pc3d.models.lidar.pointpillars import PointPillars
from pc3d.objectives.proposal_contrast import ProposalContrast
from pc3d.ops.bev import blur_bev
from pc3d.ops.interpolate import sample_bev
from pc3d.ops.precision import full_precision, layer_in_full

GRID = BevGrid(-54.0, 54.0, -54.0, 54.0, 0.6)
METRES = 1e-4
SIZE = (4, 8)


@pytest.fixture(scope="module")
def frame(tiny_index: Path) -> FrameBatch:
    turned = PointAugmentation(rotation=(1.0, 1.0), scale=(1.1, 1.1), flip=0.0)
    config = FrameConfig(image_size=(64, 128), augmentation=(turned, turned))
    needs = Needs(images=True, views=2)
    return collate([FrameDataset(SweepIndex.open(tiny_index), needs, rows=[0], config=config)[0]]).now


def both(geometry: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """What comes of a computation in float32, and under autocast."""
    torch.manual_seed(0)
    exact = geometry()
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        assert (torch.ones(1, 3) @ torch.full((3, 1), 1.001)).dtype == torch.bfloat16, "autocast is on"
        return exact.double(), geometry().double()


class Recorder(ViewTransform):
    """A view transform that gives what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.grid, self.bev_channels, self.reads_depth = GRID, 1, True

    def forward(self, features, intrinsics, cam_SE3_lidar, camera_mask, image_size, depth=None, lens=None):  # type: ignore[no-untyped-def]
        rays = torch.cat([cam_SE3_lidar.flatten(), intrinsics.flatten(), depth.flatten()])
        assert rays.dtype == torch.float32
        return rays


class Narrow(ImageEncoder):
    """Only its width is read."""

    channels = 3

    def forward(self, images: Tensor) -> Tensor:
        raise NotImplementedError


def lss() -> LSS:
    return LSS(Narrow(), GRID, 4, depth=(1.0, 60.0, 0.5), lidar_depth=True)


def test_cameras_are_where_they_are(frame: FrameBatch) -> None:
    features = torch.zeros(frame.cam_SE3_lidar.shape[1], 3, *SIZE)
    view_transform = lss().eval()
    assert view_transform.embed_depth is not None
    known = lidar_depth(frame, SIZE).repeat(1, 2, 1, 1)

    def cells() -> Tensor:
        cam_SE3_view = cameras_from_view(frame.cam_SE3_lidar, frame.views["a"].lidar_SE3)
        found = view_transform.cells(frame.intrinsics, cam_SE3_view, frame.camera_mask, SIZE, (64, 128))
        return torch.stack([found // GRID.cols, found % GRID.cols]) * GRID.cell

    geometry: dict[str, Callable[[], Tensor]] = {
        "poses, intrinsics and depths": lambda: camera_map(Recorder(), features, frame),
        "depths of LiDAR points": lambda: lidar_depth(frame, SIZE),
        "cells of the frustum points": cells,
        "embedded depths": lambda: layer_in_full(view_transform.embed_depth, known),
    }
    for name, compute in geometry.items():
        exact, half = both(compute)
        assert (exact - half).abs().max() <= METRES, name
        assert len(exact.unique()) > 10, name


def ramp(grid: BevGrid) -> Tensor:
    """(1, 2, rows, cols) map of x and y in metres, in float32."""
    x = grid.x_min + (torch.arange(grid.cols) + 0.5) * grid.cell
    y = grid.y_min + (torch.arange(grid.rows) + 0.5) * grid.cell
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1])[None]


def test_a_map_is_read_where_it_is_asked() -> None:
    """Of the ramp of coordinates each sample is its own position."""
    head = MapHead(2, GRID, BevGrid(-50.0, 50.0, -50.0, 50.0, 0.5))
    exact, half = both(lambda: head.resample(ramp(GRID)))
    torch.testing.assert_close(half, ramp(head.map_grid).double(), atol=METRES, rtol=0)
    assert (exact - half).abs().max() <= METRES
    where = torch.rand(500, 2) * 100 - 50
    sample = torch.zeros(500, dtype=torch.long)
    _, half = both(lambda: sample_bev(ramp(GRID), GRID, where, sample)[0])
    torch.testing.assert_close(half, where.double(), atol=METRES, rtol=0)


def test_weights_of_a_sample_are_not_rounded_with_the_map() -> None:
    """A cell of 1 among zeros, exact in half precision: its samples are the weights of the interpolation."""
    grid = BevGrid(0, 8, 0, 8, 1)
    bev = torch.zeros(1, 1, 8, 8)
    bev[0, 0, 4, 4] = 1
    where = torch.rand(200, 2) + 4.0
    sample = torch.zeros(200, dtype=torch.long)
    exact, _ = sample_bev(bev, grid, where, sample)
    half, _ = sample_bev(bev.bfloat16(), grid, where, sample)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, exact.bfloat16())
    head = MapHead(1, grid, BevGrid(1, 7, 1, 7, 0.3))
    assert torch.equal(head.resample(bev.bfloat16()), head.resample(bev))
    exact, half = both(lambda: blur_bev(bev, 1.3))
    assert torch.equal(exact, half)


def test_boxes_are_decoded_where_they_are() -> None:
    boxes = torch.rand(50, 9) * 2 - 1
    boxes = boxes * torch.tensor([50, 50, 2, 2, 1, 1, 3, 5, 5]) + torch.tensor([0, 0, 0, 3, 2, 2, 0, 0, 0])
    cells = ((boxes[:, :2] + 54) / 0.6).floor().long().flip(1)
    exact, half = both(lambda: decode_boxes(encode_boxes(boxes, GRID)[0], cells, GRID))
    assert (half - exact).abs().max() <= METRES
    assert (half - boxes.double()).abs().max() <= METRES
    (target,) = center_targets([boxes], [torch.zeros(50, dtype=torch.long)], [[0]], GRID)
    _, half = both(lambda: center_targets([boxes], [torch.zeros(50, dtype=torch.long)], [[0]], GRID)[0].code)
    assert torch.equal(half, target.code.double())


def constant(head: nn.Module) -> nn.Module:
    """Every weight of the head's last layers zero, so that its boxes are its biases, drawn at random."""
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            last = "outputs" in name or ("branches" in name and ".3." in name)
            if last:
                parameter.copy_(torch.rand_like(parameter) + 1 if parameter.ndim == 1 else 0 * parameter)
    return head.eval()


@pytest.mark.parametrize("kind", [CenterHead, TransFusionHead])
def test_heads_give_the_same_boxes_of_constant_features(kind: type[CenterHead | TransFusionHead]) -> None:
    head = constant(kind(4, GRID))
    if isinstance(head, TransFusionHead):  # among equal scores rounding picks the queries
        cell = torch.arange(0, 32400, 300)[None]
        head._peaks = lambda heatmap: (torch.ones(1, 108), cell % 10, cell)  # type: ignore[method-assign]

    def found() -> Tensor:
        with torch.no_grad():
            (detections,) = head.decode(head(torch.zeros(1, 4, GRID.rows, GRID.cols)))
        assert len(detections.boxes) > 10
        order = detections.boxes[:, 0] * 1000 + detections.boxes[:, 1]
        return detections.boxes[order.argsort()]

    exact, half = both(found)
    assert (exact - half).abs().max() <= METRES


def test_positions_enter_transfusion_unrounded() -> None:
    head = TransFusionHead(4, GRID).eval()
    exact, half = both(lambda: head._embedded(head.cell_position, head.middles))
    assert torch.equal(exact, half)


def test_points_enter_the_pillars_unrounded() -> None:
    encoder = PointPillars(grid=GRID).eval()
    points = torch.rand(400, 4) * 100 - 50
    view = PointView(points, torch.zeros(400, dtype=torch.long), torch.arange(400), torch.eye(4)[None], 1)
    exact, half = both(lambda: encoder._canvas(view, encoder.inputs.voxels(view)))
    torch.testing.assert_close(half, exact, atol=METRES, rtol=METRES)


def test_proposals_stand_at_the_same_points(frame: FrameBatch) -> None:
    """Found in the frame of the loaded sweep, from a view that was turned."""
    encoder = PointPillars(grid=GRID)
    objective = ProposalContrast(encoder, num_proposals=50)
    view = frame.views["a"]

    def members() -> Tensor:
        centres, balls = objective._proposals(frame, torch.arange(len(view.points)))
        return torch.cat([centres[:, None], balls], dim=1)

    exact, half = both(members)
    assert torch.equal(exact, half)


def test_tensors_of_half_precision_are_widened() -> None:
    narrow = torch.full((2, 2), 1.001, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert full_precision(torch.matmul)(narrow, other=narrow).dtype == torch.float32
        assert full_precision(torch.matmul)(narrow.double(), narrow.double()).dtype == torch.float64
        assert (narrow @ narrow).dtype == torch.bfloat16


PRODUCTS = ("matmul", "einsum", "inv", "solve", "bmm", "baddbmm", "cdist", "conv2d", "grid_sample")
ROOMS = ("models", "objectives", "ops")


def products_of(path: Path) -> set[str]:
    """Functions of a file that multiply, invert or sample, and do not wear the decorator."""
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for function in functions:
        worn = {ast.unparse(decorator) for decorator in function.decorator_list}
        for node in ast.walk(function):
            product = isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)
            call = isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in PRODUCTS
            if (product or call) and "full_precision" not in worn:
                found.add(f"{path.stem}.{function.name}")
    return found


def test_every_product_of_the_networks_rooms_is_in_full_precision() -> None:
    """Layers multiply features; what is written out as a product in these rooms is geometry."""
    root = Path(pc3d.__file__).parent
    found = set().union(*(products_of(path) for room in ROOMS for path in (root / room).rglob("*.py")))
    assert not found
