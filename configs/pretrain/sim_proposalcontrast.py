# ProposalContrast: proposals of two views, by instance and by prototype.
_base_ = "../_base_/sim.py"
objectives = dict(proposal_contrast=dict(type="ProposalContrast", num_proposals=512))
