# SLidR: superpixel contrast against the embedded ImageNet teacher.
_base_ = "../_base_/sim_images.py"
objectives = dict(slidr=dict(type="SuperpixelContrast", pixel_stride=4))
expected_losses = [6.6126, 5.9562, 5.6852, 5.6662, 5.6156]
