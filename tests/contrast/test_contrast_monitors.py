"""Collapse monitors against plain float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine_cases import e0

from pc3d.contrast.monitors import collapse_metrics


def _reference(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    a = a / np.linalg.norm(a, axis=1, keepdims=True)
    b = b / np.linalg.norm(b, axis=1, keepdims=True)
    deviations = [np.sqrt(np.mean((column - column.mean()) ** 2) * a.shape[1]) for column in a.T]
    singular = np.linalg.svd(a, compute_uv=False)
    share = singular / singular.sum()
    kernel = [np.exp(-2 * np.sum((a[i] - a[j]) ** 2)) for i in range(len(a)) for j in range(len(a)) if i != j]
    return {
        "deviation": float(np.mean(deviations)),
        "deviation_min": float(np.min(deviations)),
        "effective_rank": float(np.exp(-np.sum(share * np.log(share)))),
        "uniformity": float(np.log(np.mean(kernel))),
        "alignment": float(np.mean(np.sum((a - b) ** 2, axis=1))),
        "centroid_distance": float(np.sqrt(np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2))),
    }


def test_against_numpy() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(150, 12)) * np.linspace(0.1, 2, 12) + 0.3
    b = a + 0.5 * rng.normal(size=a.shape)
    got = collapse_metrics(torch.from_numpy(a).requires_grad_(), torch.from_numpy(b))
    assert {key: value.item() for key, value in got.items()} == pytest.approx(_reference(a, b), rel=1e-5)
    assert all(value.dtype == torch.float32 and not value.requires_grad for value in got.values())


def test_gap_between_two_sides() -> None:
    assert collapse_metrics(e0("A"), e0("B"))["centroid_distance"].item() == pytest.approx(0.181011, abs=1e-6)
    a, b = torch.tensor([[1.0, 0.0]]).expand(4, 2), torch.tensor([[-3.0, 0.0]]).expand(4, 2)
    assert collapse_metrics(a, b)["centroid_distance"].item() == pytest.approx(2)
    assert collapse_metrics(a, 5 * a)["centroid_distance"].item() == 0
    assert "centroid_distance" not in collapse_metrics(a)


def test_spread_and_collapsed_features() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = {k: v.item() for k, v in collapse_metrics(torch.randn(5000, 64, generator=generator)).items()}
    assert spread["deviation"] == pytest.approx(1, abs=0.02)
    assert spread["effective_rank"] > 60
    assert spread["uniformity"] < -3.8
    for one in (torch.randn(1, 64, generator=generator), torch.zeros(1, 64)):
        flat = {k: v.item() for k, v in collapse_metrics(one.expand(500, 64), one.expand(500, 64)).items()}
        assert flat["deviation"] == pytest.approx(0, abs=1e-5)
        assert flat["effective_rank"] == pytest.approx(1, abs=1e-3)
        assert flat["uniformity"] == pytest.approx(0, abs=1e-5)
        assert flat["alignment"] == 0


def test_subsample_keeps_matches() -> None:
    a = torch.randn(100_000, 8, generator=torch.Generator().manual_seed(0))
    assert collapse_metrics(a, 3 * a)["alignment"].item() == pytest.approx(0, abs=1e-9)
    assert collapse_metrics(a)["deviation"] == collapse_metrics(a)["deviation"]


def test_half_precision_under_autocast() -> None:
    a = torch.randn(300, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = collapse_metrics(a, a)
    assert half == collapse_metrics(a.float(), a.float())


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(rows: int) -> None:
    metrics = collapse_metrics(torch.ones(rows, 4), torch.ones(rows, 4))
    assert metrics["uniformity"].isnan()
    assert metrics["deviation"].isnan() == (rows == 0)


def test_features_that_are_not_finite_do_not_stop_the_run() -> None:
    metrics = collapse_metrics(torch.full((5, 4), float("nan")))
    assert all(value.isnan() for value in metrics.values())


def test_refuses_features_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="expected"):
        collapse_metrics(torch.ones(4, 2), torch.ones(5, 2))
