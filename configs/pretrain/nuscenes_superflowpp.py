# SuperFlow++ with MinkUNet-34 and ViT-B.
_base_ = "nuscenes_superflow.py"
objectives = dict(flow=dict(cross=1.0))
