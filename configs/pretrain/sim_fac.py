# FAC: foreground-aware contrast with a momentum key encoder.
_base_ = "../_base_/sim.py"
objectives = dict(fac=dict(type="FAC", num_anchors=1024, num_background=1024, momentum=0.99))
expected_losses = [9.6897, 9.3577, 9.1837, 9.3868, 9.0116]
