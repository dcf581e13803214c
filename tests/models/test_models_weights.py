"""Backbone files: exact round trip, and errors that list what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_models import MINK
from torch import nn

from pc3d.models.lidar import build_lidar_encoder
from pc3d.models.weights import load_backbone, save_backbone


def network(width: int = 4, extra: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, width)]
    return nn.Sequential(*layers, *([nn.Linear(width, 2)] if extra else []))


def test_round_trip_is_exact(tmp_path: Path) -> None:
    source, target = network(), network()
    source(torch.randn(8, 3))
    path = tmp_path / "new" / "backbone.safetensors"
    save_backbone(source, path, {"config": "{}"})
    report = load_backbone(target, path)
    assert report.complete
    assert report.metadata == {"config": "{}"}
    assert len(report.loaded) == len(source.state_dict())
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_tied_weights_can_be_saved(tmp_path: Path) -> None:
    source, target = network(), network()
    source[2].weight = nn.Parameter(source[0].weight.T[:, :5].repeat(2, 1)[:4])
    source.register_parameter("again", source[2].weight)
    target.register_parameter("again", target[2].weight)
    save_backbone(source, tmp_path / "a.safetensors")
    load_backbone(target, tmp_path / "a.safetensors")
    assert torch.equal(target[2].weight, source[2].weight)


def test_a_mismatch_lists_names_and_shapes_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_backbone(network(4, extra=True), path)
    target = network(6)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(ValueError, match="partial=True") as error:
        load_backbone(target, path)
    text = str(error.value)
    assert str(path) in text
    assert "2.weight: model (6, 5), file (4, 5)" in text
    assert "unknown to the model: 3.bias" in text
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())


def test_partial_loads_what_fits(tmp_path: Path) -> None:
    source, target = network(4), network(6, extra=True)
    save_backbone(source, tmp_path / "a.safetensors")
    report = load_backbone(target, tmp_path / "a.safetensors", partial=True)
    assert torch.equal(target[0].weight, source[0].weight)
    assert report.missing == ("3.weight", "3.bias")
    assert {name for name, _, _ in report.mismatched} == {"2.weight", "2.bias"}
    assert not report.complete


def test_nothing_fits_is_an_error_even_when_partial(tmp_path: Path) -> None:
    save_backbone(nn.Conv2d(1, 1, 1), tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="does not fit"):
        load_backbone(network(), tmp_path / "a.safetensors", partial=True)


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no backbone file"):
        load_backbone(network(), tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("not tensors")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        load_backbone(network(), tmp_path / "text")


def test_weights_load_beside_mmdetection3d(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imported, it has all spconv modules take kernels without a version for those of spconv 1.x."""
    import spconv.pytorch as spconv

    encoder = build_lidar_encoder(MINK)
    save_backbone(encoder, tmp_path / "a.safetensors")
    own = nn.Module._load_from_state_dict
    seen = []

    def theirs(self, state, prefix, metadata, *others) -> None:
        seen.append(metadata.get("version"))
        if metadata.get("version") != 2:
            state = {name: t.permute(-1, *range(t.ndim - 1)) if t.ndim else t for name, t in state.items()}
        own(self, state, prefix, metadata, *others)

    monkeypatch.setattr(spconv.SparseModule, "_version", 2, raising=False)
    monkeypatch.setattr(spconv.SparseModule, "_load_from_state_dict", theirs)
    other = build_lidar_encoder(MINK)
    load_backbone(other, tmp_path / "a.safetensors")
    assert set(seen) == {2}
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
