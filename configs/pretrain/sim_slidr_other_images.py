# A control that must lose to sim_slidr: each frame shows the images and superpixels of another scene.
_base_ = "../_base_/sim_images.py"
data = dict(other_frames_images=True)
objectives = dict(slidr=dict(type="SuperpixelContrast", pixel_stride=4))
expected_losses = [6.4835, 6.1066, 6.1333, 6.2176, 6.1743]
