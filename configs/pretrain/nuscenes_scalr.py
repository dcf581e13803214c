# ScaLR's distillation with MinkUNet-34 (the authors: WaffleIron) and ViT-L, under its public code's settings;
# several data sets mix by `data.sources`.
_base_ = "../_base_/nuscenes_images.py"
data = dict(
    cameras=1,
    image_flip=0.0,
    augmentation=dict(rotation=(-3.1416, 3.1416), scale=(0.9, 1.1), flip=0.5),
    batch_size=8,
)
image = dict(model="facebook/dinov2-large")
objectives = dict(scalr=dict(type="ScaLR"))
optimizer = dict(lr=2e-3, weight_decay=0.03)
schedule = dict(epochs=25, warmup=0.04)
