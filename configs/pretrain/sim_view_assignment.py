# SwAV for points: balanced codes of two views, which both and two crops predict.
_base_ = "../_base_/sim.py"
objectives = dict(assignment=dict(type="ViewAssignment", num_points=2048, num_prototypes=128, freeze=50))
expected_losses = [5.13054, 5.02222, 4.90891, 4.84936, 4.80414]
