# ProposalContrast: proposals of two views, by instance and by prototype.
_base_ = "../_base_/sim.py"
objectives = dict(proposal_contrast=dict(type="ProposalContrast", num_proposals=512))
expected_losses = [11.946, 11.99, 11.552, 11.42, 11.232]
