"""The Gaussian over BEV maps against scipy."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter

from pc3d.ops.bev import blur_bev


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.3])
def test_blur_is_scipys_gaussian(sigma: float) -> None:
    maps = torch.rand(2, 1, 15, 22, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    blurred = blur_bev(maps, sigma)
    for one, expected in zip(blurred, maps, strict=True):
        reach = torch.tensor(3 * sigma).ceil().item()
        plain = gaussian_filter(expected[0].numpy(), sigma, mode="constant", radius=int(reach))
        torch.testing.assert_close(one[0], torch.from_numpy(plain))
