# Seal: superpixel contrast, and segments of one thing at two times.
_base_ = "../_base_/sim_images.py"
objectives = dict(seal=dict(type="Seal", pixel_stride=4))
expected_losses = [12.136, 11.001, 9.9338, 10.077, 10.393]
