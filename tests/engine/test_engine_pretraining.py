"""Stages, initial weights, frozen parts, lent heads and gradient conflicts of pretraining."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from engine_configs import BEV, pretrain_config, read_metrics
from safetensors.torch import load_file

from pc3d.data.errors import DataError
from pc3d.engine.gradients import gradient_conflicts
from pc3d.engine.pretrainer import build_pretrainer, pretrain
from pc3d.engine.stages import stage_configs


def calico(tiny_index: Path, tiny_regions: Path, iterations: int = 2, **more):
    return pretrain_config(
        tiny_index, tiny_regions, iterations, "sim_calico", narrow=False, **{**BEV, **more}
    )


@pytest.fixture(scope="module")
def calico_run(tiny_index: Path, tiny_regions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("calico") / "run"
    pretrain(calico(tiny_index, tiny_regions), run)
    return run


def test_both_stages_of_calico_are_one_run(calico_run: Path) -> None:
    prc, rad, result = (
        load_file(calico_run / stage / "backbone.safetensors") for stage in ("prc", "rad", "")
    )
    for name, tensor in prc.items():
        assert torch.equal(rad[name], tensor), f"the frozen LiDAR encoder changed: {name}"
        assert torch.equal(result[name], tensor)
    heads = [load_file(calico_run / stage / "heads.safetensors") for stage in ("prc", "rad")]
    for layer in ("0.weight", "2.bias"):
        assert torch.equal(heads[0][f"prc.projector.{layer}"], heads[1][f"rad.teacher_projector.{layer}"])
    for part in ("image_backbone", "camera"):
        assert (calico_run / f"{part}.safetensors").is_file()
    assert not (calico_run / "prc" / "camera.safetensors").is_file() or "camera" not in prc


def times(run: Path) -> list[int]:
    """When the marker of each stage was written."""
    return [(run / stage / "finished.json").stat().st_mtime_ns for stage in ("prc", "rad")]


def test_only_what_is_missing_of_the_stages_is_run(
    calico_run: Path, tiny_index: Path, tiny_regions: Path
) -> None:
    weights, before = calico_run / "rad" / "backbone.safetensors", times(calico_run)
    content = weights.read_bytes()
    weights.unlink()
    pretrain(calico(tiny_index, tiny_regions), calico_run, resume=True)
    after = times(calico_run)
    assert after[0] == before[0]
    assert after[1] > before[1]
    assert weights.read_bytes() == content
    with pytest.raises(DataError, match="holds a finished run"):
        pretrain(calico(tiny_index, tiny_regions), calico_run)


def test_a_stage_begins_again_when_the_one_before_it_changed(
    calico_run: Path, tiny_index: Path, tiny_regions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain(calico(tiny_index, tiny_regions, 3), calico_run, resume=True)
    assert capsys.readouterr().out.count("going on from step 2") == 1  # prc; rad starts from other weights
    assert [row["step"] for row in read_metrics(calico_run / "rad")] == [1, 2, 3]


def test_mistakes_in_stages_are_named(tiny_index: Path, tiny_regions: Path, tmp_path: Path) -> None:
    config = calico(tiny_index, tiny_regions)
    config.stages[1].init.stage = "prcc"
    with pytest.raises(ValueError, match="starts from stage 'prcc'"):
        stage_configs(config, tmp_path)
    config.stages[1].name = "prc"
    with pytest.raises(ValueError, match="a name of its own"):
        stage_configs(config, tmp_path)


def test_mistakes_in_initial_weights_are_named(
    calico_run: Path, tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    def build(**init):
        return build_pretrainer(pretrain_config(tiny_index, tiny_regions, 1, "sim_prc", init=init))

    with pytest.raises(ValueError, match=r"`init\.lidarr` is no setting; did you mean `init\.lidar`"):
        build(lidarr="x")
    with pytest.raises(DataError, match="no finished pretraining run"):
        build(run=str(tmp_path))
    with pytest.raises(ValueError, match="does not fit"):
        build(lidar=str(calico_run / "backbone.safetensors"))
    with pytest.raises(ValueError, match=r"`init\.heads` names layers of an earlier run: set `init\.run`"):
        build(heads={"prc.projector": "prc.projector"})
    with pytest.raises(ValueError, match="`frozen` names camera, which the config does not have: lidar"):
        build_pretrainer(pretrain_config(tiny_index, tiny_regions, 1, "sim_prc", frozen=("camera",)))


def test_rad_may_borrow_the_head_that_prc_trains(
    tiny_index: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    """CALICO in one step: the LiDAR teacher learns by PRC, the cameras learn from it."""
    objectives = {
        "prc": {"type": "PRC", "num_region_points": 64, "num_background_points": 64},
        "rad": {"type": "RAD", "num_points": 64},
    }
    config = calico(tiny_index, tiny_regions)
    config.pop("stages")
    config.objectives = objectives
    config.shared_heads = {"rad.teacher_projector": "prc.projector"}
    model = build_pretrainer(config)
    assert model.objectives["rad"].teacher_projector is model.objectives["prc"].projector
    pretrain(config, tmp_path)
    row = read_metrics(tmp_path)[0]
    assert row["gradients/lidar/rad/norm"] == 0.0
    assert row["gradients/lidar/prc/norm"] > 0.0
    assert row["gradients/image/rad/norm"] > 0.0


def test_gradient_conflicts_are_norms_and_cosines_of_plain_gradients() -> None:
    torch.manual_seed(0)
    weight = torch.randn(3, 4, requires_grad=True)
    shared, other = weight * 2, weight.exp()
    losses = {
        "a": (shared**2).sum(),
        "b": (shared * other).sum(),
        "c": -2 * (shared**2).sum(),
        "unread": torch.zeros((), requires_grad=True) * 1.0,
    }
    report = gradient_conflicts(losses, [shared, other])
    a = torch.cat([2 * shared, torch.zeros_like(other)]).flatten()
    b = torch.cat([other, shared]).flatten()
    torch.testing.assert_close(report["a/norm"], a.detach().norm())
    torch.testing.assert_close(report["b/norm"], b.detach().norm())
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=0).detach()
    torch.testing.assert_close(report["a~b/cosine"], cosine)
    assert float(report["a~c/cosine"]) == pytest.approx(-1.0)
    assert float(report["a~unread/cosine"]) == float(report["unread/norm"]) == 0.0
    assert weight.grad is None
    sum(losses.values()).backward()  # the graph is still there


def test_the_joint_step_encodes_each_view_once(tiny_index: Path, tiny_regions: Path) -> None:
    """Separately PRC takes 2 passes of the cloud, FAC 1 and a key pass, SuperFlow++ 4: jointly 5 and 1."""
    from pc3d.data.collate import collate
    from pc3d.engine.config import plain
    from pc3d.engine.data import build_dataset
    from pc3d.engine.pretrainer import objective_needs

    config = pretrain_config(tiny_index, tiny_regions, 1, "sim_joint")
    model = build_pretrainer(config).train()
    data = build_dataset(plain(config.data), objective_needs(plain(config.objectives)))
    encodings = model.encode(collate([data[0, 0], data[0, 1]]))
    for objective in model.objectives.values():
        assert torch.isfinite(objective(encodings)["loss"])
    assert set(encodings.passes.values()) == {1}
    networks = [network for network, _, _ in encodings.passes]
    assert {name: networks.count(name) for name in set(networks)} == {"lidar": 5, "key": 1, "image": 3}
