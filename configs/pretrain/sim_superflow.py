# SuperFlow: spatial, dense-to-sparse and temporal contrast over ids of the teacher's features.
_base_ = "../_base_/sim_images.py"
objectives = dict(flow=dict(type="SuperFlow", cross=0.0, pixel_stride=4))
expected_losses = [11.818, 10.926, 9.7263, 9.8699, 9.1614]
