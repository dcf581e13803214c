# PointContrast: matched points of two views.
_base_ = "../_base_/nuscenes.py"
objectives = dict(point_contrast=dict(type="PointContrast"))
optimizer = dict(lr=1e-3)
schedule = dict(epochs=50, warmup=0.2)
