# PRC, FAC and SuperFlow++ in one step with MinkUNet-34 and ViT-B; all settings are ours.
_base_ = "../_base_/nuscenes_images.py"
objectives = dict(
    prc=dict(type="PRC"),
    fac=dict(type="FAC"),
    flow=dict(type="SuperFlow"),
)
optimizer = dict(lr=1e-3)
