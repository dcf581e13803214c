# EXPERIMENT, USES LABELS: SLidR over the simulator's true classes. Its rows stand apart.
_base_ = "sim_slidr_kmeans.py"
data = dict(semantic_params=dict(source="oracle"))
expected_losses = [3.6268, 2.9465, 3.3201, 3.2225, 2.5998]
