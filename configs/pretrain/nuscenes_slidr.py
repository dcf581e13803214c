# SLidR, with the settings of its public code (docs/recipes.md): SLIC superpixels, intensity as the only input
# feature, a ResNet-50 teacher dilated to stride 4. For the paper's MoCo v2 weights:
# image.weights=moco_v2_800ep_pretrain.pth.tar.
_base_ = "../_base_/nuscenes.py"
data = dict(
    augmentation=dict(rotation=(-3.1416, 3.1416), scale=(1.0, 1.0), flip=0.5, cuboid=0.2),
    image_size=(224, 416),
    resize="stretch",
    image_crop=dict(scale=(0.3, 1.0), ratio=(14 / 9, 17 / 9)),
    image_flip=0.5,
    pairing=dict(min_depth=1.0),
)
lidar = dict(in_channels=1, columns=(3,), column_scales=(255.0,), stem_kernels=(3,))
image = dict(type="TransformersEncoder", model="microsoft/resnet-50", frozen=True, output_stride=4)
objectives = dict(slidr=dict(type="SuperpixelContrast"))
optimizer = dict(_delete_=True, type="SGD", lr=0.5, momentum=0.9, dampening=0.1, weight_decay=1e-4)
schedule = dict(epochs=50, kind="cosine")
