"""spconv's layers with the algorithm of each device: what `pc3d.ops.sparse` imports when it is first needed.

To import spconv takes 7 s on a machine with CUDA. Nothing else imports it or this module.
"""

from __future__ import annotations

import logging
import warnings
from typing import TypeAlias

import spconv.core
import torch

if not torch.cuda.is_available():
    # spconv describes its 1,456 CUDA kernels when it is imported: 7 s of work for nothing on a CPU.
    spconv.core.ALL_IMPGEMM_PARAMS = []
    spconv.core.ALL_NATIVE_PARAMS = []
# It also uses torch interfaces that warn of their age at every start.
logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    import spconv.pytorch as spconv
    from spconv.core import ConvAlgo

SparseTensor: TypeAlias = spconv.SparseConvTensor


class _DeviceAlgorithm:
    """Mixin of a spconv layer: `Native` for CPU tensors, spconv's own choice for CUDA tensors."""

    def forward(self, x: SparseTensor) -> SparseTensor:
        if not hasattr(self, "_cuda_algo"):
            self._cuda_algo = self.algo  # type: ignore[has-type]
        self.algo = self._cuda_algo if x.features.is_cuda else ConvAlgo.Native
        return super().forward(x)  # type: ignore[misc]


class SubmanifoldConv(_DeviceAlgorithm, spconv.SubMConv3d):
    """Convolution whose active outputs are its active inputs (Graham et al., CVPR 2018)."""


class StridedConv(_DeviceAlgorithm, spconv.SparseConv3d):
    """Convolution that is active wherever an active input falls under its kernel."""


class InverseConv(_DeviceAlgorithm, spconv.SparseInverseConv3d):
    """Transpose of the strided convolution of the same key: back to the voxels before it."""


SPARSE_LAYERS = (SubmanifoldConv, StridedConv, InverseConv)
