"""Which batch norms a run over several processes synchronises."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pc3d.engine import optimization
from pc3d.engine.optimization import prepare
from pc3d.ops.sparse import ConvNormReLU, submanifold_conv


class Model(nn.Module):
    """A trained part with dense and sparse layers, one lent twice, and a frozen part."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.sparse = ConvNormReLU(submanifold_conv(4, 4, "level0"), 4)
        self.head = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, eps=1e-3, momentum=0.01))
        self.borrowed = self.head
        self.frozen = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).requires_grad_(False)

    def train(self, mode: bool = True) -> Model:
        super().train(mode)
        self.frozen.eval()
        return self


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimization, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_all_that_learn_are_synchronised_and_frozen_ones_stay(two_processes: None) -> None:
    model = Model()
    before = copy.deepcopy(model)
    parameters = dict(model.named_parameters())
    prepare(model, {"sync_batch_norm": True})
    norms = {
        name: type(m) for name, m in model.named_modules(remove_duplicate=False) if hasattr(m, "running_mean")
    }
    assert norms == {
        "dense.1": nn.SyncBatchNorm,
        "sparse.norm": nn.SyncBatchNorm,
        "head.1": nn.SyncBatchNorm,
        "borrowed.1": nn.SyncBatchNorm,
        "frozen.1": nn.BatchNorm2d,
    }
    assert model.borrowed[1] is model.head[1]
    assert (model.head[1].eps, model.head[1].momentum) == (1e-3, 0.01)
    assert all(p is parameters[name] for name, p in model.named_parameters())
    torch.testing.assert_close(model.state_dict(), before.state_dict())
    x = torch.randn(5, 4)
    torch.testing.assert_close(model.eval().head(x), before.eval().head(x))


def test_one_process_has_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model()
    prepare(model, {"sync_batch_norm": True})
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in model.modules())


def test_several_processes_on_cpus_are_refused(two_processes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"runtime\.sync_batch_norm needs CUDA"):
        prepare(Model(), {"sync_batch_norm": True})
    prepare(Model(), {})
