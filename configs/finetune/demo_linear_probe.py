# The linear probe of the demo.
_base_ = "sim_linear_probe.py"
schedule = dict(iterations=120)
