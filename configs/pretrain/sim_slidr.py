# Superpixel contrast alone (SLidR) against the embedded ImageNet teacher.
_base_ = "../_base_/sim.py"
data = dict(regions="data/sim-regions", cameras=2, image_size=(224, 448))
image = dict(type="EfficientNetLite0", levels=(8, 16), frozen=True)
objectives = dict(superpixel=dict(type="SuperpixelContrast", pixel_stride=4))
schedule = dict(epochs=2, warmup=0.2)
