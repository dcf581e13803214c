# The simulated drive with images and the embedded ImageNet teacher.
_base_ = "sim.py"
data = dict(cameras=2, image_size=(224, 448))
image = dict(type="EfficientNetLite0", levels=(8, 16), frozen=True)
