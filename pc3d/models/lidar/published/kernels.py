"""Convolution kernels of other libraries in the layout of `pc3d.ops.sparse`: (out, kz, ky, kx, in).

All of these libraries correlate: output u = sum over k of W[k] applied to input u + offset(k). They differ
in the order of the offsets, which their sources fix:

- MinkowskiEngine 0.5 (`kernel_region.hpp`): (K, in, out), the first coordinate varies fastest; odd
  kernels are centred, even ones start at offset 0.
- torchsparse 1.4 to 2.1 (`nn/utils/kernel.py`, `sparsemapping_cuda.cu`): (K, in, out), the same offsets and
  in odd kernels the same order, but in even kernels the last coordinate varies fastest.
- spconv 1.x: (k1, k2, k3, in, out); 2.0 and 2.1 also (k1, k2, k3, out, in); from 2.2 on
  (out, k1, k2, k3, in). k1, k2, k3 follow the order of the coordinates that the network was fed with.

A kernel of size 1 is (in, out) in MinkowskiEngine and torchsparse.
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


def from_torchsparse(kernel: Tensor) -> Tensor:
    """Kernel of torchsparse over x, y, z (cylinder: rho, phi, z); (in, out) gives (out, in)."""
    if kernel.ndim == 2 or len(kernel) % 2 == 1:
        return from_minkowski(kernel)
    size = _cube_root(kernel)
    x_y_z_in_out = kernel.reshape(size, size, size, *kernel.shape[1:])
    return x_y_z_in_out.permute(4, 2, 1, 0, 3).contiguous()


SPCONV_LAYOUTS = {"RSCK": (4, 2, 1, 0, 3), "RSKC": (3, 2, 1, 0, 4), "KRSC": (0, 3, 2, 1, 4)}
"""Layouts by spconv's names (RS the kernel, C in, K out), and how each becomes (out, k3, k2, k1, in)."""


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


def from_spconv(weight: Tensor, layout: str) -> Tensor:
    """Weight of spconv over x, y, z."""
    return weight.permute(SPCONV_LAYOUTS[layout]).contiguous()


def _cube_root(kernel: Tensor) -> int:
    size = round(len(kernel) ** (1 / 3))
    if kernel.ndim != 3 or size**3 != len(kernel):
        raise ValueError(f"no kernel (K, in, out) of a cube: {tuple(kernel.shape)}")
    return size
