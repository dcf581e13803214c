# FAC on objects instead of clusters.
_base_ = "sim_fac.py"
objectives = dict(fac=dict(segments="objects"))
expected_losses = [9.6808, 9.1609, 9.1793, 8.8102, 8.7892]
