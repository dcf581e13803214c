# Seal: superpixel contrast, and segments of one thing at two times.
_base_ = "../_base_/sim_images.py"
objectives = dict(seal=dict(type="Seal", pixel_stride=4))
expected_losses = [12.156, 10.996, 9.9285, 10.053, 10.426]
