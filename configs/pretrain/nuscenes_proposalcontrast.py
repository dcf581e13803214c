# ProposalContrast with its authors' augmentation, optimiser and length (docs/recipes.md), on MinkUNet-34.
_base_ = "../_base_/nuscenes.py"
data = dict(augmentation=dict(rotation=(-3.1416, 3.1416), scale=(0.8, 1.25)))
objectives = dict(proposal_contrast=dict(type="ProposalContrast"))
optimizer = dict(lr=3e-3, clip_norm=35.0)
schedule = dict(epochs=50, warmup=0.1)
