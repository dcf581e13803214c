# The joint run of the demo: a minute or two on one core.
_base_ = "sim_joint.py"
schedule = dict(iterations=120)
