# PRC and superpixel contrast in one step on nuScenes, against a DINOv2 ViT-S teacher.
_base_ = "../_base_/nuscenes.py"
data = dict(regions="data/nuscenes-regions", cameras=3, image_size=(224, 448), image_flip=0.5)
image = dict(type="TransformersEncoder", model="facebook/dinov2-small", frozen=True)
objectives = dict(
    prc=dict(type="PRC"),
    superpixel=dict(type="SuperpixelContrast", pixel_stride=2),
)
optimizer = dict(lr=1e-3)
schedule = dict(epochs=50, warmup=0.2)
