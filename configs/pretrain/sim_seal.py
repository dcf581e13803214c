# Seal: superpixel contrast, and segments of one thing at two times.
_base_ = "../_base_/sim_images.py"
objectives = dict(seal=dict(type="Seal", pixel_stride=4))
expected_losses = [12.185, 10.998, 9.9417, 10.061, 10.466]
