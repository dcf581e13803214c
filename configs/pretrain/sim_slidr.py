# SLidR: superpixel contrast against the embedded ImageNet teacher.
_base_ = "../_base_/sim_images.py"
objectives = dict(slidr=dict(type="SuperpixelContrast", pixel_stride=4))
