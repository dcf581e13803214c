# The linear probe of the demo.
_base_ = "sim_linear_probe.py"
data = dict(batch_size=2)
schedule = dict(iterations=120)
