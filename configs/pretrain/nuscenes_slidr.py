# SLidR on nuScenes: SLIC superpixels, intensity as the only input feature, ResNet-50 teacher.
_base_ = "../_base_/nuscenes.py"
data = dict(regions="data/nuscenes-regions", image_size=(224, 416), image_flip=0.5)
lidar = dict(in_channels=1, columns=(3,))
image = dict(type="TransformersEncoder", model="microsoft/resnet-50", frozen=True)
objectives = dict(superpixel=dict(type="SuperpixelContrast"))
optimizer = dict(_delete_=True, type="SGD", lr=0.5, momentum=0.9, weight_decay=1e-4)
schedule = dict(epochs=50, kind="cosine")
