# ProposalContrast: proposals of two views, by instance and by prototype.
_base_ = "../_base_/sim.py"
objectives = dict(proposal_contrast=dict(type="ProposalContrast", num_proposals=512))
expected_losses = [8.5502, 8.8347, 9.1257, 8.0686, 7.7534]
