# ProposalContrast: farthest points among 8192 random ones of each sweep as proposals.
_base_ = "../_base_/nuscenes.py"
objectives = dict(proposal_contrast=dict(type="ProposalContrast", candidates=8192))
optimizer = dict(lr=1e-3)
schedule = dict(epochs=50, warmup=0.2)
