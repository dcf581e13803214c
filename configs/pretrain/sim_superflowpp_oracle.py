# EXPERIMENT, USES LABELS: SuperFlow++ over the simulator's true classes. Its rows stand apart.
_base_ = "sim_superflowpp.py"
data = dict(semantic_params=dict(source="oracle"))
expected_losses = [13.247, 10.734, 12.414, 11.547, 9.2659]
