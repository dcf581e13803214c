# BECLR for points: momentum features of near rows, a batch that three clustered memories enlarge.
_base_ = "../_base_/sim.py"
objectives = dict(beclr=dict(type="BECLR", prototypes=32, rows=1024, neighbours=3))
expected_losses = [-0.01327, -0.0685, -0.10763, -0.12286, -0.13713]
