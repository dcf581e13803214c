# The pretraining of `make demo`: the recipe of sim_distill, for as many steps as a demo has time for.
_base_ = "sim_distill.py"
schedule = dict(iterations=400)
expected_losses = []
