"""The benchmark of NMS compares like with like."""

from __future__ import annotations

import pytest

from pc3d.evaluation import bench_nms


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
def test_both_keep_the_same_boxes(threshold: float) -> None:
    result = bench_nms.run(200, threshold, repeats=1)
    assert result["the same ones"]
    assert 10 <= result["kept"] < 200
    assert result["speed-up"] > 0


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        bench_nms.run(0)
