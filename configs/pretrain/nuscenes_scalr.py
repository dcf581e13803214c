# ScaLR's distillation with MinkUNet-34 and ViT-L; several data sets mix by `data.sources`.
_base_ = "../_base_/nuscenes_images.py"
image = dict(model="facebook/dinov2-large")
objectives = dict(scalr=dict(type="ScaLR"))
optimizer = dict(lr=1e-3)
