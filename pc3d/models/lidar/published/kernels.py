"""Convolution kernels of other libraries in the layout of `pc3d.ops.sparse`, (out, kz, ky, kx, in), and back.

All of these libraries correlate: output u = sum over k of W[k] applied to input u + offset(k). They differ
in the order of the offsets, which their sources fix:

- MinkowskiEngine 0.5 (`kernel_region.hpp`): (K, in, out), the first coordinate varies fastest; odd
  kernels are centred, even ones start at offset 0.
- torchsparse 1.4 to 2.1 (`nn/utils/kernel.py`, `sparsemapping_cuda.cu`): (K, in, out), the same offsets and
  in odd kernels the same order, but in even kernels the last coordinate varies fastest.
- spconv 1.x: (k1, k2, k3, in, out); 2.0 and 2.1 also (k1, k2, k3, out, in); from 2.2 on
  (out, k1, k2, k3, in). k1, k2, k3 follow the order of the coordinates that the network was fed with.

A kernel of size 1 is (in, out) in MinkowskiEngine and torchsparse, ours is a linear layer's (out, in). spconv
2 stores one as (out, 1, 1, 1, in), and reads its memory as (in, out).
"""

from __future__ import annotations

from torch import Tensor


def from_minkowski(kernel: Tensor) -> Tensor:
    """Kernel of MinkowskiEngine over x, y, z (cylinder: rho, phi, z); (in, out) gives (out, in)."""
    if kernel.ndim == 2:
        return kernel.T.contiguous()
    size = _cube_root(kernel)
    z_y_x_in_out = kernel.reshape(size, size, size, *kernel.shape[1:])
    return z_y_x_in_out.permute(4, 0, 1, 2, 3).contiguous()


def to_minkowski(weight: Tensor) -> Tensor:
    """Inverse of `from_minkowski`."""
    if weight.ndim == 2:
        return weight.T.contiguous()
    return weight.permute(1, 2, 3, 4, 0).reshape(-1, weight.shape[4], weight.shape[0]).contiguous()


def from_torchsparse(kernel: Tensor) -> Tensor:
    """Kernel of torchsparse over x, y, z (cylinder: rho, phi, z); (in, out) gives (out, in)."""
    if kernel.ndim == 2 or len(kernel) % 2 == 1:
        return from_minkowski(kernel)
    size = _cube_root(kernel)
    x_y_z_in_out = kernel.reshape(size, size, size, *kernel.shape[1:])
    return x_y_z_in_out.permute(4, 2, 1, 0, 3).contiguous()


def to_torchsparse(weight: Tensor) -> Tensor:
    """Inverse of `from_torchsparse`."""
    if weight.ndim == 2 or weight.shape[1] % 2 == 1:
        return to_minkowski(weight)
    return weight.permute(3, 2, 1, 4, 0).reshape(-1, weight.shape[4], weight.shape[0]).contiguous()


SPCONV_LAYOUTS = {"RSCK": (4, 0, 1, 2, 3), "RSKC": (3, 0, 1, 2, 4), "KRSC": (0, 1, 2, 3, 4)}
"""Where the dimensions (out, k1, k2, k3, in) stand in each layout."""


def spconv_layout(weight: Tensor, out_channels: int) -> str:
    """The layout of a file, seen at a layer with different numbers of input and output channels.

    Raises:
        ValueError: no layout has `out_channels` at its place.
    """
    shape = tuple(weight.shape)
    if len(shape) == 5:
        for layout, place in (("RSCK", 4), ("RSKC", 3), ("KRSC", 0)):
            if shape[place] == out_channels:
                return layout
    raise ValueError(f"no spconv weight with {out_channels} output channels: {shape}")


def from_spconv(weight: Tensor, layout: str, axes: str = "xyz") -> Tensor:
    """Weight of spconv over coordinates in the order `axes`, `xyz` or `zyx`."""
    weight = weight.permute(SPCONV_LAYOUTS[layout])
    return (swap_axes(weight) if axes == "xyz" else weight).contiguous()


def swap_axes(weight: Tensor) -> Tensor:
    """(out, kz, ky, kx, in) as (out, kx, ky, kz, in), or the other way round."""
    return weight.permute(0, 3, 2, 1, 4).contiguous()


def to_spconv_1(weight: Tensor) -> Tensor:
    """(out, k1, k2, k3, in) as (k1, k2, k3, in, out), the layout of spconv 1.x."""
    return weight.permute(1, 2, 3, 4, 0).contiguous()


def to_spconv_pointwise(weight: Tensor) -> Tensor:
    """A linear layer's weight (out, in) as spconv 2 has a kernel of size 1: (out, 1, 1, 1, in)."""
    out_channels, in_channels = weight.shape
    return weight.T.contiguous().reshape(out_channels, 1, 1, 1, in_channels)


def from_spconv_pointwise(kernel: Tensor) -> Tensor:
    """Inverse of `to_spconv_pointwise`."""
    out_channels, _, _, _, in_channels = kernel.shape
    return kernel.contiguous().reshape(in_channels, out_channels).T.contiguous()


def _cube_root(kernel: Tensor) -> int:
    size = round(len(kernel) ** (1 / 3))
    if kernel.ndim != 3 or size**3 != len(kernel):
        raise ValueError(f"no kernel (K, in, out) of a cube: {tuple(kernel.shape)}")
    return size
