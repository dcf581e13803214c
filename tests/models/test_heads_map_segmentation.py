"""The map head: loss against a plain loop, resampling against coordinates, and it learns a map."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.geometry.grid import BevGrid
from pc3d.models.heads.focal_loss import sigmoid_focal_loss
from pc3d.models.heads.map_segmentation import MapHead

GRID = BevGrid(-12.0, 12.0, -9.0, 9.0, 0.5)


def middles(grid: BevGrid) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y, each (rows, cols), of the middles of the cells."""
    y = grid.y_min + (torch.arange(grid.rows) + 0.5) * grid.cell
    x = grid.x_min + (torch.arange(grid.cols) + 0.5) * grid.cell
    y, x = torch.meshgrid(y, x, indexing="ij")
    return x, y


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), gamma=st.sampled_from([0.0, 1.0, 2.0, 3.5]))
def test_the_loss_is_a_plain_loop(seed: int, gamma: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    grid = BevGrid(0.0, 3.0, 0.0, 2.0, 1.0)
    head = MapHead(2, grid, grid, num_classes=4, hidden=2, gamma=gamma)
    logits = 3 * torch.randn(2, 4, 2, 3, generator=generator)
    targets = torch.rand(2, 4, 2, 3, generator=generator) < 0.3
    expected = 0.0
    for k in range(4):
        cells = []
        for b in range(2):
            for i in range(2):
                for j in range(3):
                    p = 1.0 / (1.0 + math.exp(-float(logits[b, k, i, j])))
                    p_t = p if targets[b, k, i, j] else 1.0 - p
                    cells.append(-((1.0 - p_t) ** gamma) * math.log(p_t))
        expected += sum(cells) / len(cells)
    (name, loss), *others = head.loss(logits, targets).items()
    assert name == "loss_map"
    assert not others
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_loss_is_finite_where_the_network_is_sure() -> None:
    logits = torch.tensor([-200.0, 200.0, -200.0, 200.0], requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([0.0, 1.0, 1.0, 0.0]))
    torch.testing.assert_close(loss, torch.tensor([0.0, 0.0, 200.0, 200.0]))
    loss.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_the_gradient_is_right() -> None:
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    targets = (torch.rand(3, 5) < 0.5).double()
    assert torch.autograd.gradcheck(lambda x: sigmoid_focal_loss(x, targets), (logits,))


def test_resampling_between_equal_grids_changes_nothing() -> None:
    bev = torch.randn(2, 3, GRID.rows, GRID.cols)
    assert torch.equal(MapHead(3, GRID, GRID).resample(bev), bev)
    # Nor does the interpolation itself, which equal grids skip.
    finer = BevGrid(GRID.x_min, GRID.x_max, GRID.y_min, GRID.y_max, GRID.cell)
    object.__setattr__(finer, "x_max", GRID.x_max + 1e-9)
    torch.testing.assert_close(MapHead(3, GRID, finer).resample(bev), bev, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "target",
    [
        BevGrid(-10.0, 11.0, -8.0, 7.0, 0.3),
        BevGrid(-3.0, 9.0, 1.0, 6.0, 1.0),
        BevGrid(-11.5, 11.5, -8.5, 8.5, 0.25),
    ],
)
def test_a_linear_map_keeps_its_coordinates(target: BevGrid) -> None:
    """A map that holds x and y of its cells holds them on the other grid, too: metres stay in place."""
    bev = torch.stack(middles(GRID))[None]
    sampled = MapHead(2, GRID, target).resample(bev)
    assert sampled.shape == (1, 2, target.rows, target.cols)
    torch.testing.assert_close(sampled[0], torch.stack(middles(target)), atol=1e-4, rtol=0)


def test_beyond_the_bev_map_there_are_no_features() -> None:
    wide = BevGrid(-20.0, 20.0, -20.0, 20.0, 0.5)
    sampled = MapHead(1, GRID, wide).resample(torch.ones(1, 1, GRID.rows, GRID.cols))[0, 0]
    x, y = middles(wide)
    inside = (x.abs() < 12) & (y.abs() < 9)
    torch.testing.assert_close(sampled, inside.float())


def test_the_head_learns_one_map() -> None:
    torch.manual_seed(0)
    target_grid = BevGrid(-10.0, 10.0, -8.0, 8.0, 0.4)
    x, y = middles(target_grid)
    shapes = [x > 2, y > 1, (x.abs() < 3) & (y.abs() < 3), x + y > 0, x - y > 4, (x - 1).abs() < 0.7]
    targets = torch.stack(shapes)[None]
    bev = torch.cat([torch.stack(middles(GRID))[None] / 10, torch.randn(1, 6, GRID.rows, GRID.cols)], dim=1)
    head = MapHead(8, GRID, target_grid, hidden=16)
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-2)
    first = None
    for _ in range(120):
        loss = head.loss(head(bev), targets)["loss_map"]
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * first
    head.eval()
    with torch.no_grad():
        probabilities = head.predict(bev)
    assert 0 <= float(probabilities.min()) <= float(probabilities.max()) <= 1
    hits = (probabilities > 0.5) & targets
    either = (probabilities > 0.5) | targets
    assert (hits.sum((0, 2, 3)) / either.sum((0, 2, 3)) > 0.85).all()


def test_wrong_shapes_and_grids_are_refused() -> None:
    head = MapHead(3, GRID, GRID)
    with pytest.raises(ValueError, match="expected \\(B, C, 36, 48\\)"):
        head(torch.zeros(1, 3, 48, 36))
    with pytest.raises(ValueError, match="map_grid"):
        head.loss(torch.zeros(1, 6, 36, 48), torch.zeros(1, 6, 18, 24))
    with pytest.raises(ValueError, match="does not overlap"):
        MapHead(3, GRID, BevGrid(20.0, 30.0, 0.0, 10.0, 0.5))


def test_the_sampling_grid_is_no_weight() -> None:
    assert not [name for name in MapHead(3, GRID, BevGrid()).state_dict() if "sampling" in name]
