# PRC, FAC and SuperFlow++ in one step over shared encoder passes.
_base_ = "../_base_/sim_images.py"
objectives = dict(
    prc=dict(type="PRC", num_region_points=512, num_background_points=512),
    fac=dict(type="FAC", num_anchors=1024, num_background=1024, momentum=0.99),
    flow=dict(type="SuperFlow", pixel_stride=4),
)
expected_losses = [32.323, 30.76, 29.236, 28.867, 27.907]
