# SLidR over ids that mean the same in every image (k-means of the teacher's features) instead of SLIC.
_base_ = "sim_slidr.py"
objectives = dict(slidr=dict(ids="semantics"))
expected_losses = [4.4739, 3.8486, 3.6462, 3.6195, 3.5218]
