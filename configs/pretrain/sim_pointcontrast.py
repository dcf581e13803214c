# PointContrast: matched points of two views.
_base_ = "../_base_/sim.py"
objectives = dict(point_contrast=dict(type="PointContrast", num_points=2048))
expected_losses = [7.864, 7.4316, 7.7014, 6.9522, 6.7635]
