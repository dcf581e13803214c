# CALICO's first stage alone: point-region contrast between two augmented views.
_base_ = "../_base_/sim.py"
objectives = dict(prc=dict(type="PRC", num_region_points=512, num_background_points=512))
expected_losses = [6.4285, 6.0274, 5.9633, 5.9237, 5.7241]
