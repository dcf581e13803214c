# Fine-tuning with 5 % of the labels: one scene of the twenty of `bench`.
_base_ = "../_base_/sim.py"
data = dict(fraction=5)
head = dict(head="linear", lovasz_weight=1.0)
optimizer = dict(lr=2e-3, head_lr_scale=5.0)
schedule = dict(iterations=300, warmup=0.2)
