# Regression of hand-made local statistics of the points: no images, no labels.
_base_ = "../_base_/sim.py"
objectives = dict(statistics=dict(type="LocalStatistics"))
expected_losses = [0.4257, 0.3823, 0.3385, 0.3574, 0.3418]
