# Seal with MinkUNet-34 and ViT-B; its superpixels come from a foundation model (semantics of source png
# or text), or from SLIC as here.
_base_ = "../_base_/nuscenes_images.py"
objectives = dict(seal=dict(type="Seal"))
