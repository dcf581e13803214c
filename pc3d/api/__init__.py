"""pc3d from Python: load what was trained, and train. `import pc3d` gives these when they are asked for."""

from __future__ import annotations

from pc3d.api.backbone import Backbone, Encoded, ImageBackbone, load_backbone
from pc3d.api.prediction import load_model, predict
from pc3d.api.training import evaluate, finetune, pretrain

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
