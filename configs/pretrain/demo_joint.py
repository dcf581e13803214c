# Point-region and superpixel contrast in one step, small: a minute or two on one core.
_base_ = "../_base_/sim_images.py"
objectives = dict(
    prc=dict(type="PRC", num_region_points=512, num_background_points=512),
    superpixel=dict(type="SuperpixelContrast", pixel_stride=4),
)
schedule = dict(iterations=120)
