"""pc3d: self-supervised pretraining of LiDAR and camera backbones on unlabelled drives."""

__version__ = "0.1.0"
