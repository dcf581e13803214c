# CALICO's first stage on objects instead of clusters: more of what drives and walks is a region.
_base_ = "sim_prc.py"
objectives = dict(prc=dict(segments="objects"))
expected_losses = [6.3548, 5.9106, 6.0487, 5.7712, 5.7357]
