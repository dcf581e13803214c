# PixPro for points: features propagated among alike points agree with a momentum network's at near points.
_base_ = "../_base_/sim.py"
objectives = dict(propagation=dict(type="PointPropagation"))
expected_losses = [-0.43925, -1.58128, -2.03415, -2.29113, -2.41412]
