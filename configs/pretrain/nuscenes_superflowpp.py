# SuperFlow++ with MinkUNet-34 and ViT-B under SuperFlow's settings; its own code is not public.
_base_ = "nuscenes_superflow.py"
objectives = dict(flow=dict(cross=1.0))
