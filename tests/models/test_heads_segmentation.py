"""The segmenter: what trains, what stays, and the value of its loss."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pc3d.data.batch import Batch, FrameBatch, PointView
from pc3d.geometry.grid import BevGrid
from pc3d.models.heads.lovasz import lovasz_softmax
from pc3d.models.heads.segmentation import PointSegmenter
from pc3d.models.lidar.base import LidarEncoder, LidarFeatures
from pc3d.models.lidar.minkunet import MinkUNet


class _Encoder(LidarEncoder):
    """A linear layer and batch norm on each point."""

    def __init__(self) -> None:
        super().__init__()
        self.point_channels, self.bev_channels, self.grid = 8, 8, BevGrid()
        self.layer = nn.Linear(4, 8)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, view: PointView, want_bev: bool = True) -> LidarFeatures:
        assert not want_bev
        return LidarFeatures(self.norm(self.layer(view.points)), view.points[:, 0] < 50, None)


def _batch(labels: Tensor | None) -> Batch:
    """Two sweeps of ten points; the view drops rows 3 and 12."""
    generator = torch.Generator().manual_seed(0)
    row = torch.tensor([i for i in range(20) if i not in (3, 12)])
    view = PointView(torch.randn(18, 4, generator=generator), row // 10, row, torch.eye(4).repeat(2, 1, 1), 2)
    eye = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    frame = FrameBatch({"a": view}, 20, torch.arange(20) // 10, eye, labels=labels)
    return Batch(["x", "y"], {"t": frame})


def _labels() -> Tensor:
    return torch.arange(20) % 5 - 1


def _segmenter(**options: object) -> PointSegmenter:
    torch.manual_seed(0)
    return PointSegmenter(_Encoder(), 4, **options)  # type: ignore[arg-type]


def test_loss_follows_the_rows_of_the_view() -> None:
    model, batch = _segmenter(lovasz_weight=2.0), _batch(_labels())
    model.eval()
    logits = model.logits(batch.now.views["a"])
    labels = torch.cat([_labels()[:3], _labels()[4:12], _labels()[13:]])
    losses = model.loss(batch)
    assert losses["loss_ce"].item() == pytest.approx(F.cross_entropy(logits, labels, ignore_index=-1).item())
    expected = 2 * lovasz_softmax(logits.softmax(1), labels)
    assert losses["loss_lovasz"].item() == pytest.approx(expected.item())
    assert torch.equal(model.predict(batch.now.views["a"]), logits.argmax(1))
    assert set(_segmenter(lovasz_weight=0.0).loss(batch)) == {"loss_ce"}


def test_fine_tuning_trains_everything() -> None:
    model = _segmenter(head="mlp").train()
    sum(model.loss(_batch(_labels())).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("frozen_statistics", [True, False])
def test_linear_probe_leaves_the_encoder(frozen_statistics: bool) -> None:
    model = _segmenter(freeze=True, frozen_statistics=frozen_statistics).train()
    before = {key: value.clone() for key, value in model.encoder.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    batch = _batch(_labels())
    for _ in range(3):
        optimizer.zero_grad()
        sum(model.loss(batch).values()).backward()
        optimizer.step()
    after = model.encoder.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    statistics = {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    assert moved == (set() if frozen_statistics else statistics)
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    assert model.logits(batch.now.views["a"]).requires_grad
    assert model.head.training
    assert model.encoder.training is not frozen_statistics


def test_probe_learns_separable_classes() -> None:
    batch = _batch(None)
    view = batch.now.views["a"]
    labels = torch.full((20,), -1)
    labels[view.row] = (view.points[:, 0] > 0).long()
    batch.now.labels = labels
    model = _segmenter(freeze=True)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        sum(model.loss(batch).values()).backward()
        optimizer.step()
    assert torch.equal(model.predict(view), labels[view.row])


def test_nothing_labelled_is_zero_with_a_graph() -> None:
    model = _segmenter()
    losses = model.loss(_batch(torch.full((20,), -1)))
    total = sum(losses.values())
    total.backward()
    assert total.item() == 0.0
    assert model.encoder.layer.weight.grad is not None
    assert not model.encoder.layer.weight.grad.any()


def test_on_a_sparse_unet() -> None:
    encoder = MinkUNet(18, widths=(8,) * 8, stem=8, voxel_size=(0.5, 0.5, 0.5))
    batch = _batch(_labels())
    batch.now.views["a"].points[0, 0] = 1e4  # out of the encoder's range
    probe = PointSegmenter(encoder, 4, freeze=True).train()
    first = probe.logits(batch.now.views["a"])
    assert torch.equal(first, probe.logits(batch.now.views["a"]))
    assert torch.equal(first[0], probe.head.bias)
    encoder.requires_grad_(True)
    model = PointSegmenter(encoder, 4).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    values = []
    for _ in range(30):
        loss = torch.stack(list(model.loss(batch).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.5 * values[0]


def test_refuses() -> None:
    with pytest.raises(ValueError, match="no labels"):
        _segmenter().loss(_batch(None))
    with pytest.raises(ValueError, match=r"labels span 0\.\.9"):
        _segmenter().loss(_batch(torch.arange(20) % 10))
    with pytest.raises(ValueError, match="unknown"):
        _segmenter(head="big")
