"""pc3d: self-supervised pretraining of LiDAR and camera backbones on unlabelled drives.

    import pc3d
    encoder = pc3d.load_backbone("runs/a")
    features = encoder.encode([points])

What `pc3d.api` has is here, too, and imported when it is first asked for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pc3d.api import (
        Backbone,
        Encoded,
        ImageBackbone,
        evaluate,
        finetune,
        load_backbone,
        load_model,
        predict,
        pretrain,
    )

__version__ = "0.1.0"
__all__ = [
    "Backbone",
    "Encoded",
    "ImageBackbone",
    "evaluate",
    "finetune",
    "load_backbone",
    "load_model",
    "predict",
    "pretrain",
]

# OpenMP threads that spin while they wait take the cores from the data workers: on two busy cores a
# training step took 3 to 38 s instead of 2. It must be set before torch starts its threads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pc3d' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    value = getattr(import_module("pc3d.api"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
