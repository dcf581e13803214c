# SuperFlow++: SuperFlow and the contrast across time of points and pixels.
_base_ = "sim_superflow.py"
objectives = dict(flow=dict(cross=1.0))
