# PointContrast: matched points of two views.
_base_ = "../_base_/sim.py"
objectives = dict(point_contrast=dict(type="PointContrast", num_points=2048))
