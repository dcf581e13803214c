# PRC and superpixel contrast in one step over shared encoder passes, on the simulated drive.
_base_ = "../_base_/sim.py"
data = dict(regions="data/sim-regions", cameras=2, image_size=(224, 448))
image = dict(type="EfficientNetLite0", levels=(8, 16), frozen=True)
objectives = dict(
    prc=dict(type="PRC", num_region_points=512, num_background_points=512),
    superpixel=dict(type="SuperpixelContrast", weight=1.0, pixel_stride=4),
)
schedule = dict(epochs=2, warmup=0.2)
