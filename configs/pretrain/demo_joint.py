# The joint run of the demo: a minute or two on one core.
_base_ = "sim_joint.py"
data = dict(batch_size=2)
schedule = dict(_delete_=True, iterations=120, warmup=0.2)
