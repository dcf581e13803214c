# Fine-tuning on 1 % of the labels and on the pseudo-labels of the other frames, see `pc3d pseudo-label`.
_base_ = "sim_1_percent.py"
data = dict(
    sources=[
        # Four labelled frames beside 396 others: half of a pass.
        dict(fraction=1, repeat=99),
        dict(pseudo_labels="data/sim-pseudo", tokens="data/sim-pseudo/tokens.txt"),
    ],
)
