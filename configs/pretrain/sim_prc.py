# CALICO's first stage alone: point-region contrast between two augmented views.
_base_ = "../_base_/sim.py"
objectives = dict(prc=dict(type="PRC", num_region_points=512, num_background_points=512))
expected_losses = [6.1935, 5.9977, 5.9128, 5.4681, 5.3163]
