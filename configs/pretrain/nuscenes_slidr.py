# SLidR: SLIC superpixels, intensity as the only input feature, a ResNet-50 teacher. For the paper's
# MoCo v2 weights: image.weights=moco_v2_800ep_pretrain.pth.tar.
_base_ = "../_base_/nuscenes.py"
data = dict(image_size=(224, 416), image_flip=0.5)
lidar = dict(in_channels=1, columns=(3,))
image = dict(type="TransformersEncoder", model="microsoft/resnet-50", frozen=True)
objectives = dict(slidr=dict(type="SuperpixelContrast"))
optimizer = dict(_delete_=True, type="SGD", lr=0.5, momentum=0.9, weight_decay=1e-4)
schedule = dict(epochs=50, kind="cosine")
