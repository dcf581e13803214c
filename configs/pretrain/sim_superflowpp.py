# SuperFlow++: SuperFlow and the contrast across time of points and pixels.
_base_ = "sim_superflow.py"
objectives = dict(flow=dict(cross=1.0))
expected_losses = [16.298, 14.865, 13.304, 13.298, 12.404]
