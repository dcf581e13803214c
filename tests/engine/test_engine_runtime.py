"""Settings of `runtime`: parts of a step, float16, averaged weights, recomputed activations, TF32."""

from __future__ import annotations

import os
import socket
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from engine_configs import finetune_config, pretrain_config, read_metrics
from safetensors.torch import load_file
from torch import Tensor, nn

from pc3d.data.batch import PointView
from pc3d.engine.averaging import WeightAverage
from pc3d.engine.checkpoints import load_segmenter
from pc3d.engine.finetuner import finetune
from pc3d.engine.loop import StreamTrainLoop
from pc3d.engine.optimization import ScaledOptimWrapper, build_optimizer, prepare
from pc3d.engine.precision import use_half_sparse
from pc3d.engine.pretrainer import pretrain
from pc3d.engine.runs.exits import Stopped
from pc3d.engine.runs.signals import STOPS
from pc3d.models.heads.segmentation import PointSegmenter
from pc3d.models.image import build_image_encoder
from pc3d.models.lidar import build_lidar_encoder
from pc3d.ops.precision import full_precision

SGD = {"type": "SGD", "lr": 0.1, "clip_norm": 1.0}


def trained(parts: int, rows: Tensor, target: Tensor, steps: int, **runtime: Any) -> nn.Module:
    """A linear layer after steps on the mean squared error of some rows, given in so many parts."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    wrapper = build_optimizer(model, SGD, {"accumulate": parts, **runtime})
    for _ in range(steps):
        for x, y in zip(rows.chunk(parts), target.chunk(parts), strict=True):
            wrapper.update_params((model(x) - y).square().mean())
    return model


def test_parts_of_a_step_are_the_step_of_all_rows() -> None:
    """For a loss within a row: negatives across a batch, and batch norm, see a part only."""
    rows, target = torch.randn(12, 3), torch.randn(12, 2)
    whole, parts = trained(1, rows, target, 3), trained(4, rows, target, 3)
    torch.testing.assert_close(parts.weight, whole.weight)
    assert not torch.equal(parts.weight, trained(4, rows, target, 2).weight)


def test_the_scale_of_float16_changes_no_gradient_and_falls_where_one_overflows() -> None:
    rows, target = torch.randn(12, 3), torch.randn(12, 2)
    plain = trained(1, rows, target, 3)
    model = nn.Linear(3, 2)
    model.load_state_dict(trained(1, rows, target, 0).state_dict())
    wrapper = ScaledOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), clip_grad={"max_norm": 1.0})
    for _ in range(3):
        wrapper.update_params((model(rows) - target).square().mean())
    torch.testing.assert_close(model.weight, plain.weight)
    assert (wrapper.scale, wrapper.good_steps) == (2.0**16, 3)
    before = model.weight.clone()
    wrapper.update_params(model(rows).sum() * 1e34)  # finite, but not its gradients times the scale
    assert (wrapper.skipped, wrapper.overflowed, wrapper.scale, wrapper.good_steps) == (
        True,
        True,
        2.0**15,
        0,
    )
    assert torch.equal(model.weight, before)
    wrapper.update_params((model(rows) * torch.nan).mean())
    assert (wrapper.skipped, wrapper.overflowed) == (True, False)
    wrapper.good_steps = wrapper.GROWTH - 1
    scale = wrapper.scale
    wrapper.update_params((model(rows) - target).square().mean())
    assert (wrapper.scale, wrapper.good_steps) == (2 * scale, 0)
    other = ScaledOptimWrapper(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1))
    other.load_state_dict(wrapper.state_dict())
    assert other.scale == wrapper.scale


def test_averaged_weights_are_their_equation() -> None:
    model = nn.Linear(2, 1)
    average = WeightAverage(model, 0.9)
    expected = model.weight.detach().double().clone()
    for step in range(4):
        with torch.no_grad():
            model.weight += step + 1.0
        average.after_train_iter(None, step, outputs={"loss": 1.0})
        expected = 0.9 * expected + 0.1 * model.weight.detach().double()
    average.after_train_iter(None, 9, outputs={})  # a step that was left out
    own = model.weight.detach().clone()
    with average.in_place():
        torch.testing.assert_close(model.weight.detach().double(), expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(model.weight, own)
    with pytest.raises(ValueError, match=r"runtime\.ema is 1\.0"):
        WeightAverage(model, 1.0)


def stop_after(patch: pytest.MonkeyPatch, steps: int) -> None:
    """Ask runs to stop when they have done so many steps, as a signal would."""
    plain = StreamTrainLoop.run_iter

    def run_iter(loop: StreamTrainLoop, batches: Any) -> None:
        plain(loop, batches)
        if loop._iter == steps:
            STOPS.number = 15

    patch.setattr(StreamTrainLoop, "run_iter", run_iter)


def test_a_run_with_parts_float16_and_an_average_goes_on_exactly(tiny_index: Path, tmp_path: Path) -> None:
    settings = {
        "runtime.accumulate": 2,
        "runtime.ema": 0.5,
        "runtime.precision": "float16",
        "data.batch_size": 1,
        "data.fraction": 100,
        "lidar.voxel_size": (1.0, 1.0, 1.0),
    }
    config = finetune_config(tiny_index, 4, **settings)
    finetune(config, tmp_path / "straight")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(Stopped):
            finetune(config, tmp_path / "stopped")
    STOPS.number = None
    finetune(config, tmp_path / "stopped", resume=True)
    for name in ("segmenter", "segmenter_ema"):
        ends = [load_file(tmp_path / run / f"{name}.safetensors") for run in ("straight", "stopped")]
        assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    own = load_file(tmp_path / "straight/segmenter.safetensors")
    averaged = load_file(tmp_path / "straight/segmenter_ema.safetensors")
    assert any(not torch.equal(own[key], averaged[key]) for key in own)
    load_segmenter(tmp_path / "straight/segmenter_ema.safetensors")
    rows = [read_metrics(tmp_path / run) for run in ("straight", "stopped")]
    assert [row["step"] for row in rows[0]] == [1, 2, 3, 4]
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]


LIDAR: dict[str, dict[str, Any]] = {
    "MinkUNet": {
        "type": "MinkUNet",
        "depth": 18,
        "widths": (4,) * 8,
        "stem": 4,
        "voxel_size": (1.0, 1.0, 1.0),
    },
    "SECOND": {
        "type": "SECOND",
        "widths": (4, 4, 4, 4),
        "height_channels": 4,
        "bev_widths": (4,),
        "bev_layers": (1,),
    },
    "PointPillars": {"type": "PointPillars", "pillar_channels": 4, "bev_widths": (4,), "bev_layers": (1,)},
}


@pytest.mark.parametrize("encoder", LIDAR)
def test_recomputed_activations_give_the_same_gradients_and_statistics(encoder: str) -> None:
    grid = {"x_min": -9.6, "x_max": 9.6, "y_min": -9.6, "y_max": 9.6, "cell": 1.2}
    torch.manual_seed(0)
    plain = build_lidar_encoder({**LIDAR[encoder], "bev_channels": 4, "grid": grid}).train()
    other = deepcopy(plain)
    prepare(other, {"recompute_activations": True})
    prepare(plain, {})
    points = torch.rand(800, 4) * 16 - 8
    sample = torch.arange(2).repeat_interleave(400)
    view = PointView(points, sample, torch.arange(800), torch.eye(4).expand(2, 4, 4), 2)
    for model in (plain, other):
        features = model(view)
        (features.points.square().sum() + features.bev.square().sum()).backward()
    for (name, p), q in zip(plain.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad), name
    for (name, p), q in zip(plain.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(p, q), name


def test_a_frozen_teacher_may_run_in_half_precision() -> None:
    config = {"type": "EfficientNetLite0", "levels": (8, 16), "frozen": True, "pretrained": False}
    model = nn.ModuleDict({"image": build_image_encoder(config).eval()})
    images = torch.rand(1, 3, 64, 64)
    expected = model["image"](images)
    prepare(model, {"teacher_precision": "bfloat16"})
    found = model["image"](images)
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    scale = float(expected.abs().max())
    assert float((found - expected).abs().max()) < 0.05 * scale


def test_geometry_is_whole_float32_whatever_products_are() -> None:
    seen = []
    inside = full_precision(lambda x: seen.append(torch.get_float32_matmul_precision()) or x)
    torch.set_float32_matmul_precision("high")
    try:
        inside(torch.zeros(1))
        assert seen == ["highest"]
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_pretraining_takes_parts_and_says_what_is_wrong(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    config = pretrain_config(tiny_index, tiny_regions, 2, "sim_prc", **{"runtime.accumulate": 2})
    pretrain(config, tmp_path / "run")
    assert len(read_metrics(tmp_path / "run")) == 2
    with pytest.raises(ValueError, match=r"runtime\.accumulate is 0"):
        build_optimizer(nn.Linear(1, 1), {"lr": 0.1}, {"accumulate": 0})


def test_what_is_compiled_is_not_recomputed() -> None:
    model = build_lidar_encoder({**LIDAR["PointPillars"], "bev_channels": 4})
    with pytest.raises(ValueError, match=r"runtime\.compile and runtime\.recompute_activations"):
        prepare(model, {"compile": True, "recompute_activations": True})
    prepare(model, {"compile": True})
    compiled = [m for m in model.modules() if getattr(m, "_compiled_call_impl", None) is not None]
    assert [type(m).__name__ for m in compiled] == ["BevBackbone"]


def test_sparse_layers_run_in_float16_on_cuda_only() -> None:
    model = build_lidar_encoder({**LIDAR["MinkUNet"], "bev_channels": 4})
    with pytest.raises(ValueError, match=r"runtime\.sparse_precision='float16' needs CUDA"):
        prepare(model, {"sparse_precision": "float16"})
    points = torch.rand(300, 4) * 16 - 8
    view = PointView(points, torch.zeros(300).long(), torch.arange(300), torch.eye(4)[None], 1)
    expected = model.eval()(view).points
    use_half_sparse(model)
    assert torch.equal(model(view).points, expected)  # on the CPU as ever


def _gradients_of_a_rank(rank: int, port: int, out: Any) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    model, view, labels = _segmenter_and_sweeps(slice(300 * rank, 300 * (rank + 1)))
    wrapped = nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
    model.loss_of_logits(wrapped(view), labels)["loss_ce"].backward()
    out.put({n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None})
    dist.barrier()
    dist.destroy_process_group()


def _segmenter_and_sweeps(rows: slice) -> tuple[PointSegmenter, PointView, Tensor]:
    """A segmenter with fixed batch norms, and the given ones of two sweeps of 300 points."""
    torch.manual_seed(0)
    model = PointSegmenter(
        build_lidar_encoder({**LIDAR["MinkUNet"], "bev_channels": 4}), 3, lovasz_weight=0.0
    )
    points, labels = torch.rand(600, 4) * 16 - 8, torch.randint(0, 3, (600,))
    batch = torch.arange(600) // 300
    size = (rows.stop - rows.start) // 300
    sample = batch[rows] - batch[rows][0]
    view = PointView(points[rows], sample, torch.arange(300 * size), torch.eye(4).expand(size, 4, 4), size)
    return model.eval(), view, labels[rows]


def test_two_ranks_have_the_gradients_of_the_global_batch() -> None:
    """With batch norms in evaluation mode; with the statistics of each rank's batch they are others."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    context = mp.get_context("spawn")
    out = context.Queue()
    ranks = [context.Process(target=_gradients_of_a_rank, args=(rank, port, out)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    of_ranks = [out.get(timeout=240), out.get(timeout=240)]
    for rank in ranks:
        rank.join()
    model, view, labels = _segmenter_and_sweeps(slice(0, 600))
    model.loss_of_logits(model(view), labels)["loss_ce"].backward()
    alone = {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}
    assert alone.keys() == of_ranks[0].keys()
    for name, gradient in alone.items():
        np.testing.assert_array_equal(of_ranks[0][name], of_ranks[1][name])
        np.testing.assert_allclose(of_ranks[0][name], gradient, rtol=1e-4, atol=1e-6, err_msg=name)
