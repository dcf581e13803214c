# A control that must lose to sim_slidr: the same with a teacher of random weights.
_base_ = "../_base_/sim_images.py"
image = dict(pretrained=False)
init = dict(random=True)
objectives = dict(slidr=dict(type="SuperpixelContrast", pixel_stride=4))
expected_losses = [5.8524, 5.8217, 5.8944, 5.8646, 5.9647]
